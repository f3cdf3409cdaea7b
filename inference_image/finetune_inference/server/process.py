"""The server as a process: load, listen on two ports, answer until told to stop, finish what is in flight, end.

Nothing is written anywhere; one JSON line per event goes to standard output.
"""

import asyncio
import contextlib
import functools
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator

import uvicorn
import uvloop
from starlette.applications import Starlette

from finetune_inference.server import admin_app, inference_app
from finetune_inference.server.adapters.reading import Reader
from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_inference.server.base_model import BaseModel, load
from finetune_inference.server.batching import Limits, blocks
from finetune_inference.server.engine import Engine
from finetune_inference.server.metrics import Metrics
from finetune_inference.server.options import OptionsRefused, ServerOptions
from finetune_inference.server.prompts import Prompts
from finetune_inference.server.registry import Registry
from finetune_inference.server.rows import AdaptedModel
from finetune_inference.server.service import Service, hand_out

log = logging.getLogger(__name__)
SWITCH_INTERVAL = 0.0005
"""Seconds a thread may hold the interpreter while another wants it. The engine gives it up at each of hundreds of operations per step, and
with the default of 5 ms it may wait as long each time the event loop is busy."""
AFTER_THE_LAST = 5
"""Seconds that connections get to close after the last answer."""


def run(options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean end, 1 when the engine died.

    Raises:
        OptionsRefused: before anything listens.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    started = time.monotonic()
    base = load(options)
    limits = _limits(options, base.model_length)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(options, base, limits, started))


def say(event: str, **facts: object) -> None:
    """One line of standard output: never a prompt, an answer or a secret."""
    print(json.dumps({"event": event, **facts}), flush=True)  # noqa: T201 - standard output is the event log


def _limits(options: ServerOptions, model_length: int) -> Limits:
    total = options.max_total_tokens or options.max_num_seqs * blocks(model_length)
    if total < blocks(model_length):
        raise OptionsRefused(f"--max-total-tokens: {total} is less than one sequence of --max-model-len {model_length} may need")
    return Limits(options.max_num_seqs, model_length, total, options.max_prefill_tokens)


def _service(options: ServerOptions, base: BaseModel, limits: Limits) -> Service:
    metrics = Metrics(base.name, options.max_loras)
    adapted = AdaptedModel(base.model)
    engine = Engine(adapted, base.layers, limits, metrics, functools.partial(hand_out, asyncio.get_running_loop()))
    metrics.watch(lambda: engine.load)
    reader = Reader(base.skeleton, adapted.base_layer, base.model.device, base.model.dtype, options.max_lora_rank, limits.model_length // 2)
    registry = Registry(engine, reader, base.template, metrics, most=options.max_loras, base_name=base.name)
    prompts = Prompts(base.tokenizer, base.backend, limits.model_length)
    return Service(base, engine, registry, prompts, limits, metrics, options.max_waiting)


async def _serve(options: ServerOptions, base: BaseModel, limits: Limits, started: float) -> int:
    service = _service(options, base, limits)
    service.engine.start()
    for name, path in options.adapters.items():
        try:
            await service.registry.load(name, path)
        except AdapterRefused as refusal:
            raise OptionsRefused(f"--lora {name}={path}: {refusal.message}") from refusal
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    public, admin = _listen(options.host, options.port), _listen(options.admin_host, options.admin_port)
    servers = [_Server(inference_app.application(service)), _Server(admin_app.application(service))]
    serving = [asyncio.ensure_future(server.serve([sock])) for server, sock in zip(servers, (public, admin), strict=True)]
    say(
        "listening",
        model=base.name,
        port=public.getsockname()[1],
        adminPort=admin.getsockname()[1],
        device=str(base.model.device),
        dtype=str(base.model.dtype).removeprefix("torch."),
        seconds=round(time.monotonic() - started, 2),
    )
    await _until(stop, service)
    cut = await _drain(service, options.shutdown_timeout)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    died = service.engine.died.is_set()
    service.engine.stop()
    say("stopped", unfinished=cut)
    return 1 if died else 0


async def _until(stop: asyncio.Event, service: Service) -> None:
    """Until somebody asks to stop or the engine is dead."""
    while not stop.is_set() and not service.engine.died.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await stop.wait()


async def _drain(service: Service, seconds: float) -> int:
    """Refuse what is new and let what is in flight finish, up to the deadline; then end it, and say how many that were."""
    service.stopping = True
    say("draining", open=service.open, seconds=seconds)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await service.idle.wait()
    cut = service.open
    if cut and not service.engine.died.is_set():
        service.engine.end_all("the server is shutting down")
    return cut


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


class _Server(uvicorn.Server):
    """Signals are ours: a drain comes before the end."""

    def __init__(self, application: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=AFTER_THE_LAST,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
