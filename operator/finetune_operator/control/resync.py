"""The safety nets under the watch of our own kind: neither does anything as long as the watch tells everything.

The sweep lists the metadata of our own kind and finds what a watch missed without noticing. The resync asks for a fresh decision about
every object once in a while, spread evenly so that it is never a burst.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from finetune_operator.cluster.cache import Key, ParentStore, name_of, version_of
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest, Page, Selection
from finetune_operator.cluster.resources import FINETUNE_JOBS, Resource
from finetune_operator.control.queue import Priority, WorkQueue

log = logging.getLogger(__name__)

SWEEP_EVERY: Final = 600.0
RESYNC_ACTIVE: Final = 1800.0
RESYNC_ALL: Final = 6 * 3600.0
METADATA_PAGE: Final = 500
FETCHED_AT_ONCE: Final = 50
"""Objects that one sweep fetches itself; a watch that misses more than that is reported and caught up in the next sweeps."""


class ListApi(Protocol):
    """The part of `KubeApi` that the sweep needs."""

    def pages(self, resource: Resource, selection: Selection, *, page_size: int = ...) -> AsyncIterator[Page]: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


class Sweep:
    """Compares what exists with what we know."""

    def __init__(
        self,
        api: ListApi,
        parents: ParentStore,
        queue: WorkQueue[Key],
        namespaces: tuple[str, ...] = (),
        *,
        kind: Resource = FINETUNE_JOBS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._parents = parents
        self._queue = queue
        self._selections = [Selection(namespace=namespace, metadata_only=True) for namespace in namespaces or (None,)]
        self._kind = kind
        self._sleep = sleep

    async def run(self) -> None:
        """Every ten minutes; trouble with the API server is left to the next time."""
        while True:
            await self._sleep(SWEEP_EVERY * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                await self.sweep()
            except ApiError as error:
                log.warning("sweep failed: %s", error)

    async def sweep(self) -> int:
        """Forget what is gone, get what the watch has not brought, and answer how much that was. Raises `ApiError`."""
        before = {key: self._parents.version(key) for key in self._parents}
        seen: dict[Key, int] = {}
        for selection in self._selections:
            async for page in self._api.pages(self._kind, selection, page_size=METADATA_PAGE):
                seen.update({Key(*name_of(item)): version_of(item) for item in page.items})
        for key, version in before.items():
            if key not in seen and self._parents.version(key) == version:
                log.info("deleted while nobody looked", extra={"key": str(key)})
                self._parents.remove(key)
                self._queue.add(key)
        missing = [key for key, version in seen.items() if (self._parents.version(key) or 0) < version]
        for key in missing[:FETCHED_AT_ONCE]:
            await self._fetch(key)
        return len(missing)

    async def _fetch(self, key: Key) -> None:
        try:
            manifest = await self._api.get(self._kind, key.namespace, key.name)
        except NotFound:
            return
        if self._parents.put(manifest):
            log.info("changed while nobody looked", extra={"key": str(key)})
            self._queue.add(key)


async def resync(
    keys: Callable[[], list[Key]], queue: WorkQueue[Key], period: float, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Ask for a decision about every key once per ``period`` seconds, evenly spread, after everything that really changed."""
    while True:
        present = keys()
        random.shuffle(present)
        pause = period / max(1, len(present))
        for key in present:
            await sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            queue.add(key, Priority.BACKLOG)
        if not present:
            await sleep(period)
