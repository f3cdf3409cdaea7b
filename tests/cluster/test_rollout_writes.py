"""What carrying out a decision about a rollout writes, and what it refuses to: on a real API server, with decisions the test makes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from finetune_inference.contract import Acknowledgement, AgentStatus
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.base import API_VERSION, FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_SERVING_ROLE
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import Conflict, Forbidden, Unavailable
from finetune_operator.cluster.exposition import MetricLine
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, DEPLOYMENTS, SERVICES
from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.result import Result
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children, ServingObjects
from finetune_operator.control.rollout.finalizer import FINALIZER
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.reconciler import RolloutReconciler
from finetune_operator.control.rollout.refusals import REFUSED_SECONDS
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.domain.plan import EventNote
from finetune_operator.domain.rollout.observed import RolloutObserved, RolloutSettings
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import MergedModel
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.rollout_metrics import RolloutMetrics
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object, Place

ROUTE = {"deployment": "bot", "alias": "bot", "generation": 1, "stable": "bot--0123456789ab", "versions": ["bot--0123456789ab"]}
SERVING: Object = {"phase": "Healthy", "observedGeneration": 1, "route": ROUTE}
WAITING: Object = {"phase": "Pending", "observedGeneration": 1}
NOTE = EventNote("Normal", "Validating", "Start", "it begins")


class NoPods:
    """Nobody answers; counts how often somebody was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def acknowledgement(self, ip: str) -> Acknowledgement:
        self.asked += 1
        raise NoAnswer

    async def agent_status(self, ip: str) -> AgentStatus:
        raise NoAnswer

    async def probe(self, ip: str, alias: str, version: str, token: str) -> None:
        raise NoAnswer

    async def samples(self, ip: str, deployments: frozenset[str]) -> dict[str, list[MetricLine]]:
        raise NoAnswer


@dataclass
class Objects:
    """Manifests of a server and of a namespace."""

    port: int = 80
    flaw: str = ""
    replicas: Any = 1
    claims: list[Sequence[str]] = field(default_factory=list)

    def mistake(self, spec: AdapterDeploymentSpec) -> str:
        return self.flaw

    def server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, claims: Sequence[str]) -> list[Object]:
        self.claims.append(claims)
        reference = {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "name": owner.name, "uid": owner.uid, "controller": True}
        labels = {"app": owner.name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "registry.invalid/x:0"}]}}
        return [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": f"server-{owner.name}", "namespace": owner.namespace, "ownerReferences": [reference]},
                "spec": {"replicas": self.replicas, "selector": {"matchLabels": labels}, "template": template},
            }
        ]

    def merged_server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, models: Sequence[MergedModel]) -> list[Object]:
        raise AssertionError("no object here is in mode Merged")

    def check_objects(self, owner: Owner) -> list[Object]:
        return []

    def namespace_objects(self, namespace: str) -> list[Object]:
        metadata = {"name": "finetune-router", "namespace": namespace, "labels": {LABEL_MANAGED_BY: FIELD_MANAGER}}
        spec = {"selector": {LABEL_SERVING_ROLE: "router"}, "ports": [{"port": self.port}]}
        return [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}]


