"""What a training says about the tracker that it logs to: into status, and told once where nothing arrives any more."""

from finetune_operator.api.conditions import Condition, ConditionType
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, TrackingStatus
from finetune_operator.domain.draft import Draft
from finetune_trainer.contract import TrackerReport


def with_tracker(run: CurrentRun, report: TrackerReport | None) -> CurrentRun:
    """The run with what its pod said; the name that an earlier attempt learned stays known."""
    if report is None:
        return run
    known = run.tracking.run_id if run.tracking is not None else None
    return run.model_copy(
        update={"tracking": TrackingStatus(run_id=report.run_id or known, trouble=report.trouble, lost=min(report.lost, 10**12))}
    )


def note_tracker(draft: Draft, conditions: list[Condition]) -> None:
    """One Event when a tracker falls silent."""
    before, now = _tracked(draft.scene.status.conditions), _tracked(conditions)
    if now is not None and now.reason == Reason.TRACKER_UNREACHABLE.value and (before is None or before.reason != now.reason):
        draft.note(Reason.TRACKER_UNREACHABLE, "Track", now.message, warning=True)


def _tracked(conditions: list[Condition]) -> Condition | None:
    return next((condition for condition in conditions if condition.type is ConditionType.TRACKED), None)
