"""The safety nets under the stream of events: neither does anything as long as the stream tells everything.

The sweep lists the metadata of our own kind and finds what the stream missed: kopf tells no deletion that happened while it was not looking
(a watch that expired), and a first sweep is also how we know that the stream has brought everything there is. The resync asks for a fresh
decision about every object once in a while, spread evenly so that it is never a burst.
"""

import asyncio
import logging
import random
import time
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
QUIET: Final = 0.4
"""Seconds between two counts while the stream still brings objects."""
FETCHED_AT_ONCE: Final = 50
"""Objects that one sweep fetches itself; a stream that misses more than that is reported and caught up in the next sweeps."""


class ListApi(Protocol):
    """The part of `KubeApi` that the sweep needs."""

    def pages(self, resource: Resource, selection: Selection, *, page_size: int = ...) -> AsyncIterator[Page]: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


class Sweep:
    """Compares what exists with what we know. ``complete`` is set once everything that exists is known."""

    def __init__(
        self,
        api: ListApi,
        parents: ParentStore,
        queue: WorkQueue[Key],
        namespaces: tuple[str, ...] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.complete = asyncio.Event()
        self.last_success: float | None = None
        self._api = api
        self._parents = parents
        self._queue = queue
        self._selections = [Selection(namespace=namespace, metadata_only=True) for namespace in namespaces or (None,)]
        self._sleep = sleep
        self._clock = clock

    async def run(self) -> None:
        """First until the stream has caught up, then every ten minutes."""
        while not self.complete.is_set():
            if await self._caught_up() and await self._try() == 0:
                self.complete.set()
            else:
                await self._sleep(QUIET)
        while True:
            await self._sleep(SWEEP_EVERY * random.uniform(0.9, 1.1))  # noqa: S311
            await self._try(fetch=True)

    async def _caught_up(self) -> bool:
        """Whether we know as many as there are: a question that costs the API server next to nothing."""
        try:
            totals = [await self._count(selection) for selection in self._selections]
        except ApiError as error:
            log.warning("cannot count %s: %s", FINETUNE_JOBS.plural, error)
            return False
        return len(self._parents) >= sum(totals)

    async def _count(self, selection: Selection) -> int:
        async for page in self._api.pages(FINETUNE_JOBS, selection, page_size=1):
            return len(page.items) + page.remaining
        return 0

    async def _try(self, *, fetch: bool = False) -> int | None:
        try:
            missing = await self.sweep(fetch=fetch)
        except ApiError as error:
            log.warning("sweep failed: %s", error)
            return None
        self.last_success = self._clock()
        return missing

    async def sweep(self, *, fetch: bool) -> int:
        """Forget what is gone, and count what the stream has not brought; with ``fetch`` also get it. Raises `ApiError`."""
        before = {key: self._parents.version(key) for key in self._parents}
        seen: dict[Key, int] = {}
        for selection in self._selections:
            async for page in self._api.pages(FINETUNE_JOBS, selection, page_size=METADATA_PAGE):
                seen.update({Key(*name_of(item)): version_of(item) for item in page.items})
        for key, version in before.items():
            if key not in seen and self._parents.version(key) == version:
                log.info("deleted while nobody looked", extra={"key": str(key)})
                self._parents.remove(key)
                self._queue.add(key)
        missing = [key for key, version in seen.items() if (self._parents.version(key) or 0) < version]
        if fetch:
            for key in missing[:FETCHED_AT_ONCE]:
                await self._fetch(key)
        return len(missing)

    async def _fetch(self, key: Key) -> None:
        try:
            manifest = await self._api.get(FINETUNE_JOBS, key.namespace, key.name)
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
