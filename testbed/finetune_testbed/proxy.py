"""A proxy in front of the API server that counts calls, loses some, and strikes after a chosen write.

It runs on a thread of its own, so that tests drive it synchronously while a client, in this process or another, works
through it. A client that sends a bearer token is passed on as itself; any other speaks as the testbed's admin.
"""

from __future__ import annotations

import asyncio
import enum
import json
import os
import signal
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import yaml
from aiohttp import web

from finetune_testbed import calls, faults
from finetune_testbed.audit import tally
from finetune_testbed.bed import Testbed
from finetune_testbed.calls import Call
from finetune_testbed.faults import Fault, Rule

EXPIRED = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version (said by the testbed)",
        "reason": "Expired",
        "code": 410,
    },
}
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"})
START_SECONDS = 60.0


class Moment(enum.Enum):
    """When a strike falls, seen from the write it belongs to."""

    BEFORE = "before the API server sees it"
    COMMITTED = "stored, and not yet answered"
    ANSWERED = "answered"


@dataclass(frozen=True)
class Strike:
    """Do something once, at the `after`-th write (from 1, leases and dry runs aside) among those that ``counts``; all do by default."""

    after: int
    action: Callable[[Call], None]
    moment: Moment = Moment.COMMITTED
    counts: Callable[[Call], bool] = lambda _call: True


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> Callable[[Call], None]:
    """The action that ends a process the hard way."""

    def action(_call: Call) -> None:
        os.kill(pid, number)

    return action


