"""The table of all states of an AdapterDeployment, `states.txt`, and how an object is held against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kstatus import kstatus

STATES = Path(__file__).with_name("states.txt")
"""By state: what kstatus reads, the phase, Ready, Reconciling and Stalled, the reason of Ready, the other conditions, the columns.
In the conditions + is True, - False and ? Unknown."""
SIGNS = {"True": "+", "False": "-", "Unknown": "?"}
SUMMARY = ("Ready", "Reconciling", "Stalled")
OTHERS = ("Accepted", "Loaded", "TrafficApplied", "AnalysisPassing", "Available")


@dataclass(frozen=True)
class Seen:
    """A row of the table."""

    kstatus: str
    phase: str
    summary: str
    others: str
    columns: str

    @property
    def filled(self) -> tuple[bool, ...]:
        """Which columns say something: versions and numbers of pods are each object's own."""
        return tuple(text != "." for text in self.columns.split())


def seen(found: Mapping[str, Any], columns: Sequence[str]) -> Seen:
    """``columns`` are the texts that are printed, without the age."""
    status = found["status"]
    told = {each["type"]: SIGNS[each["status"]] + each["reason"] for each in status["conditions"]}
    return Seen(
        kstatus(found),
        status["phase"],
        " ".join(told[kind][0] for kind in SUMMARY) + f" {told['Ready'][1:]}",
        " ".join(told[kind] for kind in OTHERS),
        " ".join(text or "." for text in columns),
    )


def _expected(row: str) -> tuple[str, Seen]:
    name, *cells = (cell.strip() for cell in row.split("|"))
    return name, Seen(*cells)


EXPECTED = dict(_expected(row) for row in STATES.read_text().splitlines()[1:])
