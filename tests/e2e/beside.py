"""What a site runs beside its cluster, for pods to speak to: a tracker with all that it has stored, and a judge that quotes."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_testbed.bed import Testbed
from tests.e2e.tapped import tapped
from tests.process.judges import Opinion, ScriptedJudge, serving
from tests.process.mlflow_server import MlflowProcess, mlflow_server

Row = dict[str, Any]


@dataclass(frozen=True)
class Tracker:
    """A real MLflow server. ``address`` is HOST:PORT for pods; ``heard`` has the bytes that they sent."""

    server: MlflowProcess
    address: str
    heard: Path

    @property
    def host(self) -> str:
        return self.address.partition(":")[0]

    @property
    def tracking(self) -> Row:
        """Of a job's spec."""
        return {"mlflow": {"uri": f"http://{self.address}"}}

    def tags(self, run: Row) -> dict[str, str]:
        return {each["key"]: each["value"] for each in run["data"]["tags"]}


@dataclass(frozen=True)
class Judge:
    """``evaluation`` is of a job's spec; ``heard`` has the bytes that pods sent."""

    scripted: ScriptedJudge
    address: str
    heard: Path

    @property
    def evaluation(self) -> Row:
        return {"judge": {"endpoint": f"http://{self.address}/v1", "model": "critic"}}


@contextlib.contextmanager
def tracking(bed: Testbed, folder: Path) -> Iterator[Tracker]:
    with mlflow_server(folder / "mlflow") as server, tapped(bed, server.port, folder / "heard") as address:
        yield Tracker(server, address, folder / "heard")


@contextlib.contextmanager
def judging(bed: Testbed, folder: Path, rows: Iterable[Row]) -> Iterator[Judge]:
    """It prefers the answers of these rows, and refuses the first question."""
    judge = ScriptedJudge(quoting(rows), failures=[503])
    with serving(judge), tapped(bed, judge.port, folder / "heard") as address:
        yield Judge(judge, address, folder / "heard")


def quoting(rows: Iterable[Row]) -> Opinion:
    """Thinks aloud in the words of the rows; of two answers of models it likes the one that comes first in the alphabet."""
    said = ([message["content"].strip() for message in row["messages"]] for row in rows)
    references = {asked: answered for *_, asked, answered in said}

    def opinion(request: str, first: str, second: str) -> str:
        right = references.get(request.rpartition("[user]\n")[2].strip())
        letter = "A" if first == right or (second != right and first < second) else "B"
        return f"<think>{request} {first} {second}</think>{letter}"

    return opinion
