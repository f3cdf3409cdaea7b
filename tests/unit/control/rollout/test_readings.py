"""Pods are asked when a decision needs something newer, and not otherwise."""

import asyncio
from collections import Counter
from collections.abc import Mapping

from finetune_inference.contract import Acknowledgement, AgentStatus
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.exposition import MetricLine
from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.rollout.readings import Readings
from tests.unit.control.rollout.samples import KEY, acknowledgement, agent, pod

LINE = MetricLine("adapter_router_requests_total", {"namespace": "ns", "deployment": "bot", "version": "v"}, 3.0)
ROUTER, SERVER = pod("r1", "router"), pod("s-1")


class Pods:
    """Counts the questions; ``silent`` gives no answer."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.silent = False
        self.unreadable = False
        self.wanted: list[frozenset[str]] = []

    async def _answer(self, what: str) -> None:
        self.asked[what] += 1
        await asyncio.sleep(0)
        if self.silent:
            raise NoAnswer("nothing")

    async def acknowledgement(self, ip: str) -> Acknowledgement:
        await self._answer("routes")
        return acknowledgement()

    async def agent_status(self, ip: str) -> AgentStatus:
        await self._answer("status")
        return agent()

    async def samples(self, ip: str, deployments: frozenset[str]) -> Mapping[str, list[MetricLine]]:
        self.wanted.append(deployments)
        await self._answer("metrics")
        if self.unreadable:
            raise NoAnswer("no sample")
        return {name: [LINE] if name == "bot" else [] for name in deployments}


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.pods = Pods()
        self.results: Counter[tuple[str, str]] = Counter()
        self.readings = Readings(self.pods, read=lambda role, result: self.results.update([(role, result)]), clock=lambda: self.now)

    async def look(self, max_age: float = 1.0, *, samples: bool = False, key: Key = KEY, **version: int) -> None:
        routers = [{**ROUTER, "metadata": {**ROUTER["metadata"], "resourceVersion": str(version.get("router", 1))}}]
        await self.readings.look(key, routers, [SERVER], max_age=max_age, samples=samples)


async def test_a_reading_is_used_until_it_is_old_or_its_pod_changes() -> None:
    rig = Rig()
    await rig.look()
    await rig.look()
    assert rig.pods.asked == {"routes": 1, "status": 1}
    rig.now += 1.5
    await rig.look(max_age=10.0)
    assert rig.pods.asked["routes"] == 1
    await rig.look()
    assert rig.pods.asked == {"routes": 2, "status": 2}
    await rig.look(router=2)
    assert rig.pods.asked == {"routes": 3, "status": 2}


async def test_counters_are_read_only_while_they_are_wanted_and_for_all_who_want_them() -> None:
    rig = Rig()
    await rig.look()
    await rig.look(samples=True)
    assert rig.pods.asked["metrics"] == 1
    reading = rig.readings.router(ROUTER)
    assert reading is not None
    assert reading.samples is not None
    assert [sample.value for sample in reading.samples["bot"]] == [3.0]
    await rig.look(samples=True, key=Key("ns", "other"))
    assert rig.pods.wanted[-1] == {"bot", "other"}
    await rig.look(samples=True)
    assert rig.pods.asked["metrics"] == 2
    rig.now += 2.0
    await rig.look()
    assert rig.pods.wanted[-1] == {"other"}
    rig.readings.forget(Key("ns", "other"))
    rig.now += 2.0
    await rig.look()
    assert rig.pods.asked["metrics"] == 3


async def test_several_at_once_ask_once() -> None:
    rig = Rig()
    await asyncio.gather(*(rig.look() for _ in range(5)))
    assert rig.pods.asked == {"routes": 1, "status": 1}


async def test_silence_is_a_reading_too() -> None:
    rig = Rig()
    rig.pods.silent = True
    await rig.look(samples=True)
    router, server = rig.readings.router(ROUTER), rig.readings.agent(SERVER)
    assert router is not None
    assert router.acknowledged is None
    assert server is not None
    assert server.status is None
    assert rig.results == {("router", "none"): 1, ("server", "none"): 1}
    await rig.look(samples=True)
    assert rig.pods.asked["routes"] == 1


async def test_an_acknowledgement_counts_though_the_counters_cannot_be_read() -> None:
    rig = Rig()
    rig.pods.unreadable = True
    await rig.look(samples=True)
    reading = rig.readings.router(ROUTER)
    assert reading is not None
    assert reading.acknowledged == acknowledgement()
    assert reading.samples is None


async def test_a_pod_without_an_address_is_not_asked_and_one_that_is_gone_forgotten() -> None:
    rig = Rig()
    await rig.readings.look(KEY, [], [pod("s-1", podIP="")], max_age=1.0, samples=False)
    assert rig.pods.asked == {}
    rig.readings.drop("ns", "uid-s-1")
    assert rig.readings.agent(SERVER) is None


async def test_of_a_namespace_whose_pods_and_deployments_are_gone_nothing_is_kept() -> None:
    rig = Rig()
    await rig.look(samples=True)
    late = asyncio.create_task(rig.look(max_age=0.0, key=Key("ns", "other")))
    await asyncio.sleep(0)
    rig.readings.drop("ns", ROUTER["metadata"]["uid"])
    rig.readings.drop("ns", SERVER["metadata"]["uid"])
    rig.readings.forget(KEY)
    await late
    assert len(rig.readings) == 0
    assert rig.readings.router(ROUTER) is None
    assert len(rig.readings) == 0, "to ask keeps nothing"


async def test_a_pod_that_goes_takes_no_reading_of_another_with_it() -> None:
    rig = Rig()
    late = asyncio.create_task(rig.look())
    await asyncio.sleep(0)
    rig.readings.drop("ns", SERVER["metadata"]["uid"])
    await late
    assert rig.readings.router(ROUTER) is not None
    assert rig.readings.agent(SERVER) is None
