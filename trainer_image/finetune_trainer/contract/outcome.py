"""How a step ends: exit codes, failure classes and the termination message.

The exit code says the class to whoever reads pods; the Job's failure policy copies it into a condition, so that the class survives the
pod. The termination message (at most 4,096 bytes, a kubelet limit) carries evidence and hint. Row text never appears in either.
"""

from collections.abc import Iterator
from enum import IntEnum, StrEnum

from pydantic import Field

from finetune_trainer.contract.base import Digest, Document, Named
from finetune_trainer.contract.egress import EgressReport
from finetune_trainer.contract.model import BaseModelFindings
from finetune_trainer.contract.results import Summary
from finetune_trainer.contract.tracking import TrackerReport

TERMINATION_MESSAGE_LIMIT = 4096
TERMINATION_LOG = "/dev/termination-log"
PREFLIGHT_STEP = "preflight"
"""What goes before a governed step, in a container that mounts no data, where steps are told apart; the trainer's command for it too."""


class ExitCode(IntEnum):
    """sysexits.h where it has a fitting number."""

    DONE = 0
    INTERNAL = 1
    CONFIGURATION = 64
    DATA = 65
    MODEL = 66
    OUT_OF_MEMORY = 70
    DIVERGED = 71
    STORAGE = 74
    STOPPED = 75
    NOT_CONTAINED = 77
    DENIED = 78


class FailureClass(StrEnum):
    """Why a step ended, as the retry budgets know it."""

    DONE = "Done"
    INTERNAL = "Internal"
    CONFIGURATION = "Configuration"
    DATA = "Data"
    MODEL = "Model"
    OUT_OF_MEMORY = "OutOfMemory"
    DIVERGED = "Diverged"
    STORAGE = "Storage"
    STOPPED = "Stopped"
    NOT_CONTAINED = "NotContained"
    DENIED = "Denied"


CLASS_OF_EXIT = {
    ExitCode.DONE: FailureClass.DONE,
    ExitCode.INTERNAL: FailureClass.INTERNAL,
    ExitCode.CONFIGURATION: FailureClass.CONFIGURATION,
    ExitCode.DATA: FailureClass.DATA,
    ExitCode.MODEL: FailureClass.MODEL,
    ExitCode.OUT_OF_MEMORY: FailureClass.OUT_OF_MEMORY,
    ExitCode.DIVERGED: FailureClass.DIVERGED,
    ExitCode.STORAGE: FailureClass.STORAGE,
    ExitCode.STOPPED: FailureClass.STOPPED,
    ExitCode.NOT_CONTAINED: FailureClass.NOT_CONTAINED,
    ExitCode.DENIED: FailureClass.DENIED,
}


class SealedCheckpoint(Document):
    step: int = Field(ge=0)
    digest: Digest


class Refusal(Document):
    """One rule that refuses in the pod: where, by whose demand (``NAME@GENERATION``, or empty), and what to do."""

    rule: str = Field(max_length=64)
    field: str = Field(max_length=128)
    policy: str = Field(default="", max_length=275)
    remedy: str = Field(max_length=256)


class TerminationMessage(Named):
    """The last word of a pod: a documented ``reason``, a ``message`` with field or row number, a ``hint`` with the next action."""

    kind: str = Field(default="TerminationMessage", pattern="^TerminationMessage$")
    step: str = Field(max_length=16)
    run_key: str = Field(max_length=64)
    outcome: FailureClass
    reason: str = Field(max_length=64, pattern=r"^[A-Za-z]([A-Za-z0-9]*)$")
    message: str = Field(max_length=1024)
    hint: str = Field(default="", max_length=512)
    last_step: int | None = None
    checkpoint: SealedCheckpoint | None = None
    skipped_checkpoints: list[str] = Field(default_factory=list, max_length=4, description="Which checkpoint was not loaded, and why.")
    base_model: BaseModelFindings | None = Field(default=None, description="Of one that was refused because loading it would run code.")
    summary: Summary | None = None
    result_digest: Digest | None = None
    tracker: TrackerReport | None = Field(default=None, description="Whether what was told to a tracker has arrived.")
    egress: EgressReport | None = Field(default=None, description="What probes of egress in this container have found.")
    refusals: tuple[Refusal, ...] = Field(default=(), max_length=8, description="By what the pod itself does not let the step begin.")

    def to_bounded_json(self) -> str:
        """The message cut to what kubelet keeps: texts shrink first, then all refusals but one and names of files go, then the summary."""
        document = self
        for limit in (1024, 256, 64):
            document = document.model_copy(
                update={
                    "message": document.message[:limit],
                    "hint": document.hint[:limit],
                    "skipped_checkpoints": [s[:limit] for s in document.skipped_checkpoints],
                }
            )
            text = document.to_json()
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        document = document.model_copy(update={"refusals": document.refusals[:1]})
        for summary in (document.summary, *_shorter(document.summary)):
            text = document.model_copy(update={"summary": summary}).to_json()
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        return document.model_copy(update={"summary": None}).to_json()


def _shorter(summary: Summary | None) -> Iterator[Summary]:
    """What prepare tells people goes before anything that is decided upon; names of files and of documents before what was trained."""
    if summary is not None and (train := summary.train) is not None:
        for names in ("files", "documents"):  # without the former an adapter is still known by its digest
            train = train.model_copy(update={names: []})
            yield Summary(train=train)
    if summary is not None and (prepare := summary.prepare) is not None:
        yield Summary(prepare=prepare.model_copy(update={"dataset": prepare.dataset.model_copy(update={"findings": []})}))
