"""What keeps a pod from its volumes or its sandbox: told by the node in events alone, since its containers all wait to be created.

Events come several at a time, and tell of the past as well: what is said must be true now, and the same words as long as it is.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from finetune_operator.domain import reading
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.rollout.places import Places, of_claim
from finetune_operator.domain.trouble import (
    MOUNT_EVENT_SECONDS,
    MOUNT_REASONS,
    SANDBOX_REASON,
    missing_claim,
    missing_config_map,
    missing_secret,
)

_PATIENCE: Final = timedelta(seconds=10)
"""A mount that fails in a pod's first seconds mostly succeeds in the next ones."""
_REPEATED: Final = timedelta(seconds=MOUNT_EVENT_SECONDS)
_RARELY_REPEATED: Final = timedelta(seconds=660)
"""After 25 events about one pod a kubelet tells one in five minutes (`events_cache.go` of client-go), whatever goes on failing."""
_READY_TO_START: Final = "PodReadyToStartContainers"
"""True once volumes are mounted and the sandbox is made; from Kubernetes 1.29 on."""
_SUMMARY: Final = "Unable to attach or mount volumes"
"""Names volumes and not what is wrong with them; what does so stands beside it."""
_WORDS: Final = 512
_SECRET_ENTRY: Final = re.compile(r"references non-existent secret key: (\S+)")
_OF_ONE_TRY: Final = re.compile(
    r'^\(combined from similar events\): |Failed to create pod sandbox: |rpc error: code = \w+ desc = | ?"?[0-9a-f]{64}"?'
)
"""Each try has a sandbox of another name; the message must not change with it."""
_ROOT_CA: Final = "kube-root-ca.crt"


def trouble_before_start(pod: JsonObject, places: Places, warnings: Iterable[WarningEvent], now: datetime) -> str:
    """Of a pod none of whose containers has run yet; empty where nothing is known to be in its way."""
    ready = _ready_to_start(pod)
    if ready == "True":
        return ""
    begun = reading.moment(pod, "status", "startTime") or reading.moment(pod, "metadata", "creationTimestamp")
    oldest = now - (_RARELY_REPEATED if ready == "False" else _REPEATED)
    told = [event for event in warnings if event.reason in (*MOUNT_REASONS, SANDBOX_REASON) and event.last_seen > oldest]
    newest = max(told, key=lambda event: event.last_seen, default=None)
    if newest is None or (begun is not None and newest.last_seen < begun + _PATIENCE):
        return ""
    if newest.reason == SANDBOX_REASON:
        return of_sandbox(newest.message, reading.text(pod, "spec", "nodeName"))
    return _of_mount(_telling([event for event in told if event.reason in MOUNT_REASONS], newest), places)


def _ready_to_start(pod: JsonObject) -> str:
    found = (each for each in reading.objects(pod, "status", "conditions") if each.get("type") == _READY_TO_START)
    return next((reading.text(each, "status") for each in found), "")


def _telling(mounting: list[WarningEvent], newest: WarningEvent) -> str:
    """Of what fails at the same time always the same, and a summary only where nothing else is said."""
    together = {event.message for event in mounting if event.last_seen > newest.last_seen - _REPEATED}
    return min(together, key=lambda message: (message.startswith(_SUMMARY), message))


def _of_mount(evidence: str, places: Places) -> str:
    said = _cut(evidence)
    secret, config_map, claim = missing_secret(evidence), missing_config_map(evidence), missing_claim(evidence)
    if secret is not None:
        missing = f"Secret {secret}, which it mounts, does not exist in this namespace."
        if places.secret:
            return f"{missing} Create it with the entry token, or unset {places.secret}, which names it."
        return f"{missing} Create it, or correct {places.volumes}."
    entry = _SECRET_ENTRY.search(evidence)
    if entry is not None and places.secret:
        return f"the Secret that {places.secret} names has no entry {entry.group(1)}. Add it, or unset {places.secret.partition(' ')[0]}."
    if config_map == _ROOT_CA:
        return f"ConfigMap {_ROOT_CA}, which it mounts, does not exist in this namespace. Ask the platform team: the cluster makes it."
    if config_map is not None:
        return f"ConfigMap {config_map}, which it mounts, does not exist in this namespace. Create it, or correct {places.volumes}."
    return of_claim(claim, places) if claim is not None else f"{said}. Check the claims of {places.volumes}."


def of_sandbox(evidence: str, node: str | None) -> str:
    """What to do where the node cannot make a pod's sandbox."""
    said = _cut(_OF_ONE_TRY.sub("", evidence))
    return f"{node or 'its node'} cannot make its sandbox: {said}. Ask the platform team about the network and the runtime of the node."


def _cut(evidence: str) -> str:
    return evidence.strip().rstrip(".")[:_WORDS]
