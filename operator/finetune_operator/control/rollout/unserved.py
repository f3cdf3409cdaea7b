"""AdapterDeployments of an operator that does not serve: none is looked after, and those that are deleted may go.

Their finalizer is the word of an operator that served before. Without this nobody could take it off once serving was switched off: neither
they nor their namespace could ever be deleted. Nothing is drained, since what that needs is not running: routers drop a route once its
object is gone, and the server pods, which are owned by it, end as any pod does, with time for open answers.
"""

import logging
from typing import Protocol

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, Resource
from finetune_operator.control.reconciler import Result
from finetune_operator.control.rollout.reconciler import FINALIZER

log = logging.getLogger(__name__)


class FinalizerApi(Protocol):
    """The part of `KubeApi` that is needed."""

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest: ...


class LettingGo:
    """Takes our finalizer off what is being deleted, and touches nothing else. ``known`` needs no more than metadata."""

    def __init__(self, api: FinalizerApi, known: ParentStore) -> None:
        self.advanced: set[Key] = set()
        self._api = api
        self._known = known

    async def reconcile(self, key: Key) -> Result:
        """Raises `ApiError`, which the worker knows how to take."""
        self.advanced.discard(key)
        found = self._known.get(key)
        if found is None:
            return Result("gone")
        metadata = found["metadata"]
        finalizers = metadata.get("finalizers") or []
        if not metadata.get("deletionTimestamp") or FINALIZER not in finalizers:
            return Result("idle")
        left = [each for each in finalizers if each != FINALIZER]
        patch = {"metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "finalizers": left}}
        try:
            await self._api.merge(ADAPTER_DEPLOYMENTS, key.namespace, key.name, patch)
        except NotFound:
            return Result("gone")
        self.advanced.add(key)
        log.info("deleted without being drained: serving is off", extra={"key": str(key)})
        return Result("ok")
