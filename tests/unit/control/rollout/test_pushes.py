"""Steps of engines beside the decisions: one at a time for each pod, and none on what was seen before the last one ended."""

import asyncio
from datetime import UTC, datetime, timedelta

from finetune_inference.contract import FingerprintToken
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
    assert pushes.unreachable(pods, 8000)
    assert len(pushes) == 0, "to ask about a pod that is gone does not bring it back"


class Replicas:
    """Engines that load at once; each answers with a log-probability of its own. ``calls`` are what they were asked for."""

    def __init__(self, **answers: float) -> None:
        self.answers = answers
        self.calls: list[str] = []
        self._listed: dict[str, list[Model]] = {}

    async def look(self, url: str, key: str | None, now: datetime) -> EngineAnswer:
        return EngineAnswer("1", (Model("base", "/base", None), *self._listed.get(url, ())))

    async def load(self, url: str, key: str | None, name: str, path: str, *, replace: bool) -> None:
        self.calls.append("load")
        self._listed[url] = [Model(name, path, "base")]

    async def unload(self, url: str, key: str | None, name: str) -> None:
        self.calls.append("unload")
        self._listed[url] = []

    async def prove(self, url: str, key: str | None, name: str, base: str) -> Proof:
        self.calls.append("prove")
        answer = next(value for name, value in self.answers.items() if pod(name)["status"]["podIP"] in url)
        return Proof(0.5, 0.0, (FingerprintToken(token="a" * 12, logprob=f"{answer:.4f}"),))


class Rounds:
    """`Pushes` on ``engines``, round by round, at a time that the test moves."""

    def __init__(self, engines: Replicas) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.engines = engines
        self.pushes = Pushes(engines, NoKey(), wake=lambda _key: self._woken.set(), now=lambda: self.now)
        self._woken = asyncio.Event()

    async def settle(self, name: str, target: PushTarget) -> HeldState | None:
        """One step after the other, until there is none; how far the pod is with the version then."""
        pods = [pod(name)]
        while True:
            self._woken.clear()
            await self.pushes.look(pods, 8000, max_age=0.0)
            before = len(self.engines.calls)
            self.pushes.see_to(KEY, target, pods, 8000)
            await asyncio.sleep(0)
            if len(self.engines.calls) == before:
                held = self.pushes.server_pod(pods[0], 8000, target).held(VERSION)
                return held.state if held is not None else None
            await self._woken.wait()


async def test_a_replica_that_answers_otherwise_never_becomes_what_the_others_are_held_to() -> None:
    target = PushTarget("bot", (WantedVersion(VERSION, PATH),))
    rounds = Rounds(Replicas(a=-0.5, bb=-2.5, ccc=-0.5))
    assert await rounds.settle("a", target) is HeldState.LOADED
    for _ in range(2):
        rounds.engines.calls.clear()
        assert await rounds.settle("bb", target) is HeldState.RETRYING
        assert rounds.engines.calls == ["load", "prove", "unload"]
        rounds.now += timedelta(seconds=60)
    assert await rounds.settle("ccc", target) is HeldState.LOADED
    gone = PushTarget("bot", ())
    assert [await rounds.settle(name, gone) for name in ("a", "bb", "ccc")] == [None, None, None]
    assert await rounds.settle("bb", target) is HeldState.LOADED, "another try begins anew"
