"""A router under constant streaming load while everything around it changes."""

import asyncio
import math
import os
import signal
import socket
import time
from pathlib import Path

from finetune_inference.router.choice import has_canary, position
from tests.engines.load import Load
from tests.engines.processes import CANARY, STABLE, until
from tests.process.router.conftest import Site, next_generation

STREAM = {"synthetic_gap": 0.02, "synthetic_tokens": 10}


async def test_no_request_fails_and_no_stream_is_cut_in_ten_cycles_of_promotion_and_rollback(site: Site):
    before = await asyncio.to_thread(site.outcome_sum, STABLE, CANARY)
    load = Load(site.router.url, rate=40, callers=400, document=STREAM)
    async with load.running():
        for _ in range(10):
            for weight in (25, 100, 0):
                await site.applied(next_generation(), canary=CANARY, weight=weight, salt="s")
                seen = len(load.records)
                await _until(lambda seen=seen: len(load.records) >= seen + 6)
    assert load.failures == []
    assert {record.version for record in load.records} == {STABLE, CANARY}
    expected = before | {"ok": before.get("ok", 0) + len(load.records)}
    await asyncio.to_thread(until, lambda: site.outcome_sum(STABLE, CANARY) == expected)


async def test_the_split_is_what_the_ring_says_and_nobody_returns_as_the_weight_rises(site: Site):
    callers, moved = 300, set()
    for weight in (10, 30, 60):
        await site.applied(next_generation(), canary=CANARY, weight=weight, salt="t")
        load = Load(site.router.url, rate=500, callers=callers)
        async with load.running():
            await _until(lambda load=load: len(load.records) >= callers)
        assert load.failures == []
        with_canary = {record.caller for record in load.records if record.version == CANARY}
        assert with_canary == {r.caller for r in load.records if has_canary(position("t", f"User:{r.caller}"), weight)}
        assert moved <= with_canary
        moved = with_canary
        spread = math.sqrt(callers * weight / 100 * (1 - weight / 100))
        assert abs(len(with_canary) - callers * weight / 100) < 4 * spread + 1


async def test_a_rollback_is_acknowledged_at_once_by_all_workers(site: Site):
    load = Load(site.router.url, rate=40, document=STREAM)
    async with load.running():
        await site.applied(next_generation(), canary=CANARY, weight=100)
        await _until(lambda: any(record.version == CANARY for record in load.records))
        await site.applied(next_generation(), canary=CANARY, weight=0)
        acknowledged = time.monotonic()
        seen = len(load.records)
        await _until(lambda: len(load.records) >= seen + 30)
    assert load.failures == []
    assert {record.version for record in load.records if record.began > acknowledged} == {STABLE}


async def test_a_killed_worker_costs_its_own_streams_and_nothing_else(site: Site):
    # A connection for each request: one kept from before may be the victim's, and the client has not seen its end yet.
    load = Load(site.router.url, rate=40, document={"synthetic_gap": 0.02, "synthetic_tokens": 10}, keeps=False)
    async with load.running():
        await _until(lambda: len(load.records) >= 40)
        before = await asyncio.to_thread(site.outcome_sum, STABLE)
        victim, other = await asyncio.to_thread(site.router.workers)
        killed = time.monotonic()
        open_then = load.open
        os.kill(victim, signal.SIGKILL)
        await _until(lambda: _gone(victim))
        gone = time.monotonic()
        await asyncio.to_thread(until, lambda: len(set(site.router.workers()) - {victim}) == 2)
        await asyncio.to_thread(until, lambda: site.router.admin("/readyz")[0] == 200)
        recovered = time.monotonic()
        seen = len(load.records)
        await _until(lambda: len(load.records) >= seen + 60)
        assert other in await asyncio.to_thread(site.router.workers)
    # Until its sockets are closed, which a busy machine puts off, the kernel still gives it callers.
    assert len([record for record in load.failures if record.began <= killed]) <= open_then
    assert all(record.began <= gone for record in load.failures)
    assert [record for record in load.failures if record.began > recovered] == []
    after = await asyncio.to_thread(site.outcome_sum, STABLE)
    assert after["ok"] >= before["ok"] + 60


async def test_a_pod_that_dies_costs_its_own_streams_and_nothing_else(site: Site):
    from tests.engines import processes

    with processes.engine(versions=(STABLE,)) as third:
        await asyncio.to_thread(site.router.apply, processes.table_of([*site.engines, third], next_generation()))
        load = Load(site.router.url, rate=40, document=STREAM)
        async with load.running():
            await _until(lambda: len(load.records) >= 20)
            assert (await asyncio.to_thread(third.told))["asked"][STABLE] > 0
            looked = time.monotonic()
            open_then = (await asyncio.to_thread(third.told))["open"]
            third.process.kill()
            await asyncio.to_thread(third.process.wait)
            gone = time.monotonic()
            seen = len(load.records)
            await _until(lambda: len(load.records) >= seen + 60)
    # Those it had, those that were on their way to it, and those that came until its sockets were closed.
    later = [record for record in load.records if looked <= record.began <= gone]
    assert len(load.failures) <= open_then + len(later) + 8
    assert all(record.began <= gone for record in load.failures)


async def test_slow_readers_hold_up_nobody_else(site: Site):
    body = b'{"model":"tickets","stream":true,"synthetic_tokens":400,"synthetic_word":65536}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    slow = [socket.socket() for _ in range(20)]
    for one in slow:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", site.router.port))
        one.sendall(request)
    load = Load(site.router.url, rate=30, document=STREAM)
    async with load.running():
        await _until(lambda: len(load.records) >= 60)
        await asyncio.to_thread(until, lambda: sum(engine.told()["open"] for engine in site.engines) >= 20)
    assert load.failures == []
    assert sum(_rss(pid) for pid in site.router.workers()) < 400 << 20
    for one in slow:
        one.close()
    await asyncio.to_thread(until, lambda: all(engine.told()["open"] == 0 for engine in site.engines))


def _gone(pid: int) -> bool:
    """Ended, whether or not somebody has taken note: its sockets are closed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def _until(look, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, "it never was so"
        await asyncio.sleep(0.01)
