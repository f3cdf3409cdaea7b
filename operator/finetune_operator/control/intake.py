"""Where the list and watch of our own kind end: every object into the cache, every change into the queue.

What has no status yet goes first, then what is under way; what was at rest is looked at once the first list is complete, behind everything
that changed.
Nothing here writes: deletion needs no finalizer, because garbage collection stops the pods, and artifacts are to stay.
"""

from typing import Any

from finetune_operator.cluster.cache import Key, Name, ParentStore, name_of
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.queue import Priority, WorkQueue


class Intake:
    """The sink of a reflector of our own kind."""

    def __init__(self, parents: ParentStore, queue: WorkQueue[Key]) -> None:
        self._parents = parents
        self._queue = queue
        self._held: list[Key] | None = []

    def put(self, manifest: Manifest) -> None:
        key = Key(*name_of(manifest))
        if not self._parents.put(manifest):
            return
        if self._held is not None and at_rest(manifest):
            self._held.append(key)
        else:
            self._queue.add(key, Priority.CHANGE if manifest.get("status") else Priority.NEW)

    def remove(self, manifest: Manifest) -> None:
        """A deletion; one that concerns a predecessor of the same name changes nothing."""
        key = Key(*name_of(manifest))
        if self._parents.remove(key, uid=manifest["metadata"]["uid"]):
            self._queue.add(key)

    def bookmark(self, resource_version: str, namespace: str | None) -> None:
        """Nothing depends on how far the watch has come: parents are compared by their own versions."""

    def replace(self, seen: set[Name], resource_version: str, namespace: str | None) -> None:
        """The end of a list: what it did not bring is gone, unless it is younger than the list; what was at rest may be looked at now."""
        horizon = int(resource_version)
        for key in self._parents:
            if tuple(key) not in seen and namespace in (None, key.namespace) and (self._parents.version(key) or 0) <= horizon:
                self._parents.remove(key)
                self._queue.add(key)
        held, self._held = self._held, None
        for key in held or ():
            self._queue.add(key, Priority.BACKLOG)


def at_rest(manifest: dict[str, Any]) -> bool:
    """Whether its own status says that nothing is under way for the spec it has now."""
    status = manifest.get("status") or {}
    settled = any(c.get("type") == "Reconciling" and c.get("status") == "False" for c in status.get("conditions") or [])
    return settled and status.get("observedGeneration") == manifest["metadata"].get("generation")
