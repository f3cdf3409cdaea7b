"""One worker's parts in the test's own event loop, before synthetic engines in the same loop."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from finetune_inference.contract import Route, RouteTable
from finetune_inference.router.admission import Admission
from finetune_inference.router.book import bound
from finetune_inference.router.checking import Checker
from finetune_inference.router.exchange import Means
from finetune_inference.router.frontend import Frontend
from finetune_inference.router.listener import Listener
from finetune_inference.router.measures import Measures
from finetune_inference.router.messages import Credentials, PodState
from finetune_inference.router.options import Options
from finetune_inference.router.pods import Pods
from finetune_inference.router.sampling import Sampling
from finetune_inference.router.shadow import Shadows
from finetune_inference.router.traffic import Traffic
from finetune_inference.router.upstream import Upstream
from tests.engines.processes import ALIAS, CANARY, STABLE, samples
from tests.engines.synthetic import Behaviour, Engine


@dataclass
class Desk:
    """A listening worker and its engines."""

    frontend: Frontend
    registry: CollectorRegistry
    checker: Checker
    client: aiohttp.ClientSession
    listener: Listener
    port: int = 0
    engines: list[Engine] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    pods: list[PodState] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.engines[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def route(self, **changes: Any) -> None:
        """One alias, with these fields."""
        fields = {"deployment": "dep", "alias": ALIAS, "generation": 1, "stable": STABLE, "versions": [STABLE, CANARY]}
        table = RouteTable(namespace="team", routes=[Route.model_validate(fields | changes)])
        self.frontend.means.traffic.measures.follow(table)
        self.frontend.book = bound(table, frozenset(), self.frontend.book)

    def hold(self, pod: int, *versions: str) -> None:
        """What the supervisor found at a pod."""
        self.pods[pod] = self.pods[pod].model_copy(update={"versions": versions})
        self.frontend.means.pods.follow(self.pods)

    def ask(self, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None, **document: Any) -> Any:
        """A request as a context manager; ``stream=True`` streams."""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": "hello"}]} | document
        return self.client.post(self.url + path, json=body, headers=headers)

    async def status(self, headers: dict[str, str] | None = None, **document: Any) -> tuple[int, Any, str | None]:
        """Status, JSON body and version of one reply."""
        async with self.ask(headers=headers, **document) as reply:
            return reply.status, json.loads(await reply.read()), reply.headers.get("x-adapter-version")

    def outcomes(self, version: str = STABLE, track: str = "live") -> dict[str, float]:
        found = samples(generate_latest(self.registry).decode(), "adapter_router_requests_total")
        return {labels["outcome"]: n for labels, n in found if labels["version"] == version and labels["track"] == track and n}

    def count(self, name: str, **labels: str) -> float:
        found = samples(generate_latest(self.registry).decode(), f"adapter_router_{name}")
        return sum(value for had, value in found if labels.items() <= had.items())

    async def raw(self, *parts: bytes, seconds: float = 60.0) -> bytes:
        """The first bytes that come back for these; none if the router closes, or is silent for so long."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await asyncio.wait_for(reader.read(65_536), seconds)
        except (ConnectionError, TimeoutError):
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def desk(folder: Path, engines: Sequence[Behaviour] = (), **options: Any) -> AsyncIterator[Desk]:
    chosen = Options.model_validate({"table": folder / "t", "state_dir": folder, "workers": 1} | options)
    registry = CollectorRegistry()
    measures = Measures(registry)
    traffic, pods, checker = Traffic(measures), Pods(), Checker(chosen.check_queue)
    async with AsyncExitStack() as stack:
        times = {"connect_seconds": chosen.connect_seconds, "silence_seconds": chosen.silence_seconds}
        upstream, copies = Upstream(100, **times), Upstream(100, **times)
        suspects: list[str] = []
        means = Means(pods, upstream, traffic, Sampling(checker, measures), lambda pod: suspects.append(pod.name))
        shadows = Shadows(means, copies, chosen, 0)
        frontend = Frontend(means, shadows, Admission(chosen), credentials=Credentials())
        client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        listener = Listener(frontend, chosen)
        here = Desk(frontend, registry, checker, client, listener, suspects=suspects)
        for number, behaviour in enumerate(engines or (Behaviour(versions=[STABLE, CANARY]),)):
            engine = Engine(behaviour)
            url = await served(engine, stack)
            here.engines.append(engine)
            here.pods.append(PodState(deployment="dep", pod=f"pod-{number}", url=url, versions=tuple(behaviour.versions)))
        pods.follow(here.pods)
        here.route()
        listening = socket.create_server(("127.0.0.1", 0))
        here.port = listening.getsockname()[1]
        await listener.start(listening)
        checker.start()
        watch = asyncio.create_task(listener.cut_stalled())
        try:
            yield here
        finally:
            watch.cancel()
            await client.close()
            await listener.drain()
            await shadows.close()
            checker.stop(60)
            await upstream.close()
            await copies.close()


async def served(engine: Engine, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(engine.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def until(look: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it never was so"
        await asyncio.sleep(0.005)
