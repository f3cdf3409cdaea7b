"""The phase: one word for people's eyes, derived at the very end; nothing may branch on it."""

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Outcome
from finetune_operator.api.status import Phase
from finetune_operator.domain.activity import Activity, ActivityKind
from finetune_operator.domain.conditions import Overall
from finetune_operator.domain.draft import Draft
from finetune_trainer.contract import Step

_OF_OUTCOME = {
    Outcome.SUCCEEDED: Phase.READY,
    Outcome.GATE_REJECTED: Phase.REJECTED,
    Outcome.GATE_HELD: Phase.HELD,
    Outcome.CANCELLED: Phase.CANCELLED,
    Outcome.FAILED: Phase.FAILED,
    Outcome.REPLACED: Phase.PENDING,
}
_INTERRUPTED = (Reason.INTERRUPTED, Reason.RETRYING, Reason.NO_PROGRESS, Reason.POD_LOST, Reason.CHILD_DELETED)


def phase_of(draft: Draft, state: Overall) -> Phase:
    run, activity = draft.run, draft.activity
    if run is not None and run.outcome is not None and state.ended:
        if run.outcome is Outcome.SUCCEEDED and state.stalled:
            return Phase.HELD
        return _OF_OUTCOME[run.outcome]
    if activity is not None and activity.reason in (Reason.SUSPENDED, Reason.SUSPENDING):
        return Phase.SUSPENDED
    if draft.active_run is not None:
        return _of_active(draft.active_run, activity)
    return Phase.FAILED if state.reason is Reason.INVALID_SPEC else Phase.PENDING


def _of_active(run: CurrentRun, activity: Activity | None) -> Phase:
    if activity is not None and activity.reason in _INTERRUPTED:
        return Phase.INTERRUPTED
    if run.active_step is not Step.TRAIN:
        return Phase.PREPARING if run.active_step is Step.PREPARE else Phase.PUBLISHING
    running = activity is None or activity.kind is ActivityKind.RUNNING
    return Phase.TRAINING if running else Phase.QUEUED