class Rig:
    """A reconciler in this process whose decisions are scripted."""

    def __init__(
        self, kube: KubeApi, place: Place, objects: ServingObjects | None = None, jobs: Jobs | None = None, *, checks: bool = False
    ) -> None:
        self.kube, self.place = kube, place
        self.pods, self.clock = NoPods(), 1000.0
        self.cache = ServingCache(lambda _key: None)
        self.plans: list[RolloutPlan] = []
        self.observed: list[RolloutObserved] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.children = Children(kube, objects, clock=lambda: self.clock) if objects is not None else None
        self.reconciler = RolloutReconciler(
            kube,
            self.cache,
            self._decide,
            readings=Readings(self.pods, clock=lambda: self.clock),
            schemas=Schemas(kube),
            children=self.children,
            jobs=jobs,
            prober=Prober(self.pods, lambda: ""),
            recorder=Recorder(kube, instance="test", kind=ADAPTER_DEPLOYMENTS),
            measures=RolloutMetrics(Metrics()),
            settings=RolloutSettings(checks_files=checks),
        )

    def _decide(self, observed: RolloutObserved, now: datetime) -> RolloutPlan:
        self.observed.append(observed)
        self.meanwhile()
        return self.plans.pop(0) if self.plans else RolloutPlan()

    def path(self, name: str = "bot") -> str:
        return self.place.path("adapterdeployments", name, API_VERSION)

    def add(self, name: str = "bot", more: Object | None = None, **metadata: Any) -> Key:
        spec = {
            "modelName": name,
            "adapter": {"fineTuneJobRef": {"name": "j"}},
            "baseModel": {"uri": "pvc://m/b"},
            "server": {"managed": {}},
            **(more or {}),
        }
        document = {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": {"name": name, **metadata}, "spec": spec}
        self.place.server.request("POST", self.path(""), document)
        return self.know(name)

    def know(self, name: str = "bot") -> Key:
        """As the watch would bring it."""
        key, found = Key(self.place.namespace, name), self.get(name)
        self.cache.deployments.put(found)
        return key

    def get(self, name: str = "bot") -> Object:
        found: Object = self.place.server.request("GET", self.path(name))
        return found

    def events(self) -> list[str]:
        items = self.place.server.request("GET", self.place.path("events", group="events.k8s.io/v1"))["items"]
        return [item["reason"] for item in items if item["regarding"]["kind"] == "AdapterDeployment"]

    async def once(self, *plans: RolloutPlan, name: str = "bot") -> Result:
        self.plans += plans
        return await self.reconciler.reconcile(Key(self.place.namespace, name))


@pytest.fixture
async def kube(t1: Testbed) -> AsyncIterator[KubeApi]:
    connection = await KubeApi.connect(t1.kubeconfig)
    yield connection
    await connection.close()


@pytest.fixture
def place(t1: Testbed) -> Any:
    with finetunejobs.place(t1, claims=()) as here:
        install(here.server, ADAPTERDEPLOYMENT)
        yield here


async def test_the_finalizer_comes_before_the_first_status_that_anybody_acts_upon(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place)
    rig.add(finalizers=["example.org/other"])
    await rig.once(RolloutPlan(status=WAITING), RolloutPlan(status=WAITING))
    assert rig.get()["metadata"]["finalizers"] == ["example.org/other"]
    refused = Conflict("no", status=409)
    write, rig.kube.apply_status = rig.kube.apply_status, _raising(refused)  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        await rig.once(RolloutPlan(status=SERVING), RolloutPlan(status=SERVING))
    assert rig.get()["metadata"]["finalizers"] == ["example.org/other", FINALIZER]
    assert "route" not in rig.get()["status"]
    rig.kube.apply_status = write  # type: ignore[method-assign]
    rig.plans.clear()
    result = await rig.once(RolloutPlan(status=SERVING), RolloutPlan(status=SERVING))
    assert (result.outcome, result.again_now) == ("ok", True)
    assert rig.get()["status"]["route"]["stable"] == ROUTE["stable"]


async def test_a_status_that_somebody_else_wrote_meanwhile_is_not_overwritten(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place)
    key = rig.add()
    rig.meanwhile = lambda: place.server.request("PATCH", rig.path() + "/status", {"status": {"phase": "Paused"}}, MERGE)
    with pytest.raises(Conflict):
        await rig.once(RolloutPlan(status=WAITING, events=(NOTE,)), RolloutPlan(status=WAITING, events=(NOTE,)))
    assert rig.get()["status"] == {"phase": "Paused"}
    assert rig.events() == [], "what was not written did not happen"
    known = rig.cache.deployments.get(key)
    assert known is not None
    assert known["status"] == {"phase": "Paused"}, "the next decision is about what lies there"


async def test_events_follow_a_written_status(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place)
    rig.add()
    await rig.once(RolloutPlan(status=WAITING, events=(NOTE,)), RolloutPlan(status=WAITING, events=(NOTE,)))
    assert rig.events() == ["Validating"]


async def test_at_rest_nothing_is_decided_on_old_answers(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place)
    rig.add()
    labels = {LABEL_SERVING_ROLE: "router"}
    metadata = {"namespace": place.namespace, "name": "r", "uid": "r", "resourceVersion": "1", "labels": labels}
    ready = [{"type": "Ready", "status": "True"}]
    rig.cache.pods.put({"metadata": metadata, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": ready}})
    assert (await rig.once(RolloutPlan())).outcome == "idle"
    assert (rig.pods.asked, len(rig.observed)) == (1, 1)
    rig.clock += 30.0
    await rig.once(RolloutPlan())
    assert (rig.pods.asked, len(rig.observed)) == (1, 2), "30 s is no age for a deployment at rest"
    await rig.once(RolloutPlan(status=WAITING), RolloutPlan(status=WAITING))
    assert (rig.pods.asked, len(rig.observed)) == (2, 4), "what would be written is decided once more, on a new answer"


async def test_a_deleted_object_goes_and_what_others_hold_stays(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place)
    rig.add(finalizers=["example.org/other", FINALIZER])
    place.server.request("DELETE", rig.path())
    rig.know()
    await rig.once(RolloutPlan(release=True))
    assert rig.get()["metadata"]["finalizers"] == ["example.org/other"]
    version = rig.get()["metadata"]["resourceVersion"]
    assert (await rig.once(RolloutPlan(release=True))).outcome == "idle"
    assert rig.get()["metadata"]["resourceVersion"] == version
    place.server.request("PATCH", rig.path(), {"metadata": {"finalizers": None}}, MERGE)


async def test_objects_are_applied_once_and_again_only_when_they_change(kube: KubeApi, place: Place) -> None:
    objects = Objects()
    rig = Rig(kube, place, objects)
    key = rig.add()
    await rig.once()
    first = await kube.get(DEPLOYMENTS, key.namespace, "server-bot")
    assert first["metadata"]["ownerReferences"][0]["uid"] == rig.get()["metadata"]["uid"]
    rig.clock += 3600
    await rig.once()
    await Rig(kube, place, objects).reconciler.reconcile(rig.know())
    again = await kube.get(DEPLOYMENTS, key.namespace, "server-bot")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    objects.replicas = 3
    await rig.once()
    assert (await kube.get(DEPLOYMENTS, key.namespace, "server-bot"))["spec"]["replicas"] == 3
    await kube.delete(
        SERVICES, key.namespace, "finetune-router", uid=(await kube.get(SERVICES, key.namespace, "finetune-router"))["metadata"]["uid"]
    )
    rig.clock += 3600
    await rig.once()
    await kube.get(SERVICES, key.namespace, "finetune-router")


async def test_what_is_refused_is_told_to_the_decision_and_tried_again_later(kube: KubeApi, place: Place) -> None:
    objects = Objects(replicas="many")
    rig = Rig(kube, place, objects)
    key = rig.add()
    await rig.once()
    assert "does not take Deployment server-bot" in rig.observed[-1].refusal
    assert "replicas" in rig.observed[-1].refusal
    objects.replicas = 1
    objects.port = 70_000
    await rig.once()
    assert "Service finetune-router" in rig.observed[-1].refusal
    objects.port = 80
    await rig.once()
    assert rig.observed[-1].refusal == ""
    objects.flaw = "spec.baseModel.uri is not on a claim."
    await rig.once()
    assert rig.observed[-1].refusal == objects.flaw
    assert (await kube.get(DEPLOYMENTS, key.namespace, "server-bot"))["spec"]["replicas"] == 1, "what runs goes on"


async def test_what_is_refused_at_rest_is_tried_again_after_a_minute(kube: KubeApi, place: Place) -> None:
    objects = Objects(replicas="many")
    rig = Rig(kube, place, objects)
    key = rig.add()
    assert (await rig.once()).requeue_after == REFUSED_SECONDS
    apply, kube.apply = kube.apply, _raising(Forbidden("exceeded quota: small", status=403))  # type: ignore[method-assign]
    rig.clock += REFUSED_SECONDS
    await rig.once()
    assert "exceeded quota: small. Free quota in this namespace" in rig.observed[-1].refusal
    kube.apply, objects.replicas = apply, 1  # type: ignore[method-assign]
    rig.clock += REFUSED_SECONDS
    again = (await rig.once()).requeue_after
    assert again is not None
    assert again > REFUSED_SECONDS
    assert (await kube.get(DEPLOYMENTS, key.namespace, "server-bot"))["spec"]["replicas"] == 1


async def test_trouble_with_the_objects_does_not_hold_up_a_decision(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.add()
    apply, kube.apply = kube.apply, _raising(Unavailable("a webhook is away", status=500))  # type: ignore[method-assign]
    result = await rig.once(RolloutPlan(status=WAITING), RolloutPlan(status=WAITING))
    assert rig.get()["status"] == WAITING
    assert result.requeue_after is not None
    assert result.requeue_after <= RolloutSettings().look_seconds
    kube.apply = apply  # type: ignore[method-assign]
    await rig.once()
    await kube.get(DEPLOYMENTS, place.namespace, "server-bot")


async def test_an_object_of_somebody_else_is_left_alone(kube: KubeApi, place: Place) -> None:
    spec = {"selector": {"app": "theirs"}, "ports": [{"port": 81}]}
    place.server.request("POST", place.path("services"), {"metadata": {"name": "finetune-router"}, "spec": spec})
    rig = Rig(kube, place, Objects())
    rig.add()
    await rig.once()
    assert "belongs to somebody else" in rig.observed[-1].refusal
    assert (await kube.get(SERVICES, place.namespace, "finetune-router"))["spec"]["selector"] == {"app": "theirs"}


async def test_the_last_of_a_namespace_takes_the_shared_objects_with_it(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    for name in ("bot", "other"):
        rig.add(name, finalizers=[FINALIZER])
        await rig.once(name=name)
    await _delete(rig, "other")
    await kube.get(SERVICES, place.namespace, "finetune-router")
    await _delete(rig, "bot")
    assert place.server.request("GET", place.path("services"))["items"] == []


async def test_one_that_never_served_takes_the_shared_objects_with_it_too(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.add()
    await rig.once(RolloutPlan(status=WAITING), RolloutPlan(status=WAITING))
    await kube.get(SERVICES, place.namespace, "finetune-router")
    await _delete(rig, "bot")
    assert place.server.request("GET", place.path("services"))["items"] == []
    assert place.server.request("GET", place.path("adapterdeployments", group=API_VERSION))["items"] == []


async def test_pods_that_nobody_can_list_do_not_keep_what_never_served(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.cache.complete = lambda _key: False  # type: ignore[method-assign]
    rig.add()
    assert (await rig.once()).outcome == "idle"
    assert rig.get()["metadata"]["finalizers"] == [FINALIZER]
    await _delete(rig, "bot")
    assert place.server.request("GET", place.path("adapterdeployments", group=API_VERSION))["items"] == []


async def test_nothing_is_made_for_an_object_that_is_gone(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.add()
    place.server.request("DELETE", rig.path())
    await rig.once()
    assert place.server.request("GET", place.path("services"))["items"] == []


async def test_one_that_never_had_anything_keeps_the_shared_objects_of_none(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.add("other")
    rig.add(finalizers=[FINALIZER])
    await rig.once()
    await _delete(rig, "bot")
    assert place.server.request("GET", place.path("services"))["items"] == []


async def test_of_two_that_go_at_once_one_takes_the_shared_objects(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    for name in ("bot", "other"):
        rig.add(name, finalizers=[FINALIZER])
        await rig.once(name=name)
    for name in ("bot", "other"):
        place.server.request("DELETE", rig.path(name))
        rig.know(name)
    rig.plans += [RolloutPlan(release=True)] * 4
    await asyncio.gather(*(rig.reconciler.reconcile(Key(place.namespace, name)) for name in ("bot", "other")))
    assert place.server.request("GET", place.path("services"))["items"] == []
    assert place.server.request("GET", place.path("adapterdeployments", group=API_VERSION))["items"] == []


async def test_one_that_drains_still_keeps_the_shared_objects(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    for name in ("bot", "other"):
        rig.add(name, finalizers=[FINALIZER])
        await rig.once(name=name)
        place.server.request("DELETE", rig.path(name))
        rig.know(name)
    await rig.once(RolloutPlan(release=True), RolloutPlan(release=True), name="other")
    await kube.get(SERVICES, place.namespace, "finetune-router")
    rig.plans.clear()
    await rig.once(RolloutPlan(release=True), RolloutPlan(release=True))
    assert place.server.request("GET", place.path("services"))["items"] == []


async def test_what_may_not_be_deleted_does_not_keep_a_deployment(kube: KubeApi, place: Place) -> None:
    rig = Rig(kube, place, Objects())
    rig.add(finalizers=[FINALIZER])
    await rig.once()
    kube.delete = _raising(Forbidden("no right", status=403))  # type: ignore[method-assign]
    await _delete(rig, "bot")
    assert place.server.request("GET", place.path("adapterdeployments", group=API_VERSION))["items"] == []


async def _delete(rig: Rig, name: str) -> None:
    rig.place.server.request("DELETE", rig.path(name))
    key = rig.know(name)
    await rig.once(RolloutPlan(release=True), name=name)
    rig.cache.deployments.remove(key)


def _raising(error: Exception) -> Any:
    async def fail(*_arguments: Any, **_options: Any) -> Any:
        raise error

    return fail
