"""Streaming load at a fixed rate, whose own log is the evidence: every request, its version, whether it came to its end, and when."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.engines.processes import ALIAS


@dataclass(frozen=True)
class Record:
    """``failure``: why it failed, or nothing; ``first`` and ``last`` are seconds from the request to the first and last byte."""

    caller: str
    began: float
    version: str = ""
    failure: str = ""
    first: float = 0.0
    last: float = 0.0


@dataclass
class Load:
    """``document`` is added to every request."""

    url: str
    rate: float
    callers: int = 200
    document: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if record.failure]

    @property
    def open(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Requests begin at the rate until the block ends; then those that are open are waited for."""
        timeout = aiohttp.ClientTimeout(total=120)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=65_536) as session:
            clock = asyncio.create_task(self._begin(session))
            try:
                yield self
            finally:
                clock.cancel()
                await asyncio.gather(*self._open)

    async def _begin(self, session: aiohttp.ClientSession) -> None:
        begin = time.monotonic()
        number = 0
        while True:
            await asyncio.sleep(max(0.0, begin + number / self.rate - time.monotonic()))
            task = asyncio.create_task(self._one(session, f"caller-{number % self.callers}"))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            number += 1

    async def _one(self, session: aiohttp.ClientSession, caller: str) -> None:
        began = time.monotonic()
        version, first, last, failure = "", 0.0, 0.0, ""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": "hello"}], "stream": True, "user": caller} | self.document
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as reply:
                version = reply.headers.get("x-adapter-version", "")
                tail = b""
                async for chunk in reply.content.iter_any():
                    last = time.monotonic() - began
                    first = first or last
                    tail = (tail + chunk)[-64:]
                if reply.status != 200:
                    failure = f"status {reply.status}"
                elif not tail.endswith(b"data: [DONE]\n\n"):
                    failure = "the stream has no end"
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = type(error).__name__
        self.records.append(Record(caller, began, version, failure, first, last))
