"""``decide``: from what is observed, and the time, to what is to be done. Total and pure; everything else in this package serves it.

Read it top to bottom: accept the spec, take the run under way forward, point at or begin the run the spec asks for, forget what is beyond
the limits, and say how things stand.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from finetune_operator.api.conditions import Condition, ConditionType
from finetune_operator.api.reasons import Reason
from finetune_operator.api.status import FineTuneJobStatus
from finetune_operator.domain import history, lifecycle, reading
from finetune_operator.domain.acceptance import accept
from finetune_operator.domain.activity import ActivityKind
from finetune_operator.domain.conditions import build_conditions, overall, reason_of
from finetune_operator.domain.draft import Draft, begin_draft, read_scene
from finetune_operator.domain.governance.judge import Judged, judge
from finetune_operator.domain.governance.news import note_news
from finetune_operator.domain.launch import pod_environment
from finetune_operator.domain.lifecycle import governed_spec
from finetune_operator.domain.observed import Observed
from finetune_operator.domain.phase import phase_of
from finetune_operator.domain.plan import EventNote, LiveChecks, Plan
from finetune_operator.domain.progress import FIGURES
from finetune_operator.domain.subject import Mistakes, Subject, read_subject
from finetune_operator.domain.tracking import note_tracker

_UNREADABLE_RETRY_SECONDS = 600.0
_NAMESPACE_SECONDS = 0.5


def decide(observed: Observed, now: datetime) -> Plan:
    """The plan for one FineTuneJob at ``now`` (with a time zone); never raises, whatever a cluster or a person put into ``observed``."""
    subject = read_subject(observed.resource)
    if subject is None or subject.deleting:
        return Plan()  # deleting it collects its children; artifacts stay
    if observed.governance is not None and not observed.governance.known:
        return Plan(requeue_after=_NAMESPACE_SECONDS)
    if isinstance(subject.status, Mistakes):
        return _unreadable(subject.status)
    draft = begin_draft(read_scene(observed, subject, subject.status, accept(subject, subject.status, observed.governance), now))
    lifecycle.advance(draft)
    if draft.undecided:
        return Plan(requeue_after=min(draft.wakes))
    lifecycle.settle(draft)
    history.prune(draft, pod_environment(draft, None))
    history.sweep(draft)
    return _conclude(draft, subject)


def _unreadable(mistakes: Mistakes) -> Plan:
    """Without its memory nothing may be started: it might have run already."""
    text = f"{mistakes.text}: nothing is started, because it may have run before. Restore the status, or upgrade the operator."
    return Plan(events=(EventNote("Warning", Reason.INTERNAL.value, "Read", text[:1000]),), requeue_after=_UNREADABLE_RETRY_SECONDS)


def _conclude(draft: Draft, subject: Subject) -> Plan:
    judged = judge(draft, governed_spec(draft))
    status = _build_status(draft, judged)
    desired = reading.without_empty(status.to_manifest())
    _note_trouble(draft, status.conditions)
    note_news(draft, status.conditions, judged)
    note_tracker(draft, status.conditions)
    changed = _changed(reading.without_empty(subject.stored_status), desired)
    if changed == {"progress"} and not draft.urgent:
        wait = _until_next_figures(draft)
        if wait > 0:
            changed = set()
            draft.wake_in(wait)
    return Plan(
        live_checks=LiveChecks(draft.check_resource, tuple(draft.absent)),
        deletes=tuple(draft.deletes),
        applies=tuple(draft.applies),
        creates=tuple(draft.creates),
        status=desired if changed else None,
        events=tuple(draft.events),
        requeue_after=min(draft.wakes, default=None),
        record=draft.record,
    )


def _build_status(draft: Draft, judged: Judged | None) -> FineTuneJobStatus:
    state = overall(draft, judged)
    return FineTuneJobStatus(
        observed_generation=draft.scene.subject.generation,
        conditions=build_conditions(draft, judged),
        phase=phase_of(draft, state),
        accepted=draft.accepted,
        current_run=draft.run,
        history=draft.history,
        dataset=draft.dataset,
        estimate=draft.estimate,
        evaluation=draft.evaluation,
        governance=draft.governance,
        artifact=draft.artifact,
    )


def _note_trouble(draft: Draft, conditions: list[Condition]) -> None:
    """One Event when a run gets stuck, not one per reconcile."""
    reason = reason_of(conditions, ConditionType.READY)
    before = reason_of(draft.scene.status.conditions, ConditionType.READY)
    blocked = draft.activity is not None and draft.activity.kind is ActivityKind.BLOCKED
    invalid = bool(draft.scene.acceptance.problem)
    if (blocked or invalid) and reason != before:
        state = overall(draft, None)
        draft.note(state.reason, "Wait" if blocked else "Accept", state.message, warning=state.reason is not Reason.QUEUED)


def _changed(stored: Mapping[str, Any], desired: Mapping[str, Any]) -> set[str]:
    """What differs: nothing, ``progress`` figures only, or ``state``."""
    if stored == desired:
        return set()
    run, wanted = reading.at(stored, "currentRun"), reading.at(desired, "currentRun")
    if not isinstance(run, Mapping) or not isinstance(wanted, Mapping):
        return {"state"}
    if {**stored, "currentRun": _without_figures(run)} == {**desired, "currentRun": _without_figures(wanted)}:
        return {"progress"}
    return {"state"}


def _without_figures(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name not in FIGURES}


def _until_next_figures(draft: Draft) -> float:
    """Seconds before figures alone may be written again."""
    before = draft.scene.status.current_run
    if before is None or before.updated_at is None:
        return 0.0
    age = (draft.scene.now - before.updated_at).total_seconds()
    return draft.scene.settings.progress_write_seconds - age
