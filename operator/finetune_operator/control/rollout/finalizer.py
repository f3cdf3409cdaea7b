"""The finalizer of an AdapterDeployment: put there before there is anything to undo, taken off once it is undone."""

from collections.abc import Mapping
from typing import Any, Final

from finetune_operator.api.base import LABEL_PREFIX
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.writes import Writes

FINALIZER: Final = f"{LABEL_PREFIX}drain"
"""Holds an object that is being deleted until open requests have ended and pods have unloaded."""


class Finalizer:
    """One per process."""

    def __init__(self, writes: Writes, cache: ServingCache, children: Children | None) -> None:
        self._writes = writes
        self._cache = cache
        self._children = children
        self._released: dict[Key, str] = {}

    async def hold(self, key: Key, resource: Manifest) -> Manifest | None:
        """Add the finalizer; None where the object is gone.

        Before the first object that a namespace shares, and the first status that anybody acts upon: from then on a deletion has
        something to undo.
        """
        return await self._writes.finalizers(key, resource, [*(resource["metadata"].get("finalizers") or []), FINALIZER])

    async def release(self, key: Key, resource: Manifest) -> None:
        """Let a deleted object go; the last of a namespace takes with it what all of them shared.

        Each says that it needs nothing more before it looks who else does: of several that go at once, one at least sees nobody.
        """
        self._released[key] = resource["metadata"]["uid"]
        if self._children is not None and self._is_last(key):
            await self._children.remove_shared(key.namespace, lambda: not self._is_last(key))
        await self._writes.finalizers(key, resource, without_ours(resource))

    def forget(self, key: Key) -> None:
        self._released.pop(key, None)

    def _is_last(self, key: Key) -> bool:
        return not any(other != key and self._needs_shared(other) for other in self._cache.siblings.keys_of(key.namespace))

    def _needs_shared(self, key: Key) -> bool:
        """Whether it may have routers that answer for it: not without the finalizer, and not once it has been let go."""
        resource = self._cache.deployments.get(key)
        return resource is not None and is_held(resource) and resource["metadata"]["uid"] != self._released.get(key)


def is_held(resource: Manifest) -> bool:
    return FINALIZER in (resource["metadata"].get("finalizers") or [])


def without_ours(resource: Manifest) -> list[str]:
    """The finalizers that others have put there."""
    return [each for each in resource["metadata"].get("finalizers") or [] if each != FINALIZER]


def serves(status: Mapping[str, Any]) -> bool:
    """Whether routers or agents would act upon it, so that a deletion has something to undo."""
    return status.get("route") is not None or status.get("desired") is not None
