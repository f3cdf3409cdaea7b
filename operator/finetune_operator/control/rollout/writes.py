"""The two ways in which an AdapterDeployment is written: its status, and its finalizers.

Each write names the version of the object that was decided upon, so that nobody's newer word is overwritten; what it meets instead is
fetched, and decided upon anew.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import Conflict, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, Resource
from finetune_operator.control.rollout.measures import RolloutMeasures, measure
from finetune_operator.control.statuses import applicable
from finetune_operator.control.transitions import condition_changes
from finetune_operator.control.writes import StatusApi, refresh

log = logging.getLogger(__name__)


class FinalizerApi(Protocol):
    """The part of `KubeApi` that changes finalizers."""

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest: ...


class RolloutApi(FinalizerApi, StatusApi, Protocol):
    """The part of `KubeApi` that is needed."""


class Writes:
    """One per process. ``advanced`` holds the keys for which something new was written since they were last taken up."""

    def __init__(self, api: RolloutApi, deployments: ParentStore, measures: RolloutMeasures, now: Callable[[], datetime]) -> None:
        self.advanced: set[Key] = set()
        self._api = api
        self._deployments = deployments
        self._measures = measures
        self._now = now

    async def status(self, key: Key, resource: Manifest, status: Mapping[str, Any]) -> bool:
        """The one status write; false if the object is gone. Raises `Conflict` where it is not the one that was decided upon."""
        metadata = resource["metadata"]
        manifest = {
            "apiVersion": ADAPTER_DEPLOYMENTS.api_version,
            "kind": ADAPTER_DEPLOYMENTS.kind,
            "metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": metadata["resourceVersion"]},
            "status": _applicable(status),
        }
        try:
            answer = await self._api.apply_status(ADAPTER_DEPLOYMENTS, manifest)
        except NotFound:
            self._deployments.remove(key, uid=metadata["uid"])
            return False
        except Conflict:
            await refresh(self._api, ADAPTER_DEPLOYMENTS, self._deployments, key, metadata["uid"])
            raise
        self.advanced.add(key)
        self._deployments.put(answer)
        before, after = resource.get("status") or {}, answer.get("status") or {}
        _log_transition(key, metadata.get("generation"), before, after)
        measure(self._measures, key, before, after, self._now())
        return True

    async def finalizers(self, key: Key, resource: Manifest, finalizers: Sequence[str]) -> Manifest | None:
        """The object as it is then; None where it is gone. Raises `Conflict` where somebody was faster."""
        try:
            answer = await patch_finalizers(self._api, key, resource, finalizers)
        except Conflict:
            await refresh(self._api, ADAPTER_DEPLOYMENTS, self._deployments, key, resource["metadata"]["uid"])
            raise
        if answer is None:
            return None
        self.advanced.add(key)
        if finalizers or not answer["metadata"].get("deletionTimestamp"):
            self._deployments.put(answer)
        return answer


async def patch_finalizers(api: FinalizerApi, key: Key, resource: Manifest, finalizers: Sequence[str]) -> Manifest | None:
    """The object as it is then; None where it is gone. Raises `Conflict` where it is not the one that is known."""
    metadata = resource["metadata"]
    patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"], "finalizers": list(finalizers)}}
    try:
        return await api.merge(ADAPTER_DEPLOYMENTS, key.namespace, key.name, patch)
    except NotFound:
        return None


def _applicable(status: Mapping[str, Any]) -> Manifest:
    """As server-side apply can take it; in the route an empty list says something (``stickiness.fallback``), and its lists are atomic."""
    document = applicable(status)
    return {**document, "route": dict(status["route"])} if status.get("route") else document


def _log_transition(key: Key, generation: Any, before: Manifest, after: Manifest) -> None:
    rollout, step = after.get("rollout") or {}, after.get("step") or {}
    changes = list(condition_changes(before, after))
    if not changes and (before.get("rollout") or {}).get("stage") == rollout.get("stage"):
        return
    ready: Manifest = next((condition for condition in after.get("conditions") or [] if condition.get("type") == "Ready"), {})
    log.info(
        "%s %s: %s",
        key,
        after.get("phase") or "",
        ready.get("message") or ready.get("reason") or "",
        extra={
            "key": str(key),
            "generation": generation,
            "version": rollout.get("version"),
            "stage": rollout.get("stage"),
            "step": step.get("text"),
            "conditions": {change.type: f"{change.status}/{change.reason}" for change in changes},
        },
    )
