"""An object being deleted: the alias goes off, open requests end, pods unload; and whatever happens, it ends in time."""

from datetime import datetime, timedelta

from finetune_operator.api.adapterdeployment.conditions import ConditionType
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, RollbackSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus, Phase
from finetune_operator.domain.rollout.conditions import FALSE, TRUE, UNKNOWN, Judgement, assembled, of_summary
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.domain.rollout.retention import numbered
from finetune_operator.domain.rollout.state import State
from finetune_operator.domain.rollout.subject import Subject
from finetune_operator.domain.rollout.traffic import closed, has_applied

_CONDITIONS = {
    ConditionType.ACCEPTED: Judgement(TRUE, Reason.ACCEPTED),
    ConditionType.LOADED: Judgement(UNKNOWN, Reason.DRAINING),
    ConditionType.TRAFFIC_APPLIED: Judgement(UNKNOWN, Reason.DRAINING),
    ConditionType.ANALYSIS_PASSING: Judgement(UNKNOWN, Reason.NO_CANARY),
    ConditionType.AVAILABLE: Judgement(FALSE, Reason.DRAINING, "the alias is off"),
}


def drain(
    subject: Subject, status: AdapterDeploymentStatus, observed: RolloutObserved, now: datetime
) -> tuple[AdapterDeploymentStatus | None, bool]:
    """The status to write while it drains, or None and True when the finalizer may go."""
    timeout, settings = _timeout(subject), observed.settings
    since = min(status.draining_since or now, now)
    waited = (now - since) / timedelta(seconds=1)
    served = status.route is not None or status.desired is not None
    if not served or waited >= timeout + settings.unload_seconds:
        return None, True
    route = closed(status.route) if status.route is not None else None
    quiet = route is None or (route == status.route and _quiet(observed, status))
    over = quiet or waited >= timeout
    desired = numbered(status.desired, []) if over else status.desired
    if over and desired == status.desired and not any(pod.versions for pod in observed.pods):
        return None, True
    state = State(Phase.DRAINING, Reason.DRAINING, "the alias is off; open requests end, then the versions are unloaded")
    changed = status.replacing(
        observed_generation=subject.generation,
        phase=state.phase,
        conditions=assembled({**_CONDITIONS, **of_summary(state)}, status, subject.generation, now),
        rollout=None,
        canary_version=None,
        step=None,
        route=route,
        desired=desired,
        draining_since=since,
    )
    return changed, False


def _quiet(observed: RolloutObserved, status: AdapterDeploymentStatus) -> bool:
    """Whether every router has closed the alias and has nothing open for it."""
    assert status.route is not None
    for router in observed.routers:
        if not has_applied(router, status.route) or (router.applied is not None and any(router.applied.in_flight.values())):
            return False
    return True


def _timeout(subject: Subject) -> int:
    spec = subject.spec
    return spec.rollback.drain_timeout_seconds if isinstance(spec, AdapterDeploymentSpec) else RollbackSpec().drain_timeout_seconds
