"""How closely a deployment is watched: a pure function of its own status.

Under way: routers and pods are asked at every look. Something is missing that should come by itself: every few seconds. At rest: rarely,
because whatever changes a pod's readiness arrives as a change of that pod.
"""

from dataclasses import dataclass

from finetune_operator.api.adapterdeployment.conditions import ConditionType
from finetune_operator.api.adapterdeployment.status import Stage
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.observed import RolloutSettings

_COUNTING = (Stage.APPLYING.value, Stage.BAKING.value)
_EXPECTED = (ConditionType.LOADED.value, ConditionType.TRAFFIC_APPLIED.value)


@dataclass(frozen=True)
class Pace:
    """``max_age`` of readings and ``look_in`` are in seconds; ``samples``: whether the routers' counters are wanted."""

    max_age: float
    look_in: float
    samples: bool = False
    resting: bool = False


def pace_of(deployment: Manifest, settings: RolloutSettings, rest_seconds: float) -> Pace:
    """From the status as it is stored; a decision that wants to write is made again on new readings."""
    status = deployment.get("status")
    fresh = settings.poll_seconds / 2
    if deployment["metadata"].get("deletionTimestamp"):
        return Pace(fresh, settings.poll_seconds)
    if reading.at(status, "rollout") is not None:
        return Pace(fresh, settings.look_seconds, samples=reading.text(status, "rollout", "stage") in _COUNTING)
    conditions = {reading.text(condition, "type"): reading.text(condition, "status") for condition in reading.objects(status, "conditions")}
    if any(conditions.get(kind) == "False" for kind in _EXPECTED):
        return Pace(settings.look_seconds / 2, settings.look_seconds)
    return Pace(rest_seconds / 2, rest_seconds, resting=True)
