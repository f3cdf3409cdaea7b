"""Retry budgets: what a failed attempt is answered with, per class, from what status remembers.

A person's mistake is never retried. Out of memory halves the micro-batch, twice at most. Preemptions are free as long as something new is
sealed between them. Everything else may pass by itself and is tried ``runPolicy.maxAttempts`` times, with growing waits.
"""

from dataclasses import dataclass

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Retries
from finetune_operator.api.spec import RunPolicy
from finetune_operator.domain.failure import Failure, FailureKind, describe
from finetune_operator.domain.observed import DomainSettings
from finetune_trainer.contract import Step

HALVINGS = 2
IDLE_PREEMPTIONS = 2
LOST_MESSAGES = 3

_FINAL = (
    FailureKind.CONFIGURATION,
    FailureKind.DATA,
    FailureKind.MODEL,
    FailureKind.DIVERGED,
    FailureKind.NOT_CONTAINED,
    FailureKind.DENIED,
)


@dataclass(frozen=True)
class TryAgain:
    """Another attempt after ``delay_seconds``, with the budgets as they are then."""

    reason: Reason
    message: str
    delay_seconds: float
    retries: Retries
    micro_batch_size: int | None


@dataclass(frozen=True)
class GiveUp:
    """The run ends here."""

    reason: Reason
    message: str


def held_back(failure: Failure, run: CurrentRun) -> TryAgain:
    """The pod refused what the operator would not let begin either by now: once that is settled it is decided anew, at no cost."""
    return TryAgain(failure.reason, describe(failure), 0.0, run.retries, run.micro_batch_size)


def answer(failure: Failure, run: CurrentRun, policy: RunPolicy, settings: DomainSettings) -> TryAgain | GiveUp:
    """What to do about ``failure`` of the run's active attempt."""
    if failure.kind in _FINAL:
        return GiveUp(failure.reason, describe(failure))
    if failure.kind is FailureKind.MESSAGE_LOST:
        return _lost_message(failure, run, policy, settings)
    if failure.reason is Reason.CHILD_DELETED and not run.retries.lost_messages:
        return _first_lost_job(failure, run, settings)
    if failure.kind is FailureKind.PREEMPTED:
        return _preempted(failure, run, policy, settings)
    if failure.kind in (FailureKind.OUT_OF_MEMORY, FailureKind.HOST_OUT_OF_MEMORY):
        return _out_of_memory(failure, run)
    return _counted(failure, run, policy, settings)


def _counted(failure: Failure, run: CurrentRun, policy: RunPolicy, settings: DomainSettings) -> TryAgain | GiveUp:
    field = {FailureKind.STORAGE: "storage", FailureKind.INTERNAL: "internal"}.get(failure.kind, "infrastructure")
    used = getattr(run.retries, field) + 1
    if used >= policy.max_attempts:
        return GiveUp(_final_reason(failure), f"failed {_times(used)} (spec.runPolicy.maxAttempts); the last time: {describe(failure)}")
    delay = backoff_seconds(used, settings)
    message = f"failure {used} of {policy.max_attempts}: {describe(failure)}"
    return TryAgain(_passing_reason(failure), message, delay, run.retries.replacing(**{field: used}), run.micro_batch_size)


def _preempted(failure: Failure, run: CurrentRun, policy: RunPolicy, settings: DomainSettings) -> TryAgain | GiveUp:
    sealed_more = (run.last_sealed_step or 0) > (run.sealed_before or 0)
    idle = 0 if sealed_more else run.retries.idle_preemptions + 1
    retries = run.retries.replacing(preemptions=run.retries.preemptions + 1, idle_preemptions=idle)
    if idle < IDLE_PREEMPTIONS:
        known = f"; step {run.last_sealed_step} is sealed" if run.last_sealed_step and failure.sealed_step is None else ""
        return TryAgain(failure.reason, f"{describe(failure)}{known}", 0.0, retries, run.micro_batch_size)
    counted = Failure(
        FailureKind.INFRASTRUCTURE,
        Reason.NO_PROGRESS,
        f"preempted {_times(idle)} in a row without a newly sealed checkpoint; {failure.message}",
        "Lower spec.checkpoint.everySeconds, or use nodes that live longer.",
    )
    return _counted(counted, run.model_copy(update={"retries": retries.replacing(idle_preemptions=0)}), policy, settings)


def _out_of_memory(failure: Failure, run: CurrentRun) -> TryAgain | GiveUp:
    on_host = failure.kind is FailureKind.HOST_OUT_OF_MEMORY
    field = "host_out_of_memory" if on_host else "out_of_memory"
    used = getattr(run.retries, field)
    size = run.micro_batch_size
    if run.active_step is not Step.TRAIN:
        return GiveUp(Reason.OUT_OF_MEMORY, describe(failure))
    if size is None or size <= 1:
        hint = failure.hint or "Lower spec.training.maxSequenceLength, set gradientCheckpointing, or use type QLoRA."
        tried = "with one example per forward pass already" if size else "and the size of the micro-batch is not known"
        return GiveUp(Reason.OUT_OF_MEMORY, f"{failure.message}, {tried}. {hint}")
    if used >= HALVINGS:
        return GiveUp(Reason.OUT_OF_MEMORY, f"also with the micro-batch halved twice, to {size}: {describe(failure)}")
    half = size // 2
    message = f"{failure.message}; the next attempt takes {half} instead of {size} examples per forward pass, the effective batch stays"
    return TryAgain(Reason.RETRYING, message, 0.0, run.retries.replacing(**{field: used + 1}), half)


def _lost_message(failure: Failure, run: CurrentRun, policy: RunPolicy, settings: DomainSettings) -> TryAgain | GiveUp:
    used = run.retries.lost_messages + 1
    if used <= LOST_MESSAGES:
        return TryAgain(failure.reason, describe(failure), 0.0, run.retries.replacing(lost_messages=used), run.micro_batch_size)
    return _counted(Failure(FailureKind.INFRASTRUCTURE, failure.reason, failure.message, failure.hint), run, policy, settings)


def _first_lost_job(failure: Failure, run: CurrentRun, settings: DomainSettings) -> TryAgain:
    """Its step may have ended well, and then another attempt answers from the sealed result; each further loss uses up an attempt."""
    retries = run.retries.replacing(lost_messages=1)
    return TryAgain(failure.reason, describe(failure), backoff_seconds(1, settings), retries, run.micro_batch_size)


def backoff_seconds(failures: int, settings: DomainSettings) -> float:
    """Doubles with each failure, up to the cap."""
    return min(settings.retry_cap_seconds, settings.retry_base_seconds * 2.0 ** min(failures - 1, 32))


def _final_reason(failure: Failure) -> Reason:
    if failure.kind is FailureKind.STORAGE:
        return Reason.STORAGE_FAILED
    return Reason.INTERNAL if failure.kind is FailureKind.INTERNAL else Reason.ATTEMPTS_EXHAUSTED


def _passing_reason(failure: Failure) -> Reason:
    return failure.reason if failure.reason in (Reason.CHILD_DELETED, Reason.POD_LOST, Reason.NO_PROGRESS) else Reason.RETRYING


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
