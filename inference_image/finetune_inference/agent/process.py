"""Puts the agent together from its settings, and runs it until it is asked to stop."""

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from finetune_inference.agent.decide import Cause
from finetune_inference.agent.fingerprints import Fingerprints
from finetune_inference.agent.loop import Agent, Pace
from finetune_inference.agent.metrics import Metrics
from finetune_inference.agent.server import StatusServer
from finetune_inference.agent.sources import DesiredSource, LastGood
from finetune_inference.agent.steps import Steps
from finetune_inference.artifact.contents import Limits
from finetune_inference.artifact.merged import MergedFolder
from finetune_inference.artifact.store import Store
from finetune_inference.contract.proof import Tolerances
from finetune_inference.engine import EngineClient, EngineTimeouts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the command line says; see ``finetune-inference agent --help``."""

    source: DesiredSource
    store: Path
    state: Path
    engine_url: str
    engine_admin_url: str | None
    engine_store: PurePosixPath
    claims: Mapping[str, Path]
    engine_key_file: Path | None
    base_model: Path | None
    merged: MergedFolder | None
    address: str
    port: int
    pace: Pace
    timeouts: EngineTimeouts
    tolerances: Tolerances
    limits: Limits


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises ``OSError`` when the store, the state folder or the port cannot be had."""
    stop, stopped = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        stopped.add_signal_handler(number, stop.set)
    clock, metrics = steady_clock(), Metrics()
    metrics.begin(cause.value for cause in Cause if cause is not Cause.NEW)
    store = Store(settings.store, settings.claims, settings.limits)
    await asyncio.to_thread(store.open)
    key = _key_reader(settings.engine_key_file)
    engine = EngineClient(settings.engine_url, admin_url=settings.engine_admin_url, key=key, timeouts=settings.timeouts)
    steps = Steps(
        engine=engine,
        store=store,
        fingerprints=Fingerprints(settings.state / "fingerprints"),
        metrics=metrics,
        clock=clock,
        base_folder=settings.base_model,
        merged=settings.merged,
        tolerances=settings.tolerances,
        proceed=lambda: not stop.is_set(),
    )
    last_good = LastGood(settings.state / "desired.json")
    agent = Agent(steps, settings.source, last_good, settings.engine_store, clock=clock, pace=settings.pace)
    server = StatusServer(agent, metrics)
    await server.start(settings.address, settings.port)
    sys.stdout.write(json.dumps({"port": server.port}) + "\n")
    sys.stdout.flush()
    working, stopping = asyncio.create_task(agent.run()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        log.info("stopping")
    finally:
        stop.set()
        working.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
        await server.close()
        await engine.close()
    return 0


def steady_clock() -> Callable[[], datetime]:
    """The time of day at the start plus what a monotonic clock has counted since: no wait grows because somebody sets the clock."""
    begin, zero = datetime.now(UTC), time.monotonic()
    return lambda: begin + timedelta(seconds=time.monotonic() - zero)


def _key_reader(path: Path | None) -> Callable[[], str | None]:
    """Reads the key anew for every call: a mounted Secret is replaced in place."""
    return lambda: path.read_text(encoding="utf-8").strip() if path is not None and path.exists() else None
