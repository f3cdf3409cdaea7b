"""Asks every pod which versions it holds. What a pod's own list says under the right digest is routed to it; nobody's claim about it is.

A pod whose port refuses is out at once. One that answers oddly or cannot be connected to is out after a few rounds. One that accepts and is
late keeps what it had for many: a busy engine answers its model list late too, and leaving out all pods because all are busy helps nobody.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from finetune_inference.contract import VERSION_PATTERN, Endpoint, digest_prefix_of
from finetune_inference.router.messages import PodState

PATIENCE: Final = 15
"""Misses in a row after which a pod is taken to hold nothing."""
LATE: Final = 1
ODD: Final = 5
ANSWER_SECONDS: Final = 2.0
ANSWER_LIMIT: Final = 4 * 1024 * 1024
GAP_SECONDS: Final = 0.1
"""Least time between two questions to a pod, however many of its requests fail."""
_VERSION: Final = re.compile(VERSION_PATTERN)

log = logging.getLogger(__name__)


def held(document: Any) -> tuple[str, ...]:
    """Versions in a model list whose ``root`` carries the digest that the name promises; raises ``ValueError`` for no model list."""
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("no model list")  # noqa: TRY004  it is the pod's mistake, not this code's
    found = set()
    for entry in entries:
        name, root = (entry.get("id"), entry.get("root")) if isinstance(entry, dict) else (None, None)
        if isinstance(name, str) and isinstance(root, str) and _VERSION.fullmatch(name) and digest_prefix_of(name) in root:
            found.add(name)
    return tuple(sorted(found))


@dataclass
class _Watched:
    endpoint: Endpoint
    versions: tuple[str, ...] = ()
    misses: int = 0
    ask_now: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Poller:
    """All pods of the table. ``changed`` is called when a pod gained or lost a version."""

    def __init__(self, seconds: float, changed: Callable[[], None]) -> None:
        self._seconds = seconds
        self._changed = changed
        self._watched: dict[Endpoint, _Watched] = {}
        self._session: aiohttp.ClientSession | None = None
        self.engine_key: str | None = None

    def start(self) -> None:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=ANSWER_SECONDS / 2),
            connector=aiohttp.TCPConnector(keepalive_timeout=3.0, limit=256),
        )

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """Watch exactly these."""
        wanted = dict.fromkeys(endpoints)
        for endpoint in self._watched.keys() - wanted.keys():
            task = self._watched.pop(endpoint).task
            if task is not None:
                task.cancel()
        for endpoint in wanted.keys() - self._watched.keys():
            watched = self._watched[endpoint] = _Watched(endpoint)
            watched.task = asyncio.create_task(self._watch(watched))
        self._changed()

    def states(self) -> tuple[PodState, ...]:
        return tuple(
            PodState(deployment=w.endpoint.deployment, pod=w.endpoint.pod, url=w.endpoint.url, versions=w.versions)
            for w in self._watched.values()
        )

    def suspect(self, pod: str) -> None:
        """Ask this pod at once."""
        for watched in self._watched.values():
            if watched.endpoint.pod == pod:
                watched.ask_now.set()

    async def refresh(self, seconds: float) -> None:
        """Ask all pods now, and wait for their answers for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._ask(watched) for watched in list(self._watched.values())))

    async def close(self) -> None:
        self.follow(())
        if self._session is not None:
            await self._session.close()

    async def _watch(self, watched: _Watched) -> None:
        while True:
            await self._ask(watched)
            await asyncio.sleep(min(GAP_SECONDS, self._seconds))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds - min(GAP_SECONDS, self._seconds)):
                    await watched.ask_now.wait()
            watched.ask_now.clear()

    async def _ask(self, watched: _Watched) -> None:
        assert self._session is not None, "start() comes first"
        headers = {"Authorization": f"Bearer {self.engine_key}"} if self.engine_key else {}
        versions = watched.versions
        try:
            async with self._session.get(f"{watched.endpoint.url}/v1/models", headers=headers, allow_redirects=False) as response:
                response.raise_for_status()
                versions = held(orjson.loads(await _limited(response)))
            watched.misses = 0
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            watched.misses += _weight(error)
            if watched.misses >= PATIENCE:
                versions = ()
        if versions != watched.versions:
            log.info("pod %s holds %s", watched.endpoint.pod, ", ".join(versions) or "no version")
            watched.versions = versions
            self._changed()


def _weight(error: Exception) -> int:
    """How much a miss says: a refusal all, a connection that does not come about or an odd answer much, a late one little."""
    if isinstance(error, TimeoutError):
        return ODD if isinstance(error, aiohttp.ConnectionTimeoutError) else LATE
    return PATIENCE if isinstance(error, aiohttp.ClientConnectorError) else ODD


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise ValueError("the model list is too long")
    return bytes(body)
