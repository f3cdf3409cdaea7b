"""The demo's users: what their log says of answers, refusals and streams that break off."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from demo.beside import beside
from demo.traffic import Traffic, answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ENOUGH = 6


def piece(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def streaming(*pieces: bytes) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream", "x-adapter-version": "m--aaaaaaaaaaaa"})
        await reply.prepare(request)
        for part in pieces:
            await reply.write(part)
        return reply

    return handler


WHOLE = streaming(piece("a"), piece("b", "stop"), b"data: [DONE]\n\n")
CUT = streaming(piece("a"))


async def refusing(_: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": "no pod has it"}}, status=503)


@contextmanager
def server(handler: Handler, calls: list[int]) -> Iterator[str]:
    """A server on a thread; ``calls`` grows with every request."""
    loop, address, ready = asyncio.new_event_loop(), [""], threading.Event()
    stop = asyncio.Event()

    async def counted(request: web.Request) -> web.StreamResponse:
        calls.append(1)
        return await handler(request)

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", counted)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        address[0] = f"http://{host}:{port}"
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def flow(handler: Handler) -> Traffic:
    """Traffic until a few requests have been seen."""
    calls: list[int] = []
    with server(handler, calls) as url:
        traffic = Traffic(url, "m", 50, [[{"role": "user", "content": "q"}]])
        pause = threading.Event()
        with traffic.flowing():
            for _ in range(3000):
                if len(calls) >= ENOUGH or pause.wait(0.01):
                    break
    assert len(traffic.requests) >= ENOUGH
    return traffic


def test_every_answer_is_in_the_log_with_its_version_and_without_a_text(tmp_path: Path) -> None:
    traffic = flow(WHOLE)
    assert traffic.failures() == []
    assert traffic.versions() == {"m--aaaaaaaaaaaa": len(traffic.requests)}
    traffic.write(tmp_path / "log" / "requests.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log" / "requests.jsonl").read_text().splitlines()]
    assert len(lines) == len(traffic.requests)
    assert set(lines[0]) == {"began", "caller", "version", "failure", "first_seconds", "seconds"}


def test_a_refusal_is_a_failure_and_tried_once() -> None:
    traffic = flow(refusing)
    assert len(traffic.failures()) == len(traffic.requests)
    assert traffic.failures()[0].failure.startswith("InternalServerError: Error code: 503")


def test_a_stream_that_breaks_off_is_a_failure() -> None:
    traffic = flow(CUT)
    assert {request.failure for request in traffic.requests} == {"the stream has no end"}


async def breaking(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await reply.prepare(request)
    await reply.write(piece("a"))
    assert request.transport is not None
    request.transport.abort()
    return reply


def test_a_connection_that_breaks_in_mid_stream_is_a_failure_of_that_request_alone() -> None:
    traffic = flow(breaking)
    assert len(traffic.failures()) == len(traffic.requests)


def test_what_goes_wrong_beside_an_act_is_raised_at_its_end() -> None:
    def work(_: threading.Event) -> None:
        raise KeyError("defect")

    with pytest.raises(KeyError, match="defect"), beside(work, "test"):
        pass


def test_an_answer_comes_in_pieces() -> None:
    with server(WHOLE, []) as url:
        assert list(answer(url, "m", [{"role": "user", "content": "q"}])) == ["a", "b"]
