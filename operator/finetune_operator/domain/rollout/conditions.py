"""Conditions: derived as a whole from what status remembers and what is going on, so that none is ever missing or left behind."""

from dataclasses import dataclass
from datetime import datetime

from finetune_operator.api.adapterdeployment.conditions import ConditionType, DeploymentCondition
from finetune_operator.api.adapterdeployment.reasons import OF_GOVERNANCE, Reason
from finetune_operator.api.adapterdeployment.status import BEFORE_SERVERS, AdapterDeploymentStatus, Stage
from finetune_operator.api.conditions import ConditionStatus
from finetune_operator.domain.rollout.agreement import disagreement
from finetune_operator.domain.rollout.checking import failure_of
from finetune_operator.domain.rollout.compatibility import not_compared
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.exposure import exposed
from finetune_operator.domain.rollout.governing import in_grace, spoken_ruling
from finetune_operator.domain.rollout.loading import holds, pods_of, unmade, what_a_pod_says
from finetune_operator.domain.rollout.schema import unusable_schema
from finetune_operator.domain.rollout.state import State, answering, reason_named
from finetune_operator.domain.rollout.target import REFUSED, NoTarget, Target
from finetune_operator.domain.rollout.traffic import acknowledged, no_router, route_for
from finetune_operator.domain.rollout.undoing import outcome_of

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
_MESSAGE_LIMIT = 2048
_UNREAD = ", as its engine lists it; what its files hold was not verified there (docs/serving/your-own-vllm.md)"


@dataclass(frozen=True)
class Judgement:
    """What one condition says."""

    status: ConditionStatus
    reason: Reason
    message: str = ""


def build_conditions(draft: Draft, state: State) -> list[DeploymentCondition]:
    judgements = {
        ConditionType.ACCEPTED: _accepted(draft),
        ConditionType.LOADED: _loaded(draft),
        ConditionType.TRAFFIC_APPLIED: _applied(draft),
        ConditionType.ANALYSIS_PASSING: _passing(draft),
        ConditionType.AVAILABLE: _available(draft),
        **of_summary(state),
    }
    governed = _governed(draft)
    if governed is not None:
        judgements[ConditionType.GOVERNED] = governed
    behind_gateways = exposed(draft)
    if behind_gateways is not None:
        judgements[ConditionType.EXPOSED] = Judgement(*behind_gateways)
    return assembled(judgements, draft.scene.status, draft.scene.subject.generation, draft.now)


def of_summary(state: State) -> dict[ConditionType, Judgement]:
    """``Reconciling`` and ``Stalled`` are kstatus' abnormal-true pair, never true together."""
    going_on = not state.ready and not state.stalled
    return {
        ConditionType.READY: Judgement(TRUE if state.ready else FALSE, state.reason, state.message),
        ConditionType.RECONCILING: Judgement(TRUE if going_on else FALSE, state.reason, state.message if going_on else ""),
        ConditionType.STALLED: Judgement(TRUE if state.stalled else FALSE, state.reason, state.message if state.stalled else ""),
    }


def assembled(
    judgements: dict[ConditionType, Judgement], status: AdapterDeploymentStatus, generation: int, now: datetime
) -> list[DeploymentCondition]:
    """Sorted by type; a transition time moves only when the status does."""
    before = {condition.type: condition for condition in status.conditions}
    made = []
    for kind in sorted(judgements, key=lambda each: each.value):
        judgement, earlier = judgements[kind], before.get(kind)
        unmoved = earlier is not None and earlier.status is judgement.status
        made.append(
            DeploymentCondition(
                type=kind,
                status=judgement.status,
                reason=judgement.reason.value,
                message=judgement.message[:_MESSAGE_LIMIT],
                observed_generation=generation,
                last_transition_time=earlier.last_transition_time if earlier is not None and unmoved else now,
            )
        )
    return made


def _accepted(draft: Draft) -> Judgement:
    target = draft.scene.target
    if isinstance(target, NoTarget) and target.reason in REFUSED:
        return Judgement(FALSE, target.reason, target.message)
    refused = failure_of(draft, target) if isinstance(target, Target) and draft.rollout is None else None
    if refused is not None and refused.reason == Reason.ARTIFACT_REFUSED.value and not draft.is_stable(refused.digest):
        return Judgement(FALSE, Reason.ARTIFACT_REFUSED, refused.message)
    known = isinstance(target, Target)
    return Judgement(TRUE, Reason.ACCEPTED, not_compared(draft.scene.spec, draft.scene.observed.record) if known else "")