class Proxy:
    """A running proxy; a context manager.

    Args:
        bed: whose API server.
        rule: which calls fail, and how.
        strike: what to do at a certain write.
    """

    def __init__(self, bed: Testbed, rule: Rule = faults.never, strike: Strike | None = None) -> None:
        self._bed = bed
        self._rule = rule
        self._strike = strike
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._begun = 0
        self._writes = 0
        self._struck = threading.Event()
        self._flowing = asyncio.Event()
        self._watches: set[web.StreamResponse] = set()
        self._transports: dict[web.StreamResponse, asyncio.BaseTransport] = {}
        self._background: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="api-proxy", daemon=True)
        self._serving = threading.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._serving.wait(START_SECONDS) or self._failure is not None:
            raise RuntimeError(f"the proxy did not start: {self._failure}")
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def write_kubeconfig(self, target: Path, token: str | None = None) -> Path:
        """A kubeconfig for clients of this proxy; with a service account's token they are that account."""
        document = yaml.safe_load(self._bed.kubeconfig.read_text())
        document["clusters"][0]["cluster"]["server"] = self.url
        # Without a token the proxy itself presents the admin's certificate.
        document["users"][0]["user"] = {"token": token} if token else {}
        target.touch(mode=0o600)
        target.write_text(yaml.safe_dump(document))
        return target

    @property
    def calls(self) -> list[Call]:
        """Answered calls, in the order of their answers."""
        with self._lock:
            return list(self._calls)

    def writes(self, user_agent: str = "") -> list[Call]:
        """Answered writes without lease renewals, of user agents that begin so."""
        return [call for call in self.calls if call.is_write and not call.is_lease and call.user_agent.startswith(user_agent)]

    def tally(self, user_agent: str = "") -> Counter[str]:
        """How many writes of each kind."""
        return tally(self.writes(user_agent))

    def set_rule(self, rule: Rule) -> None:
        with self._lock:
            self._rule = rule

    def set_strike(self, strike: Strike | None) -> None:
        """Arm (or disarm) the strike; the count of writes begins anew."""
        with self._lock:
            self._strike, self._writes = strike, 0
            self._struck.clear()

    @property
    def has_struck(self) -> bool:
        return self._struck.is_set()

    def wait_struck(self, seconds: float) -> bool:
        return self._struck.wait(seconds)

    def freeze_watches(self) -> None:
        """Let watches go silent without closing them, as a lost network path does."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def thaw_watches(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut_watches(self) -> None:
        """Break the connections of all watches now."""
        self._loop.call_soon_threadsafe(self._abort_watches)

    def expire_watches(self) -> None:
        """Tell all watches that their resource version is gone, as an API server does that has forgotten it, and end them.

        For watches at rest or frozen: the event must not fall into the middle of another.
        """

        async def expire() -> None:
            for response in list(self._watches):
                with suppress(ConnectionError):
                    await response.write(json.dumps(EXPIRED).encode() + b"\n")
                self._transports[response].close()

        self._loop.call_soon_threadsafe(lambda: self._background.add(self._loop.create_task(expire())))

    def _abort_watches(self) -> None:
        for response in list(self._watches):
            self._transports[response].close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits in __enter__
            self._failure = error
            self._serving.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._flowing.set()
        async with self._upstream("admin") as admin, self._upstream(None) as bearer:
            application = web.Application(client_max_size=64 * 1024**2)

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, admin, bearer)

            application.router.add_route("*", "/{tail:.*}", handle)
            runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._server_context())
            await site.start()
            self.port = runner.addresses[0][1]
            self._serving.set()
            await self._stopping.wait()
            self._abort_watches()
            await runner.cleanup()

    @asynccontextmanager
    async def _upstream(self, leaf: str | None) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cafile=self._bed.pki / "ca.crt")
        if leaf:
            context.load_cert_chain(self._bed.pki / f"{leaf}.crt", self._bed.pki / f"{leaf}.key")
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, connect=60)
        async with aiohttp.ClientSession(self._bed.apiserver_url, connector=connector, timeout=timeout, auto_decompress=False) as session:
            yield session

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._bed.pki / "apiserver.crt", self._bed.pki / "apiserver.key")
        return context

    def _begin(self, request: web.Request) -> tuple[Call, Fault | None, Strike | None]:
        """Number a call, and decide what happens to it: in one step, so that counts are exact."""
        with self._lock:
            self._begun += 1
            agent = request.headers.get("User-Agent", "")
            call = calls.describe(self._begun, request.method, request.path, request.query, agent)
            fault = self._rule(call)
            due = None
            if call.is_write and not call.is_lease and (fault is None or fault is Fault.LOST_RESPONSE):
                self._writes += self._strike is None or self._strike.counts(call)
                if self._strike is not None and self._strike.counts(call) and self._strike.after == self._writes:
                    due = self._strike
            return call, fault, due

    async def _handle(self, request: web.Request, admin: aiohttp.ClientSession, bearer: aiohttp.ClientSession) -> web.StreamResponse:
        call, fault, strike = self._begin(request)
        if strike is not None and strike.moment is Moment.BEFORE:
            await self._fall(strike, call)
            return _hang_up(request)
        if fault is Fault.RESET:
            return _hang_up(request)
        if fault is not None and fault is not Fault.LOST_RESPONSE:
            return self._refuse(call, fault)
        try:
            return await self._forward(request, call, bearer if "Authorization" in request.headers else admin, fault, strike)
        except aiohttp.ClientError:
            # The API server is away or died on it: its clients see a broken connection, as without a proxy.
            return _hang_up(request)

    async def _forward(
        self, request: web.Request, call: Call, session: aiohttp.ClientSession, fault: Fault | None, strike: Strike | None
    ) -> web.StreamResponse:
        body = await request.read()
        async with session.request(
            request.method,
            request.rel_url,
            headers={key: value for key, value in request.headers.items() if key.lower() not in HOP_HEADERS},
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            data=body or None,
            allow_redirects=False,
        ) as upstream:
            if call.is_watch or request.query.get("follow") == "true":
                return await self._stream(request, call, upstream)
            content = await upstream.read()
        self._note(call.answered(upstream.status))
        if strike is not None and strike.moment is Moment.COMMITTED:
            await self._fall(strike, call)
            return _hang_up(request)
        if fault is Fault.LOST_RESPONSE:
            return _hang_up(request)
        response = web.Response(status=upstream.status, body=content, headers=_passed_on(upstream))
        if strike is not None:
            await response.prepare(request)
            await response.write_eof()
            await self._fall(strike, call)
        return response

    async def _fall(self, strike: Strike, call: Call) -> None:
        """Act on another thread: a client that the action kills cancels this coroutine, and the action must still end."""

        def act() -> None:
            try:
                strike.action(call)
            finally:
                self._struck.set()

        await asyncio.get_running_loop().run_in_executor(None, act)

    def _refuse(self, call: Call, fault: Fault) -> web.Response:
        self._note(call.answered(fault.status))
        headers = {"Retry-After": "1"} if fault is Fault.THROTTLED else {}
        return web.Response(
            status=fault.status,
            text=json.dumps(faults.status_body(fault, call)),
            content_type="application/json",
            headers=headers,
        )

    async def _stream(self, request: web.Request, call: Call, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, headers=_passed_on(upstream))
        await response.prepare(request)
        assert request.transport is not None
        self._watches.add(response)
        self._transports[response] = request.transport
        try:
            async for chunk in upstream.content.iter_any():
                await self._flowing.wait()
                await response.write(chunk)
            await response.write_eof()
        except (aiohttp.ClientError, ConnectionError):
            _hang_up(request)
        finally:
            self._watches.discard(response)
            del self._transports[response]
            self._note(call.answered(upstream.status))
        return response

    def _note(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)


def _passed_on(upstream: aiohttp.ClientResponse) -> dict[str, str]:
    return {key: value for key, value in upstream.headers.items() if key.lower() not in HOP_HEADERS}


def _hang_up(request: web.Request) -> web.Response:
    """Break the connection without an answer; the returned response reaches nobody."""
    if request.transport is not None:
        abort = getattr(request.transport, "abort", request.transport.close)
        abort()
    return web.Response(status=502)
