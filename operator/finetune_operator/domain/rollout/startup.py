"""What keeps a pod of serving from running: the evidence that the cluster leaves, the field behind it, and what to do.

Words stay the same while the trouble does: of a container that waits mostly the reason alone, because its message counts the seconds of a
back-off.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from finetune_operator.domain import reading
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.trouble import IMAGE_REASONS, MOUNT_EVENT_SECONDS, missing_claim, missing_secret, of_quota

_WORDS: Final = 512
"""Characters that are kept of what others say."""
_CONTAINERS: Final = ("initContainerStatuses", "containerStatuses")
_STARTING: Final = ("", "ContainerCreating", "PodInitializing")
_PULL_FAILED, _PULLED_IN_VAIN = "ErrImagePull", "ImagePullBackOff"
"""kubelet alternates between them: one word for both, or each turn would be a status write."""
_MOUNTS: Final = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_MOUNT_PATIENCE: Final = timedelta(seconds=10)
"""A mount that fails in a pod's first seconds mostly succeeds in the next ones."""
_POD: Final = re.compile(r'^pods "[^"]*" (is )?')
"""Every try has another name; the message must not change with it."""
_CLAIMS: Final = ("spec.baseModel.uri", "spec.adapter.uri", "spec.merge.uri")
"""Where one claim holds several, the first is named."""
_INSTALLATION: Final = "image and imagePullSecrets of the operator's installation"


@dataclass(frozen=True)
class Places:
    """Where a person looks when a pod does not run.

    ``claims`` are fields by claim, ``volumes`` all of them in words. ``images`` are by container, ``image`` is of all others. ``room`` asks
    for less; ``resources`` is the field with tolerations and nodeSelector, empty for none. ``remedy``: what to do about a Secret that is
    not there.
    """

    volumes: str
    room: str
    claims: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    image: str = _INSTALLATION
    resources: str = ""
    remedy: str = ""


ROUTER_PLACES: Final = Places(
    volumes="the router's pod",
    room="lower serving.router.replicas of the operator's installation",
    remedy="Create it with the entry token, or unset serving.pinSecret of the operator's installation, which names it.",
)
_OWN: Final = "your server's manifest"
OWN_PLACES: Final = Places(volumes=_OWN, room=f"ask for less in {_OWN}", image=f"image and pull secrets in {_OWN}")
"""Pods that a user runs himself: every field is one of his own manifest."""


def server_places(resource: JsonObject) -> Places:
    """Of the server pods of an AdapterDeployment, read off the object however odd it is."""
    spec = resource.get("spec")
    if reading.at(spec, "server", "external") is not None:
        return OWN_PLACES
    job = reading.text(spec, "adapter", "fineTuneJobRef", "name")
    claims = {_claim(reading.text(resource, *name.split("."))): name for name in reversed(_CLAIMS)}
    claims.pop("", None)
    volumes = " and ".join(sorted(claims.values())) + (f" and of spec.artifact.uri of FineTuneJob {job}" if job else "")
    image = "spec.server.managed.image, or imagePullSecrets of the operator's installation"
    return Places(
        volumes=volumes,
        room="ask for less in spec.server.managed.resources or for fewer spec.server.managed.replicas",
        claims=claims,
        images={"engine": image} if reading.text(spec, "server", "managed", "image") else {},
        resources="spec.server.managed.resources",
    )


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
    return "" if _has_started(pod) else _of_mounts(pod, places, warnings, now)


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
        known = places.claims.get(claim)
        where = f"{known}: " if known else ""
        return f"{where}claim {claim} does not exist in this namespace. Create it, or correct {known or places.volumes}."
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


def _of_mounts(pod: JsonObject, places: Places, warnings: Iterable[WarningEvent], now: datetime) -> str:
    begun = reading.moment(pod, "status", "startTime") or reading.moment(pod, "metadata", "creationTimestamp")
    fresh = now - timedelta(seconds=MOUNT_EVENT_SECONDS)
    mounting = [event for event in warnings if event.reason in _MOUNTS and event.last_seen > fresh]
    newest = max(mounting, key=lambda event: event.last_seen, default=None)
    if newest is None or (begun is not None and newest.last_seen < begun + _MOUNT_PATIENCE):
        return ""
    secret, said = missing_secret(newest.message), newest.message.strip().rstrip(".")[:_WORDS]
    if secret is not None and places.remedy:
        return f"Secret {secret}, which it mounts, does not exist in this namespace. {places.remedy}"
    return f"{said}. Check the claims of {places.volumes}."


def _has_started(pod: JsonObject) -> bool:
    states = [reading.at(container, "state") for kind in _CONTAINERS for container in reading.objects(pod, "status", kind)]
    return any(isinstance(state, Mapping) and ("running" in state or "terminated" in state) for state in states)


def _claim(uri: str) -> str:
    return uri.removeprefix("pvc://").partition("/")[0] if uri.startswith("pvc://") else ""