def _governed(draft: Draft) -> Judgement | None:
    view, before = draft.scene.observed.governance, draft.scene.status.governance
    if view is None:
        return None if before is None else Judgement(UNKNOWN, Reason.GOVERNANCE_OFF, "nobody looks after governance here")
    refused = failure_of(draft, draft.scene.target) if isinstance(draft.scene.target, Target) and draft.rollout is None else None
    if refused is not None and refused.reason in OF_GOVERNANCE and not draft.is_stable(refused.digest):
        return Judgement(FALSE, reason_named(refused.reason), refused.message)
    ruling = spoken_ruling(draft, view)
    if not ruling.concerned and before is None:
        return None
    aside = f". {in_grace(draft.grace)}" if draft.grace is not None else ""
    return Judgement(FALSE if ruling.denied else TRUE, ruling.reason, f"{ruling.message}{aside}")


def _loaded(draft: Draft) -> Judgement:
    wanted = wanted_versions(draft)
    if not wanted:
        return Judgement(UNKNOWN, Reason.NOT_SERVING, "no version is to be loaded yet")
    if not draft.scene.observed.pods:
        return Judgement(FALSE, Reason.NO_PODS, draft.scene.observed.refusal or unmade(draft, wanted[0]) or "there is no server pod")
    apart = next((words for version in wanted if (words := disagreement(draft, version)) is not None), None)
    if apart is not None:
        return Judgement(FALSE, Reason.FINGERPRINT_CHANGED, apart)
    if all(pods_of(draft, version) and all(holds(pod, version) for pod in pods_of(draft, version)) for version in wanted):
        unread = _UNREAD if draft.scene.spec.server.external is not None else ""
        return Judgement(TRUE, Reason.LOADED, f"every server pod holds {' and '.join(wanted)}{unread}")
    absent = any(not pods_of(draft, version) for version in wanted) and draft.scene.observed.refusal
    why = absent or next((words for version in wanted if (words := what_a_pod_says(draft, version))), "")
    return Judgement(FALSE, Reason.LOADING, f"not every server pod holds {' and '.join(wanted)}{f': {why}' if why else ''}")


def wanted_versions(draft: Draft) -> list[str]:
    """Versions that have traffic, or are about to get it."""
    rollout = draft.rollout
    coming = rollout is not None and rollout.stage not in (*BEFORE_SERVERS, Stage.ROLLING_BACK)
    return [*([draft.stable.version] if draft.stable is not None else []), *([rollout.version] if rollout is not None and coming else [])]


def _applied(draft: Draft) -> Judgement:
    if route_for(draft) is None:
        return Judgement(UNKNOWN, Reason.NOT_SERVING, "no version may answer yet")
    if acknowledged(draft):
        return Judgement(TRUE, Reason.APPLIED, "every router has applied the newest route")
    missing = no_router(draft) if not draft.scene.observed.routers else "routers have yet to acknowledge the newest route"
    return Judgement(FALSE, Reason.APPLYING, missing)


def _passing(draft: Draft) -> Judgement:
    rollout = draft.rollout
    if rollout is None or rollout.stage not in (Stage.APPLYING, Stage.BAKING, Stage.ROLLING_BACK):
        return Judgement(UNKNOWN, Reason.NO_CANARY)
    if rollout.stage is Stage.ROLLING_BACK:
        return Judgement(FALSE, outcome_of(rollout), rollout.message)
    if rollout.hold in (Reason.ANALYSIS_FAILED.value, Reason.INSUFFICIENT_DATA.value):
        failed = rollout.hold == Reason.ANALYSIS_FAILED.value
        return Judgement(FALSE if failed else UNKNOWN, reason_named(rollout.hold), rollout.message)
    if draft.scene.observed.unread:
        return Judgement(UNKNOWN, Reason.METRICS_UNAVAILABLE, draft.scene.observed.unread)
    unusable = unusable_schema(draft)
    if unusable is not None:
        return Judgement(UNKNOWN, Reason.SCHEMA_UNUSABLE, unusable)
    return Judgement(TRUE, Reason.PASSING, "no check speaks against the canary")


def _available(draft: Draft) -> Judgement:
    if answering(draft) and route_for(draft) is not None:
        return Judgement(TRUE, Reason.SERVING, "server pods answer for the alias")
    return Judgement(FALSE, Reason.NOT_SERVING, "no server pod holds the version that is to answer")
