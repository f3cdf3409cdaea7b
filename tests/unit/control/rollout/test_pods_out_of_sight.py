"""Pods of the user's own that cannot be listed, and engines that cannot be asked: said in the object, and a deletion always ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from finetune_inference.contract import AgentStatus
from finetune_operator.cluster.engines import Engines
from finetune_operator.cluster.errors import ApiError, Invalid
from finetune_operator.cluster.kube import Selection
from finetune_operator.cluster.resources import Resource
from finetune_operator.cluster.selected import SelectedPods
from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.finalizer import FINALIZER
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.reconciler import RolloutReconciler
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.domain.rollout.decide import decide
from finetune_operator.domain.rollout.observed import RolloutSettings
from tests.unit.control.rollout.samples import DIGEST, KEY, VERSION, Object, deployment, pod

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
REFUSED = Invalid("prefix part must be no more than 253 characters", status=400, reason="BadRequest")
OWN = {"matchLabels": {"app": "vllm"}, "adapterMountPath": "/adapters"}


class Cluster:
    """Lists ``pods``, or refuses to; keeps what is written of the one AdapterDeployment."""

    def __init__(self, pods: list[Object] | ApiError) -> None:
        self.pods = pods
        self.stored: Object = {}

    async def pages(self, resource: Resource, selection: Selection) -> AsyncIterator[Any]:
        if isinstance(self.pods, ApiError):
            raise self.pods
        yield type("Page", (), {"resource_version": "1", "items": self.pods})

    async def watch(self, *_args: Any, **_options: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    async def apply_status(self, resource: Resource, manifest: Object) -> Object:
        return self._write({"status": manifest["status"]})

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        return self._write({"metadata": {**self.stored["metadata"], "finalizers": patch["metadata"]["finalizers"]}})

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return self.stored

    def _write(self, changes: Object) -> Object:
        self.stored = {**self.stored, **changes}
        self.stored["metadata"] = {**self.stored["metadata"], "resourceVersion": str(int(self.stored["metadata"]["resourceVersion"]) + 1)}
        return self.stored

    @property
    def ready(self) -> str:
        conditions: list[Object] = self.stored["status"]["conditions"]
        return str(next(each["message"] for each in conditions if each["type"] == "Ready"))


class Silent:
    """Pods that answer nothing, events that go nowhere, figures that nobody wants."""

    async def acknowledgement(self, ip: str) -> Any:
        raise NoAnswer("silent")

    async def agent_status(self, ip: str) -> AgentStatus:
        raise NoAnswer("silent")

    async def samples(self, ip: str, deployments: frozenset[str]) -> Any:
        raise NoAnswer("silent")

    async def record(self, *_args: Any) -> str:
        return "ok"

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_args: None


class OneKey:
    def __init__(self, key: str) -> None:
        self.key = key

    async def value(self, namespace: str) -> str:
        return self.key

    def forget(self, namespace: str) -> None: ...


class Operator:
    """The reconciler on a cluster, step by step, at a time that the test moves."""

    def __init__(self, cluster: Cluster, stored: Object, key: str = "") -> None:
        self.cluster, silent = cluster, Silent()
        cluster.stored = stored
        self.selected = SelectedPods(cluster, lambda _key: None)  # type: ignore[arg-type]
        self.cache = ServingCache(lambda _key: None, selected=self.selected)
        self.pushes = Pushes(Engines(), OneKey(key), wake=lambda _key: None)
        self._reconciler = RolloutReconciler(
            cluster,
            self.cache,
            decide,
            readings=Readings(silent),
            schemas=Schemas(cluster),
            children=None,
            prober=Prober(silent, lambda: ""),  # type: ignore[arg-type]
            pushes=self.pushes,
            recorder=silent,  # type: ignore[arg-type]
            measures=silent,  # type: ignore[arg-type]
            settings=RolloutSettings(),
            now=lambda: NOON,
        )

    async def rounds(self, count: int) -> None:
        self.cache.deployments.put(self.cluster.stored)
        async with asyncio.timeout(60):
            while not self.cache.complete(KEY) and not self.cache.unlisted(KEY):  # noqa: ASYNC110  nobody is told of a refusal
                await asyncio.sleep(0)
        for _ in range(count):
            if KEY in self.cache.deployments:
                await self._reconciler.reconcile(KEY)

    async def close(self) -> None:
        await self.pushes.close()
        await self.selected.close()


def external(**metadata: Any) -> Object:
    return deployment(spec={"server": {"external": OWN}, "adapter": {"uri": f"pvc://adapters/{DIGEST[7:]}", "digest": DIGEST}}, **metadata)


def deleted() -> Object:
    """An object that served, whose pods may hold its version still."""
    route = {"deployment": "bot", "alias": "bot", "generation": 1, "stable": VERSION, "versions": [VERSION]}
    desired = {"generation": 1, "versions": [{"name": VERSION, "uri": f"pvc://adapters/{DIGEST[7:]}", "digest": DIGEST}]}
    return external(status={"route": route, "desired": desired}, deletionTimestamp="2026-11-22T11:59:00Z", finalizers=[FINALIZER])


async def test_labels_that_the_api_server_refuses_are_said_with_field_reason_and_way_out() -> None:
    operator = Operator(Cluster(REFUSED), external())
    await operator.rounds(2)
    await operator.close()
    assert "spec.server.external.matchLabels: the API server does not list pods by them: prefix part" in operator.cluster.ready
    assert "Correct the labels" in operator.cluster.ready


async def test_an_object_whose_labels_are_refused_is_let_go() -> None:
    operator = Operator(Cluster(REFUSED), deleted())
    await operator.rounds(4)
    await operator.close()
    assert operator.cluster.stored["metadata"]["finalizers"] == []


async def test_pods_that_are_not_known_yet_are_waited_for() -> None:
    cluster = Cluster([])
    operator = Operator(cluster, deleted())
    operator.cache.deployments.put(cluster.stored)
    await operator._reconciler.reconcile(KEY)
    await operator.close()
    assert cluster.stored["metadata"]["finalizers"] == [FINALIZER]
    assert "drainingSince" not in cluster.stored["status"]


async def test_a_key_that_no_header_can_carry_is_said_and_holds_up_no_deletion() -> None:
    key = "first line\nsecond line"
    engines = [pod("s1", role="engine")]
    begun = Operator(Cluster(engines), external(), key)
    await begun.rounds(4)
    await begun.close()
    assert "EngineKeyUnusable" in begun.cluster.ready
    assert "Secret finetune-engine-key of this namespace" in begun.cluster.ready
    assert "second line" not in str(begun.cluster.stored)
    ended = Operator(Cluster(engines), deleted(), key)
    await ended.rounds(4)
    await ended.close()
    assert ended.cluster.stored["metadata"]["finalizers"] == []
