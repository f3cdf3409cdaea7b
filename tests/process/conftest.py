"""Trainer processes started, watched and killed for real."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import (
    DataSummary,
    Estimate,
    PrepareSummary,
    RunSpec,
    Step,
    StepResult,
    Summary,
    TerminationMessage,
    TrainSummary,
)
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.datamanifest import seal_data
from finetune_trainer.pod.sealing import seal_result
from finetune_trainer.pod.workspace import Workspace
from tests.process.training.conftest import write_rows
from tests.unit.trainer.conftest import run_spec, step_context, tiny_base  # noqa: F401 - fixtures

PATIENCE = 30.0
"""Seconds that a busy machine may add to what takes a second on an idle one. A pod has 90 s between TERM and KILL."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "FINETUNE_PROGRESS_PORT": "0",
}


class Forge:
    """The warm parent's other end."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.process.forge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
            text=True,
        )
        assert self._read() == {"ready": True}

    def start(self, arguments: list[str], **rest: Any) -> int:
        pid = int(self._ask({"start": arguments, **rest})["pid"])
        self._running.add(pid)
        return pid

    def wait(self, pid: int) -> tuple[int, float]:
        """Exit code, or minus the signal, and the seconds of processor time that it took."""
        self._running.discard(pid)
        answer = self._ask({"wait": pid})
        return int(answer["status"]), float(answer["cpu"])

    def kill_leftovers(self) -> None:
        """A test that failed in the middle leaves its process to the next one no longer."""
        for pid in list(self._running):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)

    def close(self) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(120)

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._parent.stdin is not None
        self._parent.stdin.write(json.dumps(command) + "\n")
        self._parent.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._parent.stdout is not None
        line = self._parent.stdout.readline()
        assert line, "the warm parent died"
        return dict(json.loads(line))


@dataclass(frozen=True)
class Interruption:
    """Signals at a step: at ``share`` of the steps that an attempt still has to take, ``delay`` seconds after it.

    With ``sealed`` not before there is a checkpoint to go on from, with ``tracked`` a tracker that has answered. With an ``event``,
    after the first one of that name with these fields.
    """

    signals: tuple[signal.Signals, ...]
    share: float = 0.0
    delay: float = 0.0
    sealed: bool = False
    tracked: bool = False
    event: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Attempt:
    """One process of a run."""

    forge: Forge
    pid: int
    log: Path
    last_words: Path
    skipped: int
    asked: Path
    cpu_seconds: float = 0.0
    ended: float = 0.0

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        told = self.log.read_text().rpartition("\n")[0] if self.log.exists() else ""  # of the last line a part may be written
        events = [json.loads(line) for line in told.splitlines()[self.skipped :] if line.startswith("{")]
        return [event for event in events if kind in (None, event["event"])]

    def wait_for(self, kind: str, timeout: float = 300, **fields: Any) -> dict[str, Any]:
        """Block until an event of this kind with these fields was written."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            dead = "Z" in Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1][:3]  # before the last look, not after it
            for event in self.events(kind):
                if all(event.get(name) == value for name, value in fields.items()):
                    return event
            if dead:
                break
            time.sleep(0.005)
        raise AssertionError(f"no event {kind} {fields}; there were {self.events()}\n{self.errors()}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        code, self.cpu_seconds = self.forge.wait(self.pid)
        self.ended = time.monotonic()
        return code

    def assert_stopped_within(self, seconds: float) -> None:
        """From its interruption to its end: processor time, which a busy machine does not lengthen; and it did not sit and wait."""
        asked = json.loads(self.asked.read_text())
        assert self.cpu_seconds - asked["cpu"] < seconds
        assert self.ended - asked["clock"] < seconds + PATIENCE

    def message(self) -> TerminationMessage:
        return TerminationMessage.from_json(self.last_words.read_bytes())

    def errors(self) -> str:
        path = Path(str(self.log) + ".err")
        return path.read_text()[-4000:] if path.exists() else ""


@dataclass
class Run:
    """A run in a work folder of its own, with as many attempts as it takes."""

    forge: Forge
    spec: RunSpec
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    more_memory: int | None = None
    attempts: int = 0

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "work")

    def start(self, *flags: str, interruption: Interruption | None = None) -> Attempt:
        self.attempts += 1
        log, words, spec = self.folder / "events.jsonl", self.folder / f"last-words-{self.attempts}.json", self.folder / "run.json"
        spec.write_text(self.spec.to_json())
        before = len(log.read_text().splitlines()) if log.exists() else 0
        arguments = ["run", "--spec", str(spec), "--workspace", str(self.workspace.root), "--attempt", str(self.attempts), *flags]
        environment = {**ENVIRONMENT, **self.environment, "FINETUNE_TERMINATION_LOG": str(words)}
        asked = self.folder / f"asked-{self.attempts}"
        pid = self.forge.start(
            arguments,
            log=str(log),
            env=environment,
            more_memory=self.more_memory,
            interruption=None if interruption is None else {**asdict(interruption), "asked": str(asked)},
        )
        return Attempt(self.forge, pid, log, words, before, asked)

    def finish(self, *flags: str) -> TrainSummary:
        """Run to the end and return what was sealed."""
        attempt = self.start(*flags)
        code = attempt.wait()
        assert code == 0, f"exit {code}: {attempt.events()[-3:]}\n{attempt.errors()}"
        result = StepResult.from_json(self.workspace.result(Step.TRAIN).read_bytes())
        assert result.summary.train is not None
        return result.summary.train


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def new_run(forge: Forge, tmp_path: Path, run_spec: Callable[..., RunSpec]) -> Iterator[Callable[..., Run]]:  # noqa: F811 - the imported fixture
    """Make a run whose prepare step is done: sealed rows, manifest and result. ``name`` keeps several apart."""

    def make(
        name: str = "run",
        *,
        rows: int = 64,
        longest: int = 40,
        environment: dict[str, str] | None = None,
        more_memory: int | None = None,
        **sections: Any,
    ) -> Run:
        spec = run_spec(**sections)
        run = Run(forge, spec, tmp_path / name, environment or {}, more_memory)
        workspace = run.workspace
        workspace.root.mkdir(parents=True)
        write_rows(workspace.train_rows, rows, seed=1, longest=longest)
        write_rows(workspace.validation_rows, 12, seed=2, longest=longest)
        item = {"row": 1, "prompt": [{"role": "user", "content": "my router shows error code 3"}], "reference": "technical"}
        workspace.evaluation_items.write_text("".join(json.dumps({**item, "row": row}) + "\n" for row in range(4)))
        names = [workspace.train_rows.name, workspace.validation_rows.name, workspace.evaluation_items.name]
        manifest = seal_data(workspace, names, [], {"made": "for a test"})
        data = DataSummary(
            digest=manifest.content_digest(), examples=rows, validation_examples=12, evaluation_items=4, tokens=rows * 20, format="Messages"
        )
        estimate = Estimate(memory_bytes=1, disk_bytes=1, seconds=1, confidence="Fitted")
        prepared = PrepareSummary(
            dataset=data,
            estimate=estimate,
            base_digest=file_set_digest(Path(str(spec.base_model.path))),
            total_steps=1,
            micro_batch_size=spec.training.micro_batch_size or 1,
        )
        seal_result(workspace, spec, Step.PREPARE, Summary(prepare=prepared))
        return run

    yield make
    forge.kill_leftovers()
