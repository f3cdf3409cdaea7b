"""A pod's answer is untrusted: what is too long, too slow, elsewhere or not a report is no progress, and never an error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from finetune_operator.cluster.progress import SIZE_LIMIT, DirectReader, NoProgress
from finetune_trainer.contract import ProgressReport

REPORT = ProgressReport(run_key="k", phase="Training", step=12, total_steps=300, loss="0.7", updated_at="2026-11-22T10:00:00Z")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Pod:
    namespace: str = "ns"
    name: str = "router-train-1-abcde"
    ip: str = "127.0.0.1"


@asynccontextmanager
async def trainer(handler: Handler) -> AsyncIterator[DirectReader]:
    """A pod that answers so, and a reader that asks its port."""
    application = web.Application()
    application.router.add_get("/progress", handler)
    application.router.add_get("/elsewhere", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader = DirectReader(runner.addresses[0][1])
    try:
        yield reader
    finally:
        await reader.close()
        await runner.cleanup()


async def answer(_request: web.Request) -> web.StreamResponse:
    return web.Response(text=REPORT.to_json(), content_type="application/json")


async def test_a_report_is_read_with_the_runs_token() -> None:
    seen: list[str | None] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return await answer(request)

    async with trainer(listen) as reader:
        assert await reader.read(Pod(), "secret") == REPORT
    assert seen == ["Bearer secret"]


async def refuse(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=401)


async def redirect(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * SIZE_LIMIT)
    return response


async def babble(_request: web.Request) -> web.StreamResponse:
    return web.Response(text='{"kind": "ProgressReport", "step": "a secret row"}')


async def stall(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("handler", [refuse, redirect, flood, babble, stall])
async def test_anything_else_is_no_progress(handler: Handler) -> None:
    async with trainer(handler) as reader:
        with pytest.raises(NoProgress) as caught:
            await asyncio.wait_for(reader.read(Pod(), "secret"), 60)
    assert "secret" not in str(caught.value)


async def test_a_pod_that_is_not_there_is_no_progress() -> None:
    reader = DirectReader(1)
    with pytest.raises(NoProgress):
        await reader.read(Pod(), "secret")
    await reader.close()
