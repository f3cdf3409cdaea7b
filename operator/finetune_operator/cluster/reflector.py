"""A local copy of one kind of object, kept true by list, watch and replace.

What makes it trustworthy is the end of a list: everything that the store knows and the list did not bring is gone, and its deletion is
told like any other. Everything else follows from resource versions, which the API server declares comparable (KEP-5504): nothing older
ever overwrites something newer, whatever the order of arrival.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from finetune_operator.cluster.backoff import Backoff
from finetune_operator.cluster.errors import ApiError, Throttled, Unavailable
from finetune_operator.cluster.kube import SILENCE, Manifest, Page, Selection, WatchEvent
from finetune_operator.cluster.resources import Resource

log = logging.getLogger(__name__)

RETRY_BASE = 0.05
RETRY_CAP = 1.5
"""Seconds. After an outage of the API server a new object is seen within about 3 s; a cap of 5 s made it 4 to 11."""

CREDENTIALS_PATIENCE = 60.0
"""Seconds of 401 after which the process had better start again and read its credentials anew: a kubeconfig's tokens are not renewed."""


class Source(Protocol):
    """The part of `KubeApi` that a reflector needs."""

    def pages(self, resource: Resource, selection: Selection) -> AsyncIterator[Page]: ...

    def watch(
        self, resource: Resource, selection: Selection, resource_version: str, *, silence: float = ...
    ) -> AsyncIterator[WatchEvent]: ...


class Sink(Protocol):
    """Where a reflector puts what it sees."""

    def put(self, manifest: Manifest) -> None: ...

    def remove(self, manifest: Manifest) -> None: ...

    def bookmark(self, resource_version: str, namespace: str | None) -> None: ...

    def replace(self, seen: set[tuple[str, str]], resource_version: str, namespace: str | None) -> None: ...


class Reflector:
    """Runs for the life of the process. ``synced`` is set after the first complete list.

    ``refusal`` says why the API server does not want to list or watch, in its words; empty where it does, or does not answer.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        resource: Resource,
        selection: Selection,
        *,
        on_restart: Callable[[str], None] | None = None,
        silence: float = SILENCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resource = resource
        self.selection = selection
        self.synced = asyncio.Event()
        self.last_activity = self.last_attempt = clock()
        self.last_list: float | None = None
        self.refusal = ""
        self._source = source
        self._sink = sink
        self._silence = silence
        self._sleep = sleep
        self._clock = clock
        self._on_restart = on_restart or (lambda _reason: None)
        self._backoff = Backoff(RETRY_BASE, RETRY_CAP)
        self._version = ""
        self._unknown_since: float | None = None

    @property
    def name(self) -> str:
        """What it follows, for people."""
        which = f" with {self.selection.labels}" if self.selection.labels else ""
        return f"{self.resource.plural}{which} in {self.selection.namespace or 'all namespaces'}"

    def last_attempted(self) -> float:
        """When the watch last tried or received anything, on the monotonic clock."""
        return max(self.last_attempt, self.last_activity)

    def silent_for(self) -> float:
        """Seconds since the watch last brought anything, bookmarks included."""
        return self._clock() - self.last_activity

    def list_age(self) -> float:
        """Seconds since the last complete list; -1 before the first."""
        return -1.0 if self.last_list is None else self._clock() - self.last_list

    async def run(self) -> None:
        """List once, then watch from there for ever; list again only when the API server has forgotten our version.

        Raises `ApiError` when the API server has not known us for a minute.
        """
        while True:
            self.last_attempt = self._clock()
            try:
                if not self._version:
                    self._version = await self._list()
                    self.synced.set()
                await self._watch()
                self._on_restart("closed")
            except ApiError as error:
                await self._recover(error)

    async def _list(self) -> str:
        seen: set[tuple[str, str]] = set()
        version = ""
        async for page in self._source.pages(self.resource, self.selection):
            version = version or page.resource_version
            for manifest in page.items:
                metadata = manifest["metadata"]
                seen.add((metadata.get("namespace") or "", metadata["name"]))
                self._sink.put(manifest)
            self.last_activity = self._clock()
            await asyncio.sleep(0)  # a long list must not hold up the loop
        self._sink.replace(seen, version, self.selection.namespace)
        self.last_list = self._clock()
        self._unknown_since = None
        self.refusal = ""
        return version

    async def _watch(self) -> None:
        opened = self._clock()
        async for event in self._source.watch(self.resource, self.selection, self._version, silence=self._silence):
            self.last_activity = self._clock()
            self._unknown_since = None
            self._backoff.reset()
            version = event.object["metadata"]["resourceVersion"]
            if event.type == "BOOKMARK":
                self._sink.bookmark(version, self.selection.namespace)
            elif event.type == "DELETED":
                self._sink.remove(event.object)
            else:
                self._sink.put(event.object)
            self._version = version
        if self._clock() - opened < 1.0:  # a server that closes at once must not make us spin
            await self._sleep(self._backoff.next())

    async def _recover(self, error: ApiError) -> None:
        if error.expired:
            log.info("listing %s again: %s", self.resource.plural, error.message)
            self._version = ""
            self._on_restart("expired")
            if self._backoff.failures == 0:
                self._backoff.failures = 1
                return
        elif isinstance(error, Unavailable | Throttled):
            log.debug("watch of %s broke off: %s", self.resource.plural, error)
            self._on_restart("unavailable")
        else:
            log.warning("cannot watch %s: %s", self.resource.plural, error)
            self._on_restart("refused")
            self.refusal = error.explain()
            self._give_up_on_old_credentials(error)
        await self._sleep(max(self._backoff.next(), min(error.retry_after or 0.0, 30.0)))

    def _give_up_on_old_credentials(self, error: ApiError) -> None:
        if error.status != 401:
            return
        self._unknown_since = self._clock() if self._unknown_since is None else self._unknown_since
        if self._clock() - self._unknown_since >= CREDENTIALS_PATIENCE:
            raise error
