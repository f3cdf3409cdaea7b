"""AdapterDeployments of an operator that does not serve: none is looked after, and those that are deleted may go.

Their finalizer is the word of an operator that served before. Without this nobody could take it off once serving was switched off: neither
they nor their namespace could ever be deleted. Nothing is drained, since what that needs is not running: routers drop a route once its
object is gone, and the server pods, which are owned by it, end as any pod does, with time for open answers.
"""

import logging

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.control.result import Result
from finetune_operator.control.rollout.finalizer import is_held, without_ours
from finetune_operator.control.rollout.writes import FinalizerApi, patch_finalizers

log = logging.getLogger(__name__)


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
        if not found["metadata"].get("deletionTimestamp") or not is_held(found):
            return Result("idle")
        if await patch_finalizers(self._api, key, found, without_ours(found)) is None:
            return Result("gone")
        self.advanced.add(key)
        log.info("deleted without being drained: serving is off", extra={"key": str(key)})
        return Result("ok")
