"""Conditions: derived as a whole from what status remembers and what is going on, so that none is ever missing or left behind.

``Reconciling`` and ``Stalled`` are kstatus' abnormal-true pair, never true together. A message never quotes a figure that moves, or every
step of training would be a change of state.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from finetune_operator.api.conditions import Condition, ConditionStatus, ConditionType
from finetune_operator.api.reasons import Reason, explanation_of
from finetune_operator.api.run import CurrentRun, Outcome
from finetune_operator.api.spec import FineTuneJobSpec, HealthPolicy
from finetune_operator.domain.activity import Activity, ActivityKind, doing, reason_named
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.edits import asked_elsewhere, newer_key, remark
from finetune_operator.domain.governance.judge import Judged
from finetune_operator.domain.lifecycle import spec_of_run
from finetune_operator.domain.results import gate_decision, prepared_message
from finetune_trainer.contract import Step
from finetune_trainer.contract.governance import RuleId
from finetune_trainer.contract.governance.checks.place import host_of

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
_ORDER = (Step.PREPARE, Step.TRAIN, Step.PUBLISH)
_CONDITION_OF = {Step.PREPARE: ConditionType.PREPARED, Step.TRAIN: ConditionType.TRAINED, Step.PUBLISH: ConditionType.PUBLISHED}
_MESSAGE_LIMIT = 2048
_RULES = frozenset(rule.value for rule in RuleId)
_POD_REASONS = frozenset({Reason.PREFLIGHT_REFUSED, Reason.AWAITING_APPROVAL, *(reason for reason in Reason if reason.value in _RULES)})
"""Of runs that ended because their pods refused; and of those whose bytes were not as sealed."""


@dataclass(frozen=True)
class Judgement:
    """What one condition says."""

    status: ConditionStatus
    reason: Reason
    message: str = ""


@dataclass(frozen=True)
class Overall:
    """The one state all summary conditions tell in their own words."""

    reason: Reason
    message: str
    ready: bool = False
    stalled: bool = False
    ended: bool = False


Judgements = dict[ConditionType, Judgement]


def build_conditions(draft: Draft, judged: Judged | None) -> list[Condition]:
    """All conditions, sorted by type; a transition time moves only when the status does."""
    judgements = {**_of_steps(draft), **_of_summary(draft, overall(draft, judged)), **_governed(draft, judged), **_tracked(draft)}
    generation, now = draft.scene.subject.generation, draft.scene.now
    before = {condition.type: condition for condition in draft.scene.status.conditions}
    return [
        _condition(kind, judgements[kind], generation, before.get(kind), now) for kind in sorted(judgements, key=lambda kind: kind.value)
    ]


def overall(draft: Draft, judged: Judged | None) -> Overall:
    """What is to be said about the object as a whole."""
    acceptance, run, activity = draft.scene.acceptance, draft.run, draft.activity
    if acceptance.problem:
        return Overall(Reason.INVALID_SPEC, acceptance.problem, stalled=True)
    if activity is not None:
        return _under_way(draft, activity)
    if run is not None and run.outcome is Outcome.SUCCEEDED and judged is not None and judged.denied:
        return Overall(judged.reason, judged.message, stalled=True, ended=True)
    if run is not None and run.outcome is not None:
        return _ended(draft, run)
    return Overall(Reason.RUN_PENDING, "a run is about to begin")


def _under_way(draft: Draft, activity: Activity) -> Overall:
    run, edit = draft.active_run, remark(draft)
    if activity.kind in (ActivityKind.BLOCKED, ActivityKind.HELD) or run is None or not newer_key(draft, run):
        stalled = activity.kind is ActivityKind.BLOCKED and explanation_of(activity.reason).stalls
        return Overall(activity.reason, _with(activity.message, edit), stalled=stalled)
    return Overall(Reason.NEWER_SPEC_WAITING, edit)


def _ended(draft: Draft, run: CurrentRun) -> Overall:
    reason = reason_named(run.reason or Reason.INTERNAL.value)
    if run.outcome is not Outcome.SUCCEEDED:
        return Overall(reason, run.message, stalled=True, ended=True)
    elsewhere = asked_elsewhere(draft, run)
    if reused(draft, run):
        text = f"run {run.number} made this very result; nothing is trained again"
        return Overall(Reason.ARTIFACT_REUSED, _with(text, elsewhere), ready=True, ended=True)
    return Overall(Reason.RUN_SUCCEEDED, _with(run.message, elsewhere), ready=True, ended=True)


def _with(message: str, more: str) -> str:
    """The message, and what an edit of the spec makes of it."""
    return f"{message.rstrip('. ')}; {more}" if more else message


def reused(draft: Draft, run: CurrentRun) -> bool:
    """Whether a later run lies between this one and now: the spec was taken back."""
    return any(entry.number > run.number for entry in draft.history)


def _of_summary(draft: Draft, state: Overall) -> Judgements:
    run, spec = draft.run, draft.scene.spec
    going_on = not state.ended and not state.stalled
    healthy = going_on and spec is not None and spec.health_policy is HealthPolicy.WHEN_ACCEPTED
    ready = (
        Judgement(TRUE, Reason.SPEC_ACCEPTED, "healthPolicy WhenAccepted: the run goes on")
        if healthy
        else _flag(state.ready, state, say=True)
    )
    failed = state.ended and run is not None and run.outcome is not Outcome.SUCCEEDED
    return {
        ConditionType.ACCEPTED: _accepted(draft),
        ConditionType.READY: ready,
        ConditionType.RECONCILING: Judgement(FALSE, Reason.SPEC_ACCEPTED) if healthy else _flag(going_on, state),
        ConditionType.STALLED: _end(state.stalled, state),
        ConditionType.COMPLETE: _end(state.ended and not failed, state),
        ConditionType.FAILED: _end(failed, state),
        ConditionType.SUSPENDED: _suspended(draft),
    }


def _governed(draft: Draft, judged: Judged | None) -> Judgements:
    """Nothing at all where governance has no say."""
    if judged is None:
        return {} if draft.governance is None else {ConditionType.GOVERNED: Judgement(UNKNOWN, Reason.NOT_STARTED)}
    refused = _refused_by_its_pod(draft)
    if not judged.blocks and refused is not None:
        return {ConditionType.GOVERNED: refused}
    if not judged.blocks:
        return {ConditionType.GOVERNED: Judgement(TRUE, Reason.ALLOWED, judged.message)}
    goes_on = draft.activity is not None and draft.activity.kind in (ActivityKind.RUNNING, ActivityKind.STARTING)
    reason = Reason.POLICY_DRIFT if goes_on else judged.reason
    return {ConditionType.GOVERNED: Judgement(FALSE, reason, judged.message)}


def _refused_by_its_pod(draft: Draft) -> Judgement | None:
    """What ended the run of the present spec, where that was a rule which its pod alone could judge."""
    run = draft.run
    if run is None or run.outcome is not Outcome.FAILED or not _speaks_for_present(draft):
        return None
    reason = reason_named(run.reason or "")
    return Judgement(FALSE, reason, run.message) if reason in _POD_REASONS else None


def _flag(value: bool, state: Overall, *, say: bool = False) -> Judgement:
    """A condition that repeats the overall reason; the message only where it is true, or asked for."""
    return Judgement(TRUE if value else FALSE, state.reason, state.message if value or say else "")


def _end(value: bool, state: Overall) -> Judgement:
    """A condition about an end: while there is none, it says only that, whatever happens on the way."""
    return _flag(value, state) if value or state.ended or state.stalled else Judgement(FALSE, Reason.IN_PROGRESS)


def _accepted(draft: Draft) -> Judgement:
    problem = draft.scene.acceptance.problem
    return Judgement(FALSE, Reason.INVALID_SPEC, problem) if problem else Judgement(TRUE, Reason.ACCEPTED, "the spec is valid")


def _suspended(draft: Draft) -> Judgement:
    activity = draft.activity
    if activity is not None and activity.reason in (Reason.SUSPENDED, Reason.SUSPENDING):
        return Judgement(TRUE if activity.kind is ActivityKind.HELD else FALSE, activity.reason, activity.message)
    return Judgement(FALSE, Reason.NOT_SUSPENDED)


def _of_steps(draft: Draft) -> Judgements:
    run = draft.run if _speaks_for_present(draft) else None
    if run is None:
        judgements = {
            kind: Judgement(UNKNOWN, Reason.NOT_STARTED)
            for kind in (*_CONDITION_OF.values(), ConditionType.ADMITTED, ConditionType.EVALUATED)
        }
        if draft.activity is not None and draft.activity.kind is ActivityKind.BLOCKED:
            judgements[ConditionType.PREPARED] = Judgement(FALSE, draft.activity.reason, draft.activity.message)
        return judgements
    judgements = {kind: _step(draft, run, step) for step, kind in _CONDITION_OF.items()}
    judgements[ConditionType.ADMITTED] = _admitted(draft, run)
    judgements[ConditionType.EVALUATED] = _evaluated(draft, run)
    return judgements


def _speaks_for_present(draft: Draft) -> bool:
    """A run that has ended says nothing about a spec that asks for another one."""
    run, accepted = draft.run, draft.accepted
    return run is not None and (run.outcome is None or accepted is None or run.key == accepted.key)


def _step(draft: Draft, run: CurrentRun, step: Step) -> Judgement:
    if run.outcome is not None and run.artifact_uri is not None:
        return _done(draft, run, step)  # published: every step has ended well
    position = _ORDER.index(step) - _ORDER.index(run.active_step)
    if position < 0:
        return _done(draft, run, step)
    if position > 0:
        return Judgement(UNKNOWN, Reason.NOT_STARTED)
    if run.outcome is not None:
        return Judgement(FALSE, reason_named(run.reason or ""), run.message)
    activity = draft.activity
    if activity is None or activity.kind is ActivityKind.RUNNING:
        return Judgement(FALSE, *doing(run))
    return Judgement(FALSE, activity.reason, activity.message)


def _done(draft: Draft, run: CurrentRun, step: Step) -> Judgement:
    if step is Step.PREPARE:
        return Judgement(TRUE, Reason.PREPARED, prepared_message(draft.dataset, draft.estimate))
    if step is Step.TRAIN:
        return Judgement(TRUE, Reason.TRAINED, f"{run.step} steps" if run.step else "")
    return Judgement(TRUE, Reason.PUBLISHED, _with(run.artifact_uri or "", asked_elsewhere(draft, run)))


def _admitted(draft: Draft, run: CurrentRun) -> Judgement:
    if run.active_step is Step.PUBLISH or run.artifact_uri is not None:
        return Judgement(TRUE, Reason.ADMITTED)
    if run.active_step is Step.PREPARE:
        return Judgement(UNKNOWN, Reason.NOT_STARTED)
    if run.outcome is not None:
        return Judgement(FALSE, reason_named(run.reason or ""))
    activity = draft.activity
    if activity is None or activity.kind is ActivityKind.RUNNING:
        return Judgement(TRUE, Reason.ADMITTED)
    return Judgement(FALSE, activity.reason, activity.message)


def _evaluated(draft: Draft, run: CurrentRun) -> Judgement:
    if run.active_step is not Step.PUBLISH and run.artifact_uri is None:
        return Judgement(UNKNOWN, Reason.TRAINING if run.active_step is Step.TRAIN and run.outcome is None else Reason.NOT_STARTED)
    if run.outcome in (Outcome.GATE_REJECTED, Outcome.GATE_HELD):
        return Judgement(FALSE, reason_named(run.reason or ""), run.message)
    spec = _spec_of_verdict(draft, run)
    if draft.evaluation is None or spec is None:
        return Judgement(TRUE, reason_named(run.gate or Reason.GATE_PASSED.value), "see the run's entry in status.history")
    decision = gate_decision(draft.evaluation, spec)
    return Judgement(TRUE if decision.passed else FALSE, decision.reason, decision.message)


def _tracked(draft: Draft) -> Judgements:
    """Nothing at all where no tracker is named; one that does not answer is nobody else's trouble."""
    run = draft.run if _speaks_for_present(draft) else None
    spec = _spec_of_verdict(draft, run) if run is not None else draft.scene.spec
    if spec is None or spec.tracking is None:
        return {}
    host, said = host_of(spec.tracking.mlflow.uri), run.tracking if run is not None else None
    if said is None:
        return {ConditionType.TRACKED: Judgement(UNKNOWN, Reason.NOT_STARTED)}
    if said.trouble is None:
        return {ConditionType.TRACKED: Judgement(TRUE, Reason.TRACKED, f"run {said.run_id} at {host}")}
    text = (
        f"{host} did not answer the training pod as it should: {said.trouble}; the training goes on without it. "
        "Look at spec.tracking.mlflow (uri, experiment, credentialsSecretRef), and whether a network policy lets pods reach it."
    )
    return {ConditionType.TRACKED: Judgement(FALSE, Reason.TRACKER_UNREACHABLE, text)}


def _spec_of_verdict(draft: Draft, run: CurrentRun) -> FineTuneJobSpec | None:
    return spec_of_run(draft, run) or draft.scene.spec


def _condition(kind: ConditionType, judgement: Judgement, generation: int, before: Condition | None, now: datetime) -> Condition:
    kept = before is not None and before.status is judgement.status
    return Condition(
        type=kind,
        status=judgement.status,
        reason=judgement.reason.value,
        message=judgement.message[:_MESSAGE_LIMIT],
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and kept else now,
    )


def reason_of(conditions: Iterable[Condition], kind: ConditionType) -> str:
    """The reason a condition had; empty where it is absent."""
    return next((condition.reason for condition in conditions if condition.type is kind), "")
