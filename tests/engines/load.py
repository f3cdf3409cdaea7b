"""Streaming load at a fixed rate, whose own log is the evidence: every request, its version, whether it came to its end, and when.

It is an open loop: requests begin when they are due, however long others take, and each says how late it was.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from demo.beside import beside
from tests.engines.processes import ALIAS


@dataclass(frozen=True)
class Record:
    """One request.

    ``at`` is its beginning by the clock, in seconds since the epoch, and ``began`` by `time.monotonic`; ``late`` is how long after it was
    due that was; ``ended`` is its end by the latter. ``first`` and ``last`` are seconds from its beginning to the first and last byte.
    ``failure``: why it failed, or nothing. ``text``, ``chunks`` and ``finish`` are what the stream said, if the load reads.
    """

    caller: str
    began: float
    version: str = ""
    failure: str = ""
    first: float = 0.0
    last: float = 0.0
    at: float = 0.0
    late: float = 0.0
    router: int = 0
    chunks: int = 0
    finish: str = ""
    text: str = ""
    ended: float = 0.0

    @property
    def answered_at(self) -> float:
        """When the first byte came, by the clock."""
        return self.at + self.first


@dataclass
class Load:
    """``url``: one, or several that every caller asks in turn. ``document`` is added to every request.

    With ``reads`` what streams say is read too. Without ``keeps`` each request has a connection of its own, and so any worker. With
    ``retries`` a request whose connection fails before an answer has begun is sent to the next one of them, as clients do.
    ``problems`` are errors of the load itself, whose requests have no record.
    """

    url: str | Sequence[str]
    rate: float
    callers: int = 200
    named: str = "caller"
    document: dict[str, object] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    reads: bool = False
    keeps: bool = True
    retries: bool = False
    records: list[Record] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def failures(self) -> list[Record]:
        return [record for record in self.records if record.failure]

    @property
    def open(self) -> int:
        return len(self._open)

    @property
    def urls(self) -> Sequence[str]:
        return (self.url,) if isinstance(self.url, str) else self.url

    def write(self, path: Path) -> None:
        """The log as a file, a line for each request."""
        path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in self.records))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Requests begin at the rate until the block ends; then those that are open are waited for, and problems are raised."""
        timeout = aiohttp.ClientTimeout(total=120)
        kept: dict[str, Any] = {"keepalive_timeout": 60} if self.keeps else {"force_close": True}
        connector = aiohttp.TCPConnector(limit=0, **kept)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=65_536) as session:
            clock = asyncio.create_task(self._begin(session))
            clock.add_done_callback(self._ended)
            try:
                yield self
            finally:
                clock.cancel()
                await asyncio.gather(clock, *self._open, return_exceptions=True)
                if self.problems:
                    raise BaseExceptionGroup("problems of the load itself", self.problems)

    @contextmanager
    def on_a_thread(self) -> Iterator["Load"]:
        """The same, beside a block that waits for other things."""

        async def run(end: threading.Event) -> None:
            async with self.running():
                await asyncio.to_thread(end.wait)

        with beside(lambda end: asyncio.run(run(end)), "load"):
            yield self

    async def _begin(self, session: aiohttp.ClientSession) -> None:
        begin = time.monotonic()
        number = 0
        while True:
            due = begin + number / self.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(session, number, due))
            self._open.add(task)
            task.add_done_callback(self._ended)
            number += 1

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.problems.append(problem)

    async def _one(self, session: aiohttp.ClientSession, number: int, due: float) -> None:
        round_, place = divmod(number, self.callers)
        caller, router = f"{self.named}-{place}", (place + round_) % len(self.urls)
        record = Record(caller, time.monotonic(), at=time.time(), late=time.monotonic() - due)
        for _ in range(len(self.urls) if self.retries else 1):
            found = await self._ask(session, replace(record, router=router))
            if not found.failure or found.version or found.failure.startswith("status"):
                break
            router = (router + 1) % len(self.urls)
        self.records.append(found)

    async def _ask(self, session: aiohttp.ClientSession, record: Record) -> Record:
        began = record.began
        version, first, last, failure = "", 0.0, 0.0, ""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": "hello"}], "stream": True, "user": record.caller} | self.document
        said = b""
        try:
            async with session.post(f"{self.urls[record.router]}/v1/chat/completions", json=body, headers=self.headers) as reply:
                version = reply.headers.get("x-adapter-version", "")
                async for chunk in reply.content.iter_any():
                    last = time.monotonic() - began
                    first = first or last
                    said = said + chunk if self.reads else (said + chunk)[-64:]
                if reply.status != 200:
                    failure = f"status {reply.status}"
                elif not said.endswith(b"data: [DONE]\n\n"):
                    failure = "the stream has no end"
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = type(error).__name__
        heard = _heard(said) if self.reads else {}
        return replace(record, version=version, failure=failure, first=first, last=last, ended=time.monotonic(), **heard)


def _heard(said: bytes) -> dict[str, Any]:
    """Text, number of chunks and finish reason of a stream, as far as it came."""
    pieces, finish = [], ""
    for event in said.split(b"\n\n")[:-1]:
        if not event.startswith(b"data: {"):
            continue
        for choice in json.loads(event[6:]).get("choices", []):
            pieces.append(choice["delta"].get("content") or "")
            finish = choice["finish_reason"] or finish
    return {"text": "".join(pieces), "chunks": len(pieces), "finish": finish}
