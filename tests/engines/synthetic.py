"""An engine that computes nothing: it speaks the API of a real one, and is as slow or as broken as a test wants.

    python -m tests.engines.synthetic --port 0 --versions a--0123456789ab,b--… [--first-token 0.05 --gap 0.02 --tokens 20]

It prints its port as one line. What it does is changed while it runs: ``POST /synthetic`` with the fields of `Behaviour` that change;
``GET /synthetic`` tells what it was asked for, by model. A request may set its own stream: ``synthetic_gap``, ``synthetic_tokens``,
``synthetic_word`` (characters of each). A model name that it does not hold is answered with 404, as real engines do.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop
from aiohttp import web

ROOT = "/adapters/sha256-{digest}ffff"


@dataclass
class Behaviour:
    """``fault``: none, or `500`, `503`, `cut` (after ``cut_after`` chunks), `silent` (never a byte), `unframed` (ends without [DONE]).

    ``faulty``: only these versions have the fault; all of them if it is empty. ``answer``: the text, whose words are its tokens.
    ``listed``: what the model list says, when that is not what the engine holds.
    """

    versions: list[str] = field(default_factory=list)
    listed: list[str] | None = None
    first_token: float = 0.0
    gap: float = 0.0
    tokens: int = 5
    answer: str = ""
    fault: str = ""
    faulty: list[str] = field(default_factory=list)
    cut_after: int = 2
    hold_models: bool = False
    odd_models: bool = False
    finish: str = "stop"

    def fault_of(self, version: str) -> str:
        return self.fault if not self.faulty or version in self.faulty else ""

    def words(self) -> list[str]:
        if self.answer:
            return [part if index == 0 else f" {part}" for index, part in enumerate(self.answer.split(" "))]
        return ["word "] * self.tokens


class Engine:
    """One engine's state; `application` serves it."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: Counter[str] = Counter()
        self.paths: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.open = 0
        self.aborted = 0

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._complete)
        application.router.add_post("/v1/completions", self._complete)
        application.router.add_get("/synthetic", self._tell)
        application.router.add_post("/synthetic", self._change)
        application.router.add_route("*", "/{path:.*}", self._other)
        return application

    async def _models(self, _request: web.Request) -> web.Response:
        if self.behaviour.hold_models:
            await asyncio.Event().wait()
        if self.behaviour.odd_models:
            return web.json_response({"data": "odd"})
        listed = self.behaviour.versions if self.behaviour.listed is None else self.behaviour.listed
        entries = [{"id": "base", "root": "base"}]
        entries += [{"id": name, "root": ROOT.format(digest=name.rpartition("--")[2])} for name in listed]
        return web.json_response({"object": "list", "data": entries})

    async def _tell(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {"asked": self.asked, "paths": self.paths, "headers": self.headers[-20:], "open": self.open, "aborted": self.aborted}
        )

    async def _change(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            assert hasattr(self.behaviour, name), name
            setattr(self.behaviour, name, value)
        return web.json_response(asdict(self.behaviour))

    async def _other(self, request: web.Request) -> web.Response:
        self.paths[f"{request.method} {request.raw_path}"] += 1
        return web.Response(status=404)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.paths[f"POST {request.raw_path}"] += 1
        document = await request.json()
        version = document["model"]
        self.asked[version] += 1
        self.headers.append(dict(request.headers))
        behaviour = self.behaviour
        if version not in behaviour.versions:
            return _error(404, f"The model `{version}` does not exist.")
        fault = behaviour.fault_of(version)
        if fault in ("500", "503"):
            return _error(int(fault), f"{version} failed")
        self.open += 1
        try:
            if fault == "silent":
                await asyncio.Event().wait()
            await asyncio.sleep(behaviour.first_token)
            if document.get("stream"):
                return await self._stream(request, version, fault, document)
            await asyncio.sleep(behaviour.gap * max(0, len(behaviour.words()) - 1))
            if fault == "cut":
                return await _cut(request)
            return web.json_response(_whole(version, behaviour, chat="chat" in request.path))
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise
        finally:
            self.open -= 1

    async def _stream(self, request: web.Request, version: str, fault: str, document: dict[str, Any]) -> web.StreamResponse:
        behaviour, chat = self.behaviour, "chat" in request.path
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        gap = document.get("synthetic_gap", behaviour.gap)
        words = behaviour.words()
        if "synthetic_tokens" in document:
            words = ["w" * document.get("synthetic_word", 5)] * document["synthetic_tokens"]
        for number, word in enumerate(words):
            if fault == "cut" and number == behaviour.cut_after:
                request.protocol.force_close()
                return response
            if number and gap:
                await asyncio.sleep(gap)
            await response.write(_event(version, chat, {"content": word} if chat else word, None))
        await response.write(_event(version, chat, {} if chat else "", behaviour.finish))
        if (document.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
            await response.write(b"data: " + json.dumps({"model": version, "choices": [], "usage": usage}).encode() + b"\n\n")
        if fault != "unframed":
            await response.write(b"data: [DONE]\n\n")
        return response


def _event(version: str, chat: bool, content: Any, finish: str | None) -> bytes:
    choice = {"index": 0, "delta" if chat else "text": content, "finish_reason": finish}
    document = {"id": "synthetic", "object": "chunk", "created": 0, "model": version, "choices": [choice]}
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _whole(version: str, behaviour: Behaviour, *, chat: bool) -> dict[str, Any]:
    words = behaviour.words()
    text = "".join(words)
    content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {
        "id": "synthetic",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": version,
        "choices": [{"index": 0, **content, "finish_reason": behaviour.finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)},
    }


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "error", "param": None, "code": status}}, status=status)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id":')
    request.protocol.force_close()
    return response


async def serve(engine: Engine, address: str, port: int) -> None:
    """Until SIGTERM; prints the port."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.AppRunner(engine.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port, backlog=4096, reuse_address=True).start()
    print(runner.addresses[0][1], flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--versions", default="")
    parser.add_argument("--first-token", type=float, default=0.0)
    parser.add_argument("--gap", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=5)
    given = parser.parse_args(arguments)
    versions = [name for name in given.versions.split(",") if name]
    behaviour = Behaviour(versions=versions, first_token=given.first_token, gap=given.gap, tokens=given.tokens)
    uvloop.run(serve(Engine(behaviour), given.address, given.port))


if __name__ == "__main__":
    sys.exit(main())
