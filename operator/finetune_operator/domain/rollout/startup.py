"""What keeps a pod of serving from running: the evidence that the cluster leaves, the field behind it, and what to do.

Words stay the same while the trouble does: of a container that waits mostly the reason alone, because its message counts the seconds of a
back-off.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from finetune_operator.domain import reading
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.rollout.mounting import trouble_before_start
from finetune_operator.domain.rollout.places import Places, of_claim
from finetune_operator.domain.trouble import IMAGE_REASONS, missing_claim, of_quota

_WORDS: Final = 512
"""Characters that are kept of what others say."""
_CONTAINERS: Final = ("initContainerStatuses", "containerStatuses")
_STARTING: Final = ("", "ContainerCreating", "PodInitializing")
_PULL_FAILED, _PULLED_IN_VAIN = "ErrImagePull", "ImagePullBackOff"
"""kubelet alternates between them: one word for both, or each turn would be a status write."""
_POD: Final = re.compile(r'^pods "[^"]*" (is )?')
"""Every try has another name; the message must not change with it."""


def startup_trouble(pod: JsonObject, places: Places, warnings: Iterable[WarningEvent], now: datetime) -> str:
    """Empty where it runs, or is about to."""
    for condition in reading.objects(pod, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = reading.text(condition, "message") or reading.text(condition, "reason")
            return f"it is not scheduled: {unscheduled(said, places)}"
    for container in (each for kind in _CONTAINERS for each in reading.objects(pod, "status", kind)):
        reason = reading.text(container, "state", "waiting", "reason")
        if reason not in _STARTING:
            return _of_container(container, reason, places)
    return "" if _has_started(pod) else trouble_before_start(pod, places, warnings, now)


def creation_trouble(found: JsonObject, places: Places) -> str:
    """Why a Deployment lacks pods, as the API server told its ReplicaSet; empty where nothing is refused."""
    failed = next((each for each in reading.objects(found, "status", "conditions") if each.get("type") == "ReplicaFailure"), None)
    if failed is None or failed.get("status") != "True":
        return ""
    evidence = _POD.sub("", reading.text(failed, "message")).strip().rstrip(".")[:_WORDS]
    said = f"the API server takes no more pods of Deployment {reading.text(found, 'metadata', 'name')}: {evidence}"
    of_room = of_quota(said, places.resources)
    return of_room or f"{said}. Satisfy the policy or correct what it names, or ask the platform team: it is tried again by itself."


def unscheduled(evidence: str, places: Places) -> str:
    """The scheduler's words with what to do: about the claim it names, or about whatever it counts nodes by."""
    said = evidence.strip().rstrip(".")[:_WORDS]
    claim = missing_claim(said)
    if claim is not None:
        return of_claim(claim, places)
    if "persistentvolumeclaim" in said.lower() or "volume" in said.lower():
        return f"{said}. Check the claims of {places.volumes}."
    ways = ["Make room for it", places.room]
    if places.resources and "taint" in said:
        ways.append(f"tolerate the taint in {places.resources}.tolerations")
    if places.resources and "affinity/selector" in said:
        ways.append(f"correct {places.resources}.nodeSelector")
    return f"{said}. {', '.join(ways[:-1])}, or {ways[-1]}."


def _of_container(container: Mapping[str, object], reason: str, places: Places) -> str:
    name = reading.text(container, "name")
    if reason in IMAGE_REASONS:
        said = _PULLED_IN_VAIN if reason == _PULL_FAILED else reason
        image = reading.text(container, "image")[:_WORDS]
        of = f" of {image}" if image else ""
        return f"container {name} waits: {said}{of}. Check {places.images.get(name, places.image)}."
    if reason == "CreateContainerConfigError":
        said = reading.text(container, "state", "waiting", "message").strip().rstrip(".")[:_WORDS]
        return f"container {name} waits: {reason}{f': {said}' if said else ''}. Create what it names, or correct {places.volumes}."
    return f"container {name} waits: {reason[:_WORDS]}. Look at the pod's events and log."


def _has_started(pod: JsonObject) -> bool:
    states = [reading.at(container, "state") for kind in _CONTAINERS for container in reading.objects(pod, "status", kind)]
    return any(isinstance(state, Mapping) and ("running" in state or "terminated" in state) for state in states)
