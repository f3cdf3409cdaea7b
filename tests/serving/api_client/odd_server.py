"""An API server over real TLS that answers as a test tells it to."""

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from finetune_inference.kubernetes.access import Access

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that is its own authority; the key lies beside it."""
    made = folder / "server.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    places = ["-keyout", str(made.with_suffix(".key")), "-out", str(made)]
    subprocess.run([*command, *names, *places], check=True, capture_output=True)
    return made


@dataclass
class OddServer:
    """``on_list`` and ``on_watch`` answer; what was asked is kept."""

    access: Access
    on_list: Answer
    on_watch: Answer
    asked: list[web.Request] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await (self.on_watch if request.query.get("watch") else self.on_list)(request)

    @property
    def lists(self) -> int:
        return sum("watch" not in request.query for request in self.asked)


def page(*names: str, version: str = "7", more: str = "") -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        metadata = {"resourceVersion": version} | ({"continue": more} if more else {})
        return web.json_response({"metadata": metadata, "items": [item(name) for name in names]})

    return answer


def lines(*chunks: bytes, hang: bool = False) -> Answer:
    """The chunks, and then the end, or silence."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if hang:
            await asyncio.Event().wait()
        return response

    return answer


def status(code: int, body: str, **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=code, text=body, headers=headers)

    return answer


def item(name: str, version: str = "8") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def event(kind: str, name: str, version: str = "8") -> bytes:
    return json.dumps({"type": kind, "object": item(name, version)}).encode() + b"\n"


@asynccontextmanager
async def serving(crt: Path, token_file: Path, on_list: Answer, on_watch: Answer) -> AsyncIterator[OddServer]:
    server = OddServer(Access("", crt, token_file), on_list, on_watch)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, crt.with_suffix(".key"))
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.access = Access(f"https://127.0.0.1:{runner.addresses[0][1]}", crt, token_file)
    try:
        yield server
    finally:
        await runner.cleanup()
