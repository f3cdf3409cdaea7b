"""What is going on in the active step right now, and the words for it, which stay the same while it goes on."""

from dataclasses import dataclass
from enum import StrEnum

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun
from finetune_trainer.contract import Step


class ActivityKind(StrEnum):
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    BLOCKED = "Blocked"
    DELAYED = "Delayed"
    HELD = "Held"


@dataclass(frozen=True)
class Activity:
    """What is going on in the active step right now; read anew each time, never remembered."""

    kind: ActivityKind
    reason: Reason
    message: str


def doing(run: CurrentRun) -> tuple[Reason, str]:
    """What a running attempt of the active step does, in words that stay the same while it does it."""
    reason, text = {
        Step.PREPARE: (Reason.PREPARING, "the data are being read, checked and sealed"),
        Step.TRAIN: (Reason.TRAINING, "the model trains"),
        Step.PUBLISH: (Reason.PUBLISHING, "the artifact is being copied to its destination"),
    }[run.active_step]
    return reason, text if run.attempt <= 1 else f"{text} (attempt {run.attempt})"


def starting(run: CurrentRun) -> tuple[Reason, str]:
    pause = run.interruption
    if pause is not None and pause.reason != Reason.SUSPENDED.value:
        return reason_named(pause.reason), f"{pause.message.rstrip('. ')}; attempt {run.attempt} is starting"
    if run.active_step is Step.TRAIN:
        return Reason.STARTING, f"attempt {run.attempt} of {run.active_step.value} is starting"
    return doing(run)  # a small CPU pod: not worth a status write of its own


def reason_named(text: str) -> Reason:
    """A reason from status; one that another version wrote reads as a retry."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.RETRYING
