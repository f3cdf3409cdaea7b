"""Each class of error has one policy, and no error about one object stops the others."""

import asyncio
import logging
from collections import Counter

import pytest

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Throttled, Unavailable
from finetune_operator.control.leader import LeadershipLost
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.result import Result
from finetune_operator.control.worker import SLOW_RETRY, work

KEY = Key("ns", "a")


class Scripted:
    """Answers each reconcile with the next of its script, then with rest."""

    def __init__(self, *script: Result | Exception) -> None:
        self.script = list(script)
        self.advanced: set[Key] = set()
        self.calls: Counter[Key] = Counter()

    async def reconcile(self, key: Key) -> Result:
        self.calls[key] += 1
        step = self.script.pop(0) if self.script else Result("idle")
        if isinstance(step, Exception):
            raise step
        return step


class Results:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def reconciled(self, result: str, seconds: float) -> None:
        self.seen.append(result)


async def drive(reconciler: Scripted, looks: int, quiet: float = 0.1) -> tuple[WorkQueue[Key], list[str]]:
    """Run one worker over one key until it has looked so often, and then for a moment in which one more would be seen."""
    queue, results = WorkQueue[Key](), Results()
    queue.add(KEY)
    worker = asyncio.create_task(work(queue, reconciler, results))  # type: ignore[arg-type]
    async with asyncio.timeout(30):  # what waits for a minute is not waited for
        while len(results.seen) < looks and not worker.done():  # noqa: ASYNC110  a worker announces nothing
            await asyncio.sleep(0.001)
    await asyncio.sleep(quiet)
    delayed = queue.delayed
    if worker.done():
        worker.result()
    queue.close()
    await worker
    assert delayed in (0, 1)
    return queue, results.seen


async def test_a_write_is_followed_by_another_look_and_rest_by_none() -> None:
    reconciler = Scripted(Result("ok", again_now=True), Result("idle"))
    _, seen = await drive(reconciler, 2)
    assert seen == ["ok", "idle"]


async def test_a_wish_for_later_is_kept() -> None:
    reconciler = Scripted(Result("idle", requeue_after=0.05), Result("idle"))
    _, seen = await drive(reconciler, 2)
    assert seen == ["idle", "idle"]


@pytest.mark.parametrize("error", [Conflict("c"), NotFound("n"), Unavailable("u"), Throttled("t"), RuntimeError("a defect")])
async def test_what_may_pass_is_tried_again_within_milliseconds(error: Exception) -> None:
    _, seen = await drive(Scripted(error, Result("idle")), 2)
    assert seen[-1] == "idle"
    assert len(seen) == 2


@pytest.mark.parametrize("error", [Forbidden("f"), Invalid("i")])
async def test_what_only_a_person_can_change_is_looked_at_a_minute_later(error: ApiError, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    _, seen = await drive(Scripted(error), 1)
    assert seen == [type(error).__name__.lower()]
    assert SLOW_RETRY >= 30
    assert caplog.records[0].retry_in >= SLOW_RETRY  # type: ignore[attr-defined]


async def test_a_server_that_asks_for_patience_gets_it() -> None:
    _, seen = await drive(Scripted(Throttled("busy", retry_after=5.0)), 1)
    assert seen == ["throttled"]


async def test_a_failure_after_something_was_written_waits_as_short_as_a_first_one() -> None:
    reconciler, queue = Scripted(*[Unavailable("u") for _ in range(1000)]), WorkQueue[Key]()
    reconciler.advanced.add(KEY)
    queue.add(KEY)
    worker = asyncio.create_task(work(queue, reconciler, Results()))  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while reconciler.calls[KEY] < 12:  # noqa: ASYNC110  a worker announces nothing
            await asyncio.sleep(0.005)
    assert queue.failures(KEY) <= 1, "each of them was a first one"
    queue.close()
    await worker


async def test_a_defect_is_logged_with_its_traceback_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    _, seen = await drive(Scripted(ZeroDivisionError("oops")), 2)
    assert seen == ["defect", "idle"]
    assert caplog.records[0].exc_info is not None


async def test_a_short_conflict_is_no_warning_and_a_lasting_one_is_not_either(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await drive(Scripted(*[Conflict("stale") for _ in range(4)]), 5)
    assert caplog.records == []


async def test_a_lasting_outage_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    await drive(Scripted(*[Unavailable("no route") for _ in range(4)]), 5)
    assert any("no route" in record.getMessage() for record in caplog.records)


async def test_a_long_backlog_does_not_hold_up_the_rest_of_the_process() -> None:
    queue, reconciler, turns = WorkQueue[Key](), Scripted(), 0
    for number in range(1000):
        queue.add(Key("ns", str(number)))
    worker = asyncio.create_task(work(queue, reconciler, Results()))  # type: ignore[arg-type]
    while len(queue):
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 1000
    queue.close()
    await worker


async def test_lost_leadership_ends_the_worker_at_once() -> None:
    with pytest.raises(LeadershipLost):
        await drive(Scripted(LeadershipLost("no lease")), 1)
