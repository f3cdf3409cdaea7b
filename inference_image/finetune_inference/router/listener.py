"""The worker's HTTP server, with limits on what a client may hold: connections, headers, time."""

import asyncio
import socket
import time

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from finetune_inference.router.frontend import Frontend
from finetune_inference.router.options import Options

LOOK_SECONDS = 0.25


class _Server(web.Server):
    """Drops connections beyond a limit, and knows which ones are idle."""

    def __init__(self, frontend: Frontend, options: Options) -> None:
        super().__init__(
            self._handle,
            handler_cancellation=True,
            keepalive_timeout=options.idle_seconds,
            max_line_size=options.max_header,
            max_field_size=options.max_header,
            lingering_time=2.0,
            auto_decompress=False,
            access_log=None,
        )
        self._frontend = frontend
        self._limit = options.max_connections
        self._count = 0
        self._busy: set[RequestHandler] = set()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._count += 1
        if self._count > self._limit:
            transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._count -= 1
        super().connection_lost(handler, exc)

    def close_idle(self) -> None:
        for handler in self.connections:
            if handler not in self._busy:
                handler.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        self._busy.add(protocol)
        try:
            return await self._frontend(request)
        finally:
            self._busy.discard(protocol)


class Listener:
    """Accepts on one socket until told to drain."""

    def __init__(self, frontend: Frontend, options: Options) -> None:
        self._frontend = frontend
        self._options = options
        self._server = _Server(frontend, options)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.5)
        self._site: web.SockSite | None = None

    async def start(self, listening: socket.socket) -> None:
        await self._runner.setup()
        self._site = web.SockSite(self._runner, listening, backlog=4096)
        await self._site.start()

    async def drain(self) -> None:
        """Accept nothing more, let open requests end until the deadline, then cut what is left."""
        self._frontend.draining = True
        if self._site is not None:
            await self._site.stop()
            self._site = None
        deadline = time.monotonic() + self._options.drain_seconds
        while self._frontend.admission.requests and time.monotonic() < deadline:
            self._server.close_idle()
            await asyncio.sleep(LOOK_SECONDS / 5)
        await self._runner.cleanup()

    async def cut_stalled(self) -> None:
        """Clients that accept nothing for too long lose their connection, and with it the pod's time."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            latest = time.monotonic() - self._options.stall_seconds
            for exchange in tuple(self._frontend.open):
                transport = exchange.request.transport
                if 0.0 < exchange.writing_since < latest and transport is not None:
                    transport.abort()
