"""A process that answers as vLLM does, without a model: ``python -m tests.engines.fake_vllm --port 0`` prints ``{"port": …}``.

Its habits are vLLM's: the same adapter name again is a 400, an unknown one a 404 with an error body, a route that is switched off a 404
without; unloading keeps the slot; loading holds up everybody's tokens; the list says ``created`` now; a restart forgets every adapter.
"""

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY, generate_latest

from tests.engines.adapters import Adapters, NotFound, Unsupported, Weights, first_token
from tests.engines.faults import Faults, Shares

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeEngine:
    """One engine process; ``options`` are the command line's."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.adapters = Adapters(max_cpu_loras=options.max_cpu_loras, max_rank=options.max_lora_rank)
        self.faults = Faults(load_seconds=options.load_seconds, drift=dict.fromkeys(options.drift, 1.0))
        self.requests: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.loading = 0
        self.most_loading = 0
        self._shares = Shares()
        self._loads_end = asyncio.Event()
        self._loads_end.set()
        self._loop = asyncio.Lock()  # the engine's one loop: a load stands in the way of every token

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=64 << 20)
        app.add_routes(
            [
                web.get("/health", self.health),
                web.get("/version", self.version),
                web.get("/metrics", self.metrics),
                web.get("/v1/models", self.models),
                web.post("/v1/completions", self.completions),
                web.post("/v1/chat/completions", self.completions),
                web.get("/faults", self.show),
                web.post("/faults", self.change),
                web.post("/faults/drop", self.drop),
            ]
        )
        if not self.options.no_runtime_updates:
            app.add_routes([web.post("/v1/load_lora_adapter", self.load), web.post("/v1/unload_lora_adapter", self.unload)])
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/faults"):
            return await handler(request)
        if self.faults.hang:
            await asyncio.Event().wait()
        key = self.options.api_key
        if key and request.path.startswith("/v1") and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return web.json_response({"detail": "Not Found"}, status=404)

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(status=503 if self.faults.unhealthy else 200)

    async def version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": "0.0.0+fake"})

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def models(self, _request: web.Request) -> web.Response:
        base = {"id": self.options.served_model_name, "root": self.options.model, "parent": None}
        cards = [base] + [{"id": name, "root": path, "parent": base["id"]} for name, path in self.adapters.listed.items()]
        entries = [{"object": "model", "created": int(time.time()), "owned_by": "vllm", **card} for card in cards]
        return web.json_response({"object": "list", "data": entries})

    async def load(self, request: web.Request) -> web.Response:
        content = await request.json()
        name, path = content.get("lora_name"), content.get("lora_path")
        if not name or not path:
            return _error(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        try:
            async with self._loop:
                if name in self.adapters.listed and not content.get("load_inplace"):
                    return _error(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
                await asyncio.sleep(self.faults.load_seconds)
                await self._loads_end.wait()
                if self.faults.fail_loads > 0:
                    self.faults.fail_loads -= 1
                    return _error(500, "InternalServerError", "the engine could not add the adapter")
                self.adapters.add(name, path)
        except NotFound:
            return _error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        except Unsupported as error:
            return _error(500, "InternalServerError", str(error))
        finally:
            self.loading -= 1
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def unload(self, request: web.Request) -> web.Response:
        name = (await request.json()).get("lora_name")
        if not name:
            return _error(400, "InvalidUserInput", "'lora_name' needs to be provided to unload a LoRA adapter.")
        if name not in self.adapters.listed:
            return _error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        self.adapters.counts["unloadedInUse"] += self.open[name]
        self.adapters.remove(name)
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def completions(self, request: web.Request) -> web.StreamResponse:
        content = await request.json()
        model = content.get("model") or self.options.served_model_name
        weights: Weights | None = None
        if model in self.adapters.listed:
            try:
                async with self._loop:
                    weights = self.adapters.use(model)
            except NotFound:
                return _error(404, "NotFoundError", f"The lora adapter '{model}' cannot be read.")
        elif model != self.options.served_model_name:
            self.unknown[model] += 1
            return _error(404, "NotFoundError", f"The model `{model}` does not exist.")
        self.requests[model] += 1
        if self._shares.hit("error", model, self.faults.error_share.get(model, 0.0)):
            return _error(500, "InternalServerError", "the engine failed")
        await asyncio.sleep(self.faults.first_token_seconds.get(model, 0.0))
        if content.get("logprobs") and "prompt" in content:
            return web.json_response(self._first_token(model, content["prompt"], int(content["logprobs"]), weights))
        self.open[model] += 1
        try:
            return await self._answer(request, content, model)
        finally:
            self.open[model] -= 1

    def _first_token(self, model: str, prompt: str, alternatives: int, weights: Weights | None) -> dict[str, Any]:
        used = None if model in self.faults.no_effect else weights
        likely = sorted(first_token(prompt, used, self.faults.drift.get(model, 0.0)).items(), key=lambda entry: -entry[1])[:alternatives]
        logprobs = {"tokens": [likely[0][0]], "token_logprobs": [likely[0][1]], "top_logprobs": [dict(likely)], "text_offset": [0]}
        choice = {"index": 0, "text": likely[0][0], "logprobs": logprobs, "finish_reason": "length"}
        return {"id": _id(), "object": "text_completion", "model": model, "choices": [choice], "usage": _usage(1)}

    async def _answer(self, request: web.Request, content: dict[str, Any], model: str) -> web.StreamResponse:
        """Words one by one, each waiting for the engine's loop; the first names the model that answered."""
        chat = request.path.endswith("/chat/completions")
        text = self.faults.answer.get(model)
        words = text.split(" ") if text is not None else [model, *["word"] * (int(content.get("max_tokens") or 8) - 1)]
        if not content.get("stream"):
            for _ in words:
                await self._token(content)
            message = {"message": {"role": "assistant", "content": " ".join(words)}} if chat else {"text": " ".join(words)}
            choice = {"index": 0, **message, "finish_reason": "stop"}
            kind = "chat.completion" if chat else "text_completion"
            return web.json_response({"id": _id(), "object": kind, "model": model, "choices": [choice], "usage": _usage(len(words))})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        cut, identity = self._shares.hit("cut", model, self.faults.cut_share.get(model, 0.0)), _id()
        for place, word in enumerate(words):
            await self._token(content)
            piece = word if place == 0 else f" {word}"
            body = {"delta": {"content": piece}} if chat else {"text": piece}
            choice = {"index": 0, **body, "finish_reason": "stop" if place == len(words) - 1 else None}
            kind = "chat.completion.chunk" if chat else "text_completion"
            chunk = {"id": identity, "object": kind, "model": model, "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            if cut and request.transport is not None:
                request.transport.abort()
                return response
        if (content.get("stream_options") or {}).get("include_usage"):
            chunk = {"id": identity, "object": kind, "model": model, "choices": [], "usage": _usage(len(words))}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _token(self, content: dict[str, Any]) -> None:
        """A request may set its own pace, ``fake_token_seconds``."""
        async with self._loop:
            pass
        if seconds := content.get("fake_token_seconds", self.options.token_seconds):
            await asyncio.sleep(seconds)

    async def show(self, _request: web.Request) -> web.Response:
        counts = {**self.adapters.counts, "mostLoading": self.most_loading, "cached": len(self.adapters.cache)}
        return web.json_response(
            {
                "faults": asdict(self.faults),
                "counts": counts,
                "log": self.adapters.log,
                "requests": dict(self.requests),
                "unknown": dict(self.unknown),
            }
        )

    async def change(self, request: web.Request) -> web.Response:
        try:
            self.faults.merge(await request.json())
        except ValueError as error:
            return _error(400, "BadRequest", str(error))
        (self._loads_end.clear if self.faults.hold_loads else self._loads_end.set)()
        return await self.show(request)

    async def drop(self, request: web.Request) -> web.Response:
        """Forget an adapter without a word, as an engine does that evicts."""
        self.adapters.listed.pop((await request.json())["name"], None)
        return await self.show(request)


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "param": None, "code": status}}, status=status)


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}


def _id() -> str:
    return f"cmpl-{uuid.uuid4().hex[:16]}"


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fake_vllm")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--served-model-name", default="base")
    parser.add_argument("--model", default="/models/base")
    parser.add_argument("--max-loras", type=int, default=2)
    parser.add_argument("--max-cpu-loras", type=int, default=4)
    parser.add_argument("--max-lora-rank", type=int, default=64)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--drift", action="append", default=[], help="an adapter that answers otherwise from the first request on")
    parser.add_argument("--start-seconds", type=float, default=0.0, help="before the port opens")
    parser.add_argument("--token-seconds", type=float, default=0.0)
    parser.add_argument("--api-key")
    parser.add_argument("--no-runtime-updates", action="store_true")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    await asyncio.sleep(options.start_seconds)
    runner = web.AppRunner(FakeEngine(options).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, options.address, options.port).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main(arguments: list[str]) -> int:
    """Serve until killed."""
    asyncio.run(serve(_options(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
