"""The admin port, apart from traffic: counters, acknowledgement and probes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Answers:
    """What the port shows; problems are empty when all is well."""

    metrics: Callable[[], Awaitable[bytes]]
    routes: Callable[[], str]
    not_alive: Callable[[], list[str]]
    not_ready: Callable[[], list[str]]


class Admin:
    """Listens on start, and tells the port it got."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, address: str, port: int) -> None:
        """Raises ``OSError`` if the port is taken."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/routes", self._routes),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5, keepalive_timeout=30)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._answers.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _routes(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._answers.routes(), content_type="application/json")

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _probe(self._answers.not_alive())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _probe(self._answers.not_ready())


def _probe(problems: list[str]) -> web.Response:
    return web.Response(status=503 if problems else 200, text="\n".join(problems) + "\n" if problems else "ok\n")
