"""What every sub-command gets: ``cli/<command>.py`` defines ``def execute(context: StepContext) -> StepResult | None``.

- Return the sealed result of the step (``pod.sealing.seal_result``), or None where the command has none (``evaluate``, ``clean``).
- Raise a ``StepError`` to end early. Whatever else escapes is classified by ``pod.termination`` (disk full, out of memory, internal).
- Fill ``context.evidence`` as facts become known: it goes into the termination message however the step ends, a stop by TERM included.
- Import torch inside ``execute`` or in modules that only ``execute`` imports: by then the thread count and the hub's offline mode are set.
- A stop ends the process at once unless ``with context.stop.deferred():`` is held; inside it look at ``context.stop.requested``, seal, and
  raise ``Stopped``.
- A step whose sealed result exists is answered from it before ``execute`` is called.
"""

from dataclasses import dataclass, field
from pathlib import Path

from finetune_trainer.contract import Digest, EgressReport, RunSpec, SealedCheckpoint, TrackerReport
from finetune_trainer.pod.egress import EgressWatch
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.signals import StopFlag
from finetune_trainer.pod.tracker import Tracker
from finetune_trainer.pod.workspace import Workspace


@dataclass
class Evidence:
    """What is known about the run whenever it may end."""

    last_step: int | None = None
    checkpoint: SealedCheckpoint | None = None
    skipped_checkpoints: list[str] = field(default_factory=list)
    egress: EgressReport | None = None
    tracker: TrackerReport | None = None

    def skipped(self) -> list[str]:
        """The newest four, as a termination message can hold them."""
        return [text[:1024] for text in self.skipped_checkpoints[-4:]]


@dataclass(frozen=True)
class SealedInputs:
    """Digests of dataset and base model that the operator remembers of the prepare step, whatever lies on the volumes now."""

    data: Digest
    base: Digest


@dataclass(frozen=True)
class StepOptions:
    """Command line flags.

    ``micro_batch_size`` overrides spec and estimate (after an out-of-memory); ``out`` replaces ``artifact.path``, ``record`` the folder
    where the operator's signed record is mounted. ``egress`` is what must not answer while the step lasts, ``sealed`` what the
    inputs must be.
    """

    micro_batch_size: int | None = None
    out: Path | None = None
    record: Path | None = None
    egress: EgressWatch | None = None
    sealed: SealedInputs | None = None


@dataclass(frozen=True)
class StepContext:
    """One attempt of one step."""

    spec: RunSpec
    workspace: Workspace
    attempt: int
    options: StepOptions
    events: EventLog
    stop: StopFlag
    evidence: Evidence
    spec_path: Path
    tracker: Tracker | None = None
