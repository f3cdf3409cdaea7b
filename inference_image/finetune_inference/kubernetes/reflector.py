"""A true copy of some objects, by list and watch: what the list did not bring is gone, whatever was missed in between.

While the API server is away the copy stays as it was, and `Reflector.problem` says so. A watch that ends or breaks after it stood is no
problem yet: it is opened again at once, from where it was.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from finetune_inference.kubernetes.backoff import Backoff
from finetune_inference.kubernetes.client import ApiClient, Object, Opened
from finetune_inference.kubernetes.errors import ApiError, Away, Expired
from finetune_inference.kubernetes.selection import Selection

STOOD_SECONDS = 1.0
"""A watch that ends sooner is not opened again at once: a server that closes at once must not make us spin."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Reflector(Generic[T]):
    """``objects`` by name, each as ``kept`` makes it. ``changed`` is called after every change of objects, `synced` or `problem`."""

    def __init__(
        self,
        api: ApiClient,
        selection: Selection,
        kept: Callable[[Object], T],
        changed: Callable[[], None],
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self.selection = selection
        self.objects: dict[str, T] = {}
        self.synced = False
        self.problem: ApiError | None = None
        self._api = api
        self._kept = kept
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._version = ""
        self._stood = False

    async def run(self) -> None:
        """Until cancelled. Only a watch that stood and was ended in good order is opened again without a pause."""
        while True:
            began, self._stood = time.monotonic(), False
            pause: float | None = None
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except ApiError as error:
                pause = self._recover(error)
            stood = self._stood and time.monotonic() - began >= STOOD_SECONDS
            if stood:
                self._backoff.reset()
            if pause is not None or not stood:
                await asyncio.sleep(max(pause or 0.0, self._backoff.next()))

    async def _list(self) -> None:
        found: dict[str, T] = {}
        version = ""
        async for page in self._api.pages(self.selection):
            found |= {item["metadata"]["name"]: self._kept(item) for item in page.items}
            version = page.resource_version
            await asyncio.sleep(0)  # a long list must not hold up the loop
        differs = not self.synced or found != self.objects or self.problem is not None
        self.objects, self.synced, self.problem, self._version = found, True, None, version
        if differs:
            self._changed()

    async def _watch(self) -> None:
        async for event in self._api.watch(self.selection, self._version):
            if isinstance(event, Opened):
                self._stood = True
                self._solved()
                continue
            self._version = event.resource_version
            if event.type == "BOOKMARK":
                continue
            name = event.object["metadata"]["name"]
            if event.type == "DELETED":
                self.objects.pop(name, None)
            else:
                self.objects[name] = self._kept(event.object)
            self._changed()

    def _recover(self, error: ApiError) -> float:
        """Seconds to wait at least. A watch that stood and broke off is no problem unless it cannot be opened again."""
        log.debug("%s", error.message)
        if not isinstance(error, Away):
            self._version = ""
        if not (isinstance(error, Expired) or (isinstance(error, Away) and self._stood)):
            self._blame(error)
        return min(error.retry_after, 30.0)

    def _blame(self, error: ApiError) -> None:
        if self.problem is None or self.problem.message != error.message:
            self.problem = error
            self._changed()

    def _solved(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._changed()
