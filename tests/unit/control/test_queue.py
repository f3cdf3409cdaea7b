"""The work queue keeps client-go's contract."""

import asyncio
import random
from collections import Counter

import pytest

from finetune_operator.control.queue import BASE_DELAY, MAX_DELAY, Closed, Priority, WorkQueue

SOON = 10.0
"""Seconds after which something is broken, not slow; shorter than what must not be waited for."""


async def drain(queue: WorkQueue[str]) -> list[str]:
    """Every key that is ready now."""
    taken = []
    while len(queue):
        key = await queue.get()
        taken.append(key)
        queue.done(key)
    return taken


async def test_a_key_is_queued_once_however_often_it_is_added() -> None:
    queue = WorkQueue[str]()
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert await drain(queue) == ["a", "b"]


async def test_a_key_in_work_is_not_handed_out_again_and_comes_back_once_when_done() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await drain(queue) == ["a"]


async def test_what_changed_goes_before_the_backlog() -> None:
    queue = WorkQueue[str]()
    queue.add("old", Priority.BACKLOG)
    queue.add("older", Priority.BACKLOG)
    queue.add("new")
    assert await drain(queue) == ["new", "old", "older"]


async def test_what_nobody_has_looked_at_goes_before_what_changed() -> None:
    queue = WorkQueue[str]()
    queue.add("resync", Priority.BACKLOG)
    queue.add("changed")
    queue.add("new", Priority.NEW)
    assert await drain(queue) == ["new", "changed", "resync"]


async def test_a_backlog_key_that_changes_moves_up_and_is_worked_on_once() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "c"):
        queue.add(key, Priority.BACKLOG)
    queue.add("c")
    queue.add("c", Priority.BACKLOG)
    assert await drain(queue) == ["c", "a", "b"]


async def test_a_change_during_work_comes_back_as_a_change_not_as_backlog() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.get()
    queue.add("a", Priority.BACKLOG)
    queue.add("a")
    queue.add("b", Priority.BACKLOG)
    queue.done("a")
    assert await drain(queue) == ["a", "b"]


async def test_a_waiting_worker_gets_a_key_as_soon_as_there_is_one() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(waiting, SOON) == "a"


async def test_each_key_wakes_one_worker_and_a_cancelled_one_passes_it_on() -> None:
    queue = WorkQueue[str]()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, SOON) == "a"


async def test_a_delayed_key_appears_after_its_delay_and_not_before() -> None:
    queue = WorkQueue[str]()
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("a", 0.05)
    assert len(queue) == 0
    assert await asyncio.wait_for(queue.get(), SOON) == "a"
    assert loop.time() - began >= 0.045


async def test_of_two_delays_for_a_key_the_earlier_counts_and_it_comes_once() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.03)
    queue.add_after("a", 30.0)
    queue.add_after("b", 30.0)
    queue.add_after("b", 0.03)
    taken = [await asyncio.wait_for(queue.get(), SOON), await asyncio.wait_for(queue.get(), SOON)]
    assert sorted(taken) == ["a", "b"]
    assert (len(queue), queue.delayed) == (0, 0)


async def test_superseded_delays_do_not_pile_up() -> None:
    clock = iter(float(number) for number in range(1_000_000))
    queue = WorkQueue[str](clock=lambda: next(clock))
    for number in range(10_000):
        queue.add_after("a", 900_000.0 - 2.0 * number)
    assert queue.delayed == 1
    assert len(queue._later) < 100
    queue.close()


async def test_failures_wait_longer_each_time_up_to_a_cap_and_success_starts_over() -> None:
    queue = WorkQueue[str](rng=random.Random(7))
    delays = [queue.retry("a") for _ in range(20)]
    assert BASE_DELAY / 2 <= delays[0] <= BASE_DELAY
    assert MAX_DELAY / 2 <= delays[-1] <= MAX_DELAY
    assert delays[:10] == sorted(delays[:10])
    assert queue.failures("a") == 20
    queue.forget("a")
    assert queue.retry("a") <= BASE_DELAY


async def test_a_wait_the_server_asked_for_is_kept() -> None:
    assert WorkQueue[str]().retry("a", at_least=7.0) >= 7.0


async def test_a_closed_queue_hands_out_nothing_and_lets_waiting_workers_go() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(Closed):
        await asyncio.wait_for(waiting, SOON)
    queue.add("a")
    queue.add_after("a", 0.0)
    with pytest.raises(Closed):
        await queue.get()


@pytest.mark.parametrize("seed", range(5))
async def test_no_key_is_ever_worked_on_twice_at_once_and_none_is_lost(seed: int) -> None:
    source = random.Random(seed)
    queue = WorkQueue[int](rng=random.Random(seed))
    active: set[int] = set()
    wanted: Counter[int] = Counter()
    handled: dict[int, int] = {}

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except Closed:
                return
            assert key not in active
            active.add(key)
            seen = wanted[key]
            await asyncio.sleep(source.uniform(0, 0.002))
            handled[key] = seen
            active.discard(key)
            if source.random() < 0.1:
                queue.retry(key)
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(8)]
    for _ in range(600):
        key = source.randrange(12)
        wanted[key] += 1
        choice = source.random()
        if choice < 0.6:
            queue.add(key, Priority(source.randrange(len(Priority))))
        else:
            queue.add_after(key, source.uniform(0, 0.01))
        if choice < 0.3:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while len(queue) or queue.delayed or queue.working:  # noqa: ASYNC110  the queue announces no rest
            await asyncio.sleep(0.005)
    queue.close()
    await asyncio.gather(*workers)
    assert handled == dict(wanted)
