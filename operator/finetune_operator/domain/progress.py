"""Progress of the running attempt: what of an untrusted report goes into status, and how often.

A report changes nothing but figures, so it may wait: at most one write per run in ``progress_write_seconds``, and none when no figure
changed. Totals are the run's; the time left is the trainer's own, from a sliding window, and disappears as soon as nothing trains.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finetune_operator.api.run import CurrentRun
from finetune_operator.domain.children import Pod, read_pod
from finetune_operator.domain.observed import PodProgress
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.subject import Mistakes, read_subject
from finetune_operator.domain.tracking import with_tracker
from finetune_operator.manifests.names import run_hash
from finetune_operator.manifests.tokens import progress_token
from finetune_trainer.contract import Step

SILENT_INTERVALS = 4
"""A pod that has not answered for so many intervals of progress has no time left that anybody knows."""

FIGURES = frozenset(
    {
        "step",
        "totalSteps",
        "stepText",
        "eta",
        "etaSeconds",
        "epoch",
        "loss",
        "evaluationLoss",
        "tokensPerSecond",
        "lastSealedStep",
        "sealedBefore",
        "updatedAt",
        "tracking",
    }
)
"""Fields of ``status.currentRun`` that a progress report may change; a change of these alone waits its turn."""


@dataclass(frozen=True)
class ProgressTarget:
    """A pod to ask, and the run's token to ask with; ``namespace``, ``name`` and ``ip`` are the pod's."""

    namespace: str
    name: str
    ip: str
    token: str


def progress_target(resource: JsonObject, pods: tuple[JsonObject, ...], key: bytes) -> ProgressTarget | None:
    """Whom to ask for progress: the running pod of the current train attempt, or nobody."""
    subject = read_subject(resource)
    if subject is None or subject.deleting or isinstance(subject.status, Mistakes):
        return None
    run = subject.status.current_run
    if run is None or run.outcome is not None or run.active_step is not Step.TRAIN:
        return None
    mark = run_hash(subject.owner.uid, run.key)
    for pod in map(read_pod, pods):
        place = pod.place
        if (
            pod.running
            and pod.ip
            and not pod.terminating
            and (place.run, place.step, place.attempt) == (mark, Step.TRAIN.value, run.attempt)
        ):
            token = progress_token(key, subject.owner.uid, run.key)
            return ProgressTarget(pod.reference.namespace, pod.reference.name, pod.ip, token)
    return None


def merge_progress(run: CurrentRun, progress: PodProgress | None, pod: Pod) -> CurrentRun:
    """The run with the figures of ``progress``, if it speaks about this pod and run."""
    if progress is None or progress.pod != pod.reference.name or progress.report.run_key != run.key:
        return run
    before, report = run, progress.report
    resumed = max(report.resumed_from_step or 0, run.sealed_before or 0)
    run = with_sealed(run, max(report.checkpoint_step or 0, resumed))
    total = report.total_steps or run.total_steps
    training = report.phase == "Training"
    run = with_tracker(run, report.tracker)
    figures: dict[str, Any] = {
        "step": report.step if total else run.step,
        "total_steps": total,
        "step_text": step_text(report.step, total) or run.step_text,
        "epoch": report.epoch or run.epoch,
        "loss": report.loss or run.loss,
        "evaluation_loss": report.evaluation_loss or run.evaluation_loss,
        "tokens_per_second": report.tokens_per_second if training else None,
        "eta_seconds": report.eta_seconds if training else None,
        "eta": duration(report.eta_seconds) if training and report.eta_seconds is not None else None,
        "sealed_before": resumed or None,  # an attempt that fell silent may have sealed more than it had told
    }
    merged = run.model_copy(update=figures)
    return merged if merged == before else merged.model_copy(update={"updated_at": progress.read_at})


def silent_seconds(run: CurrentRun, progress: PodProgress | None, pod: Pod, now: datetime) -> float:
    """How long ago the pod last answered; what status remembers stands in for an answer that a restarted operator has not got yet."""
    answered = progress is not None and progress.pod == pod.reference.name and progress.report.run_key == run.key
    last = progress.read_at if progress is not None and answered else run.updated_at
    return max(0.0, (now - last).total_seconds()) if last is not None else 0.0


def with_sealed(run: CurrentRun, step: int | None) -> CurrentRun:
    """The run once a checkpoint of ``step`` is known to be sealed; one that lies further on ends the row of idle preemptions."""
    if step is None or step <= (run.last_sealed_step or 0):
        return run
    return run.model_copy(update={"last_sealed_step": step, "retries": run.retries.replacing(idle_preemptions=0)})


def without_rates(run: CurrentRun) -> CurrentRun:
    """The run when nothing trains: rates and the time left would be lies."""
    return run.model_copy(update={"eta": None, "eta_seconds": None, "tokens_per_second": None})


def step_text(step: int | None, total: int | None) -> str | None:
    """How far a run is, for people: ``120/300``."""
    return f"{step or 0}/{total}" if total else None


def duration(seconds: int) -> str:
    """Time left for people: ``45s``, ``4m``, ``2h10m``, ``3d4h``; rounded to what an estimate can know."""
    if seconds < 60:
        return f"{seconds}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"
