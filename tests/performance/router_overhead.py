"""What the router costs: the same streams, straight to a synthetic engine and through the router, in interleaved pairs.

Requests begin at a fixed total rate, far below what the machine can do, and are the longer the more of them are to be open at once; so the
work per second is the same at 64, 256 and 1,000 open streams. First-token time is what a client measures. Engine, router and load are
processes of one machine and share its cores. At the end both are driven as fast as they go, which is reported only.
"""

import asyncio
import os
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from tests.engines import processes
from tests.engines.load import Load
from tests.engines.processes import ALIAS, STABLE, EngineProcess, RouterProcess
from tests.performance.report import Limit, Section

TOKENS = 5
FIRST_TOKEN = 0.05
CASES = {1: 10.0, 64: 100.0, 256: 100.0, 1000: 100.0}
"""Open streams, and requests per second that begin."""
ADDED = {1: 3.0, 64: 3.0, 256: 15.0, 1000: 15.0}
"""Milliseconds that the router may add to the median first-token time."""
WORKERS = 2


@dataclass
class Measured:
    """One kind of segment at one number of open streams."""

    first: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    failures: int = 0
    requests: int = 0
    processor: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        return 1000 * statistics.median(self.first)


def run(full: bool = False) -> Section:
    """Small: 1 and 64 streams, ratios and counts. Full: all four, with the bounds in milliseconds, and both at full speed."""
    cases = CASES if full else {1: 10.0, 64: 40.0}
    pairs, window = (3, 6.0) if full else (1, 3.0)
    rows, limits = [], []
    with tempfile.TemporaryDirectory() as folder, processes.engine(first_token=FIRST_TOKEN, tokens=TOKENS) as engine:
        processes.write_table(Path(folder), processes.table_of([engine]))
        with processes.router(Path(folder), workers=WORKERS) as router:
            for streams, rate in cases.items():
                direct, routed = uvloop.run(compared(engine, router, streams, rate, pairs, window))
                added = direct_to_routed(direct, routed)
                ratio = statistics.median(routed.rates) / statistics.median(direct.rates)
                rss = sum(resident(pid) for pid in [router.process.pid, *router.workers()]) / 2**20
                rows.append(
                    (
                        f"{streams}, {rate:.0f}/s",
                        f"{direct.median_ms:.1f}",
                        f"{routed.median_ms:.1f}",
                        f"{added:+.1f}",
                        f"{ratio:.3f}",
                        f"{direct.failures + routed.failures} of {direct.requests + routed.requests}",
                        f"{100 * statistics.median(direct.processor):.0f} % → {100 * statistics.median(routed.processor):.0f} %",
                        f"{rss:.0f}",
                    )
                )
                limits.append(Limit(f"{streams} streams: failed requests", direct.failures + routed.failures, 0))
                limits.append(Limit(f"{streams} streams: throughput over direct", ratio, 0.95 if full else 0.8, at_most=False))
                if full:
                    limits.append(Limit(f"{streams} streams: added median first-token time, ms", added, ADDED[streams]))
            limits.append(Limit("resident memory of all router processes, MiB", rss, 600))
            if full:
                rates = [uvloop.run(fastest(url, model)) for url, model in ((engine.url, STABLE), (router.url, ALIAS))]
                ends = (f"{rates[0]:.0f}/s", f"{rates[1]:.0f}/s", "", f"{rates[1] / rates[0]:.2f}")
                rows.append(("as fast as it goes, 64 clients", *ends, "", "", ""))
    return Section(
        title="Router against direct",
        flags=f"{WORKERS} workers, one synthetic engine (first token after {FIRST_TOKEN * 1000:.0f} ms, {TOKENS} tokens, then the end), "
        f"open loop, {pairs} interleaved pairs of {window:.0f} s windows; processor: share of all cores, of engine, load and router",
        columns=("open streams, rate", "direct ms", "routed ms", "added ms", "throughput", "failed", "processor", "router MiB"),
        rows=tuple(rows),
        limits=tuple(limits),
    )


def direct_to_routed(direct: Measured, routed: Measured) -> float:
    """Milliseconds that the router adds to the median."""
    return routed.median_ms - direct.median_ms


async def compared(
    engine: EngineProcess, router: RouterProcess, streams: int, rate: float, pairs: int, window: float
) -> tuple[Measured, Measured]:
    """Direct and routed segments in turns."""
    direct, routed = Measured(), Measured()
    length = streams / rate
    pids = [engine.process.pid, router.process.pid, *router.workers()]
    gap = max(0.0, length - FIRST_TOKEN) / TOKENS
    for _ in range(pairs):
        for url, model, measured in ((engine.url, STABLE, direct), (router.url, ALIAS, routed)):
            load = Load(url, rate, document={"model": model, "synthetic_gap": gap})
            await segment(load, measured, length, window, pids)
    return direct, routed


async def segment(load: Load, measured: Measured, length: float, window: float, pids: list[int]) -> None:
    """Warm up until as many streams are open as are to be, then look for a while."""
    async with load.running():
        await asyncio.sleep(length + 1.0)
        begin, spent = time.monotonic(), processor_seconds(pids)
        await asyncio.sleep(window)
        end = time.monotonic()
        measured.processor.append((processor_seconds(pids) - spent) / (end - begin) / (os.cpu_count() or 1))
    ended = [record for record in load.records if begin <= record.began + record.last < end]
    measured.rates.append(len(ended) / (end - begin))
    measured.first += [record.first for record in load.records if begin <= record.began < end and not record.failure]
    measured.failures += len(load.failures)
    measured.requests += len(load.records)


async def fastest(url: str, model: str, clients: int = 64, seconds: float = 5.0) -> float:
    """Short whole answers per second from clients that ask again at once."""
    done = 0
    end = time.monotonic() + seconds

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal done
        while time.monotonic() < end:
            async with session.post(f"{url}/v1/completions", json={"model": model, "prompt": "hello"}) as reply:
                assert reply.status == 200
                await reply.read()
            done += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return done / seconds


def processor_seconds(pids: list[int]) -> float:
    """Spent so far by these processes and this one."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ticks = sum(sum(int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]) for pid in pids)
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Bytes in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
