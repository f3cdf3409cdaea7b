"""Steps of engines beside the decisions: one at a time for each pod, and none on what was seen before the last one ended."""

import asyncio
from datetime import datetime

from finetune_operator.cluster.engines import EngineAnswer, Model, Proof
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.domain.rollout.engines import PushTarget, WantedVersion
from finetune_operator.domain.rollout.observed import HeldState
from tests.unit.control.rollout.samples import KEY, VERSION, pod

PATH = f"/adapters/{'a' * 64}"
TARGET = PushTarget("bot", (WantedVersion(VERSION, PATH),), prove=False)


class Engine:
    """Loads when it is told to; ``calls`` are what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.may_load = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.listed = [Model("base", "/base", None)]

    async def look(self, url: str, key: str | None, now: datetime) -> EngineAnswer:
        listed = tuple(self.listed)
        await self.may_answer.wait()
        return EngineAnswer("1", listed)

    async def load(self, url: str, key: str | None, name: str, path: str, *, replace: bool) -> None:
        self.calls.append(f"load {name}")
        await self.may_load.wait()
        self.listed.append(Model(name, path, "base"))

    async def unload(self, url: str, key: str | None, name: str) -> None:
        self.calls.append(f"unload {name}")

    async def prove(self, url: str, key: str | None, name: str, base: str) -> Proof:
        raise AssertionError("no proof was wanted")


class NoKey:
    async def value(self, namespace: str) -> str | None:
        return None

    def forget(self, namespace: str) -> None: ...


async def test_what_was_seen_before_a_step_ended_leads_to_no_other_one() -> None:
    engine, woken = Engine(), asyncio.Event()
    pushes = Pushes(engine, NoKey(), wake=lambda _key: woken.set())
    pods = [pod("s1")]
    await pushes.look(pods, 8000, max_age=0.0)
    pushes.see_to(KEY, TARGET, pods, 8000)
    await asyncio.sleep(0)
    pushes.see_to(KEY, TARGET, pods, 8000)
    engine.may_load.set()
    await woken.wait()
    pushes.see_to(KEY, TARGET, pods, 8000)  # on the look before the load
    await asyncio.sleep(0)
    assert engine.calls == [f"load {VERSION}"]
    await pushes.look(pods, 8000, max_age=3600.0)
    assert pushes.see_to(KEY, TARGET, pods, 8000) is None
    assert pushes.server_pod(pods[0], 8000, TARGET).versions[0].state is HeldState.LOADED
    assert engine.calls == [f"load {VERSION}"]
    await pushes.close()


async def test_a_look_that_a_step_overtakes_counts_as_none() -> None:
    engine, woken = Engine(), asyncio.Event()
    pushes = Pushes(engine, NoKey(), wake=lambda _key: woken.set())
    pods = [pod("s1")]
    await pushes.look(pods, 8000, max_age=0.0)
    engine.may_answer.clear()
    overtaken = asyncio.create_task(pushes.look(pods, 8000, max_age=0.0))
    await asyncio.sleep(0.01)
    engine.may_load.set()
    pushes.see_to(KEY, TARGET, pods, 8000)
    await woken.wait()
    engine.may_answer.set()
    await overtaken
    pushes.see_to(KEY, TARGET, pods, 8000)
    await asyncio.sleep(0)
    assert engine.calls == [f"load {VERSION}"]
    await pushes.close()


async def test_a_pod_that_is_gone_takes_its_step_with_it() -> None:
    engine = Engine()
    pushes = Pushes(engine, NoKey(), wake=lambda _key: None)
    pods = [pod("s1")]
    await pushes.look(pods, 8000, max_age=0.0)
    pushes.see_to(KEY, TARGET, pods, 8000)
    await asyncio.sleep(0)
    pushes.drop("ns", "uid-s1")
    engine.may_load.set()
    await asyncio.sleep(0.01)
    assert engine.calls == [f"load {VERSION}"]
    assert len(engine.listed) == 1, "it was given up"
    assert pushes.server_pod(pods[0], 8000, TARGET).versions[0].reason == "EngineUnreachable"
