"""What pods hold: a refusal is believed at once, an odd answer soon, a late one not for long."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from finetune_inference.contract import Endpoint
from finetune_inference.router import polling
from finetune_inference.router.polling import Poller
from tests.engines.processes import STABLE
from tests.engines.synthetic import Behaviour, Engine
from tests.serving.router.desk import served, until


@asynccontextmanager
async def watching(monkeypatch: pytest.MonkeyPatch, seconds: float = 60.0) -> AsyncIterator[tuple[Poller, Engine]]:
    """A poller that has seen its one pod; afterwards it asks when told."""
    monkeypatch.setattr(polling, "ANSWER_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        engine = Engine(Behaviour(versions=[STABLE]))
        url = await served(engine, stack)
        poller = Poller(seconds, lambda: None)
        poller.start()
        stack.push_async_callback(poller.close)
        poller.follow([Endpoint(deployment="dep", pod="p", url=url)])
        await until(lambda: versions(poller) == (STABLE,))
        yield poller, engine


def versions(poller: Poller) -> tuple[str, ...]:
    return poller.states()[0].versions


async def rounds_until_lost(poller: Poller) -> int:
    """How many more looks it takes until the pod is taken to hold nothing."""
    for number in range(1, 50):
        await poller.refresh(5)
        if versions(poller) == ():
            return number
    raise AssertionError("it never was")


async def test_a_pod_that_is_late_keeps_its_versions_for_many_rounds(monkeypatch):
    async with watching(monkeypatch) as (poller, engine):
        engine.behaviour.hold_models = True
        assert await rounds_until_lost(poller) == polling.PATIENCE


async def test_one_good_answer_makes_up_for_late_ones(monkeypatch):
    async with watching(monkeypatch) as (poller, engine):
        for _ in range(2):
            engine.behaviour.hold_models = True
            for _ in range(polling.PATIENCE - 1):
                await poller.refresh(5)
            engine.behaviour.hold_models = False
            await poller.refresh(5)
        assert versions(poller) == (STABLE,)


async def test_a_pod_that_answers_oddly_loses_them_soon(monkeypatch):
    async with watching(monkeypatch) as (poller, engine):
        engine.behaviour.odd_models = True
        assert await rounds_until_lost(poller) == 3


async def test_a_pod_that_refuses_loses_them_at_once(monkeypatch):
    async with watching(monkeypatch) as (poller, _):
        await poller.close()
        poller.start()
        poller.follow([Endpoint(deployment="dep", pod="p", url="http://127.0.0.1:9")])
        next(iter(poller._watched.values())).versions = (STABLE,)
        assert await rounds_until_lost(poller) == 1


async def test_a_suspected_pod_is_asked_at_once(monkeypatch):
    async with watching(monkeypatch) as (poller, engine):
        engine.behaviour.listed = []
        poller.suspect("p")
        await until(lambda: versions(poller) == ())


async def test_pods_that_left_the_table_are_asked_no_more(monkeypatch):
    async with watching(monkeypatch, seconds=0.1) as (poller, _):
        poller.follow([])
        assert poller.states() == ()
