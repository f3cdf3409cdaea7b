"""Two small servers: probes for the kubelet, and metrics for Prometheus.

Alive means that the event loop turns and that every watch is at least being tried; an API server that is away is no reason to be killed.
Ready means that the caches are in sync, leader or not: a follower that is ready takes over within seconds.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from finetune_operator.runtime.metrics import Metrics

LAG_LIMIT: Final = 30.0
ATTEMPT_LIMIT: Final = 300.0
BEAT: Final = 0.5


@dataclass
class Pulse:
    """How late the event loop is; `beat` runs as a task."""

    lag: float = 0.0
    last: float = 0.0

    async def beat(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT)
            self.last = time.monotonic()
            self.lag = max(0.0, self.last - before - BEAT)


class Health:
    """Answers ``/healthz`` and ``/readyz`` with 200 or with 503 and the reasons."""

    def __init__(self, pulse: Pulse, last_attempts: dict[str, Callable[[], float]], not_ready: Callable[[], list[str]]) -> None:
        self._pulse = pulse
        self._last_attempts = last_attempts
        self._not_ready = not_ready

    def problems(self) -> list[str]:
        found = [f"the event loop is {self._pulse.lag:.1f} s late"] if self._pulse.lag > LAG_LIMIT else []
        now = time.monotonic()
        for name, read in self._last_attempts.items():
            age = now - read()
            if age > ATTEMPT_LIMIT:
                found.append(f"the watch of {name} has been silent for {age:.0f} s")
        return found

    async def healthz(self, _request: web.Request) -> web.Response:
        return _answer(self.problems())

    async def readyz(self, _request: web.Request) -> web.Response:
        return _answer(self._not_ready())


def _answer(problems: list[str]) -> web.Response:
    return web.Response(status=503 if problems else 200, text="\n".join(problems) + "\n" if problems else "ok\n")


class Servers:
    """Listens on start, and tells the ports it got."""

    def __init__(self, address: str, health: Health, metrics: Metrics) -> None:
        self.health_port = 0
        self.metrics_port = 0
        self._address = address
        self._health = health
        self._metrics = metrics
        self._runners: list[web.AppRunner] = []

    async def start(self, health_port: int, metrics_port: int) -> None:
        """Raises ``OSError`` if a port is taken."""
        probes = web.Application()
        probes.add_routes([web.get("/healthz", self._health.healthz), web.get("/readyz", self._health.readyz)])
        exposition = web.Application()
        exposition.add_routes([web.get("/metrics", self._exposition)])
        self.health_port = await self._listen(probes, health_port)
        self.metrics_port = await self._listen(exposition, metrics_port)

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, application: web.Application, port: int) -> int:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self._address, port).start()
        return int(runner.addresses[0][1])

    async def _exposition(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
