"""A namespace that is being deleted: its pods end at once, and nothing is made any more. One that is deleted alone drains as ever."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.cluster.cache import ParentStore
from finetune_operator.cluster.errors import NotFound
from finetune_operator.cluster.kube import Page, Selection
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.endings import Endings
from finetune_operator.control.rollout.objects import InstalledObjects
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.reconciler import RolloutReconciler
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.domain.rollout.decide import decide
from finetune_operator.domain.rollout.observed import RolloutSettings
from finetune_trainer.contract.governance.facts import Site
from tests.unit.control.rollout.samples import KEY, VERSION, Object, deployment, pod
from tests.unit.control.rollout.test_pods_out_of_sight import Silent
from tests.unit.manifests.serving.samples import SETTINGS

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROUTE = {"deployment": "bot", "alias": "bot", "generation": 1, "stable": VERSION, "versions": [VERSION]}


class Cluster:
    """Keeps what is applied; ``deleted`` are kind and name of what was."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Object] = {}
        self.stored: Object = {}
        self.deleted: list[str] = []
        self.applied = 0

    async def apply(self, resource: Resource, manifest: Object, *, force: bool = True) -> Object:
        self.applied += 1
        name = manifest["metadata"]["name"]
        made = {**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{name}"}}
        self.kept[resource.kind, name] = made
        return made

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        if (resource.kind, name) not in self.kept:
            raise NotFound("not here", status=404, reason="NotFound")
        return self.kept[resource.kind, name]

    async def pages(self, resource: Resource, selection: Selection) -> AsyncIterator[Page]:
        wanted = dict(part.split("=") for part in selection.labels.split(","))
        found = [each for (kind, _), each in self.kept.items() if kind == resource.kind]
        yield Page([each for each in found if wanted.items() <= each["metadata"].get("labels", {}).items()], "1")

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "Background") -> None:
        assert self.kept.pop((resource.kind, name))["metadata"]["uid"] == uid
        self.deleted.append(f"{resource.kind} {name}")

    async def apply_status(self, resource: Resource, manifest: Object) -> Object:
        return self._write({}, status=manifest["status"])

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        return self._write({"finalizers": patch["metadata"]["finalizers"]})

    def _write(self, metadata: Object, **parts: Object) -> Object:
        version = str(int(self.stored["metadata"]["resourceVersion"]) + 1)
        self.stored = {**self.stored, **parts, "metadata": {**self.stored["metadata"], **metadata, "resourceVersion": version}}
        return self.stored


class Operator:
    def __init__(self) -> None:
        self.cluster, silent, self.ending = Cluster(), Silent(), False
        self.cache = ServingCache(lambda _key: None)
        self._reconciler = RolloutReconciler(
            self.cluster,
            self.cache,
            decide,
            readings=Readings(silent),
            schemas=Schemas(self.cluster),
            children=Children(self.cluster, InstalledObjects(SETTINGS)),
            prober=Prober(silent, lambda: ""),  # type: ignore[arg-type]
            recorder=silent,  # type: ignore[arg-type]
            measures=silent,  # type: ignore[arg-type]
            settings=RolloutSettings(),
            is_ending=lambda _namespace: self.ending,
            now=lambda: NOON,
        )

    async def rounds(self, stored: Object, count: int = 1) -> None:
        self.cluster.stored = stored
        self.cache.deployments.put(stored)
        for _ in range(count):
            await self._reconciler.reconcile(KEY)


@pytest.fixture
async def serving() -> Operator:
    """Its servers and routers are made, and those of a neighbour."""
    operator = Operator()
    await operator.rounds(deployment())
    assert {name for kind, name in operator.cluster.kept if kind == "Deployment"} == {"server-bot", "finetune-router"}
    neighbour = operator.cluster.kept["Deployment", "server-bot"]
    metadata = {**neighbour["metadata"], "name": "server-other", "labels": {"finetune.dev/deployment": "other"}}
    operator.cluster.kept["Deployment", "server-other"] = {**neighbour, "metadata": metadata}
    return operator


async def test_what_runs_pods_ends_at_once_and_nothing_is_made_any_more(serving: Operator) -> None:
    cluster, serving.ending = serving.cluster, True
    applied = cluster.applied
    await serving.rounds(deployment(version=20), 3)
    assert cluster.deleted == ["Deployment server-bot", "Deployment finetune-router"], "once each, and no policy while pods may run"
    assert {kind for kind, _ in cluster.kept} >= {"NetworkPolicy", "Service", "Role"}
    assert cluster.applied == applied
    ready = next(each for each in cluster.stored["status"]["conditions"] if each["type"] == "Ready")
    assert "namespace ns is being deleted, and what serves there ends with it. Create the Ad" in ready["message"]


async def test_one_that_is_deleted_there_loses_its_pods_as_well_and_goes_when_they_have(serving: Operator) -> None:
    cluster, serving.ending = serving.cluster, True
    going = deployment(version=20, status={"route": ROUTE}, deletionTimestamp="2026-11-22T12:00:00Z", finalizers=["finetune.dev/drain"])
    await serving.rounds(going, 3)
    assert "Deployment server-bot" in cluster.deleted
    assert cluster.stored["metadata"]["finalizers"] == []


async def test_one_that_is_deleted_alone_drains_as_ever(serving: Operator) -> None:
    serving.cache.pods.put(pod("r1", "router"))
    going = deployment(version=20, status={"route": ROUTE}, deletionTimestamp="2026-11-22T12:00:00Z", finalizers=["finetune.dev/drain"])
    await serving.rounds(going, 3)
    assert serving.cluster.deleted == []
    assert serving.cluster.stored["metadata"]["finalizers"] == ["finetune.dev/drain"], "its router has yet to close the alias"


def namespace(**metadata: Any) -> Object:
    return {"metadata": {"name": "ns", "uid": "u", "resourceVersion": "7", **metadata}}


def test_of_namespaces_only_those_that_end_are_named_and_tell_so_once() -> None:
    told: list[str] = []
    endings = Endings(told.append)
    endings.namespaces.put(namespace())
    assert ("ns" in endings, told) == (False, [])
    for version in ("8", "9"):
        endings.namespaces.put(namespace(deletionTimestamp="2026-11-22T12:00:00Z", resourceVersion=version))
    assert ("ns" in endings, told) == (True, ["ns"])
    endings.namespaces.remove(namespace(resourceVersion="10"))
    assert "ns" not in endings


def test_a_namespace_that_is_made_again_by_its_name_while_nobody_looked_does_not_end() -> None:
    """A list after a gap in the watch brings the new one alone: nobody has told that the former one is gone."""
    told: list[str] = []
    endings = Endings(told.append)
    endings.namespaces.put(namespace(deletionTimestamp="2026-11-22T12:00:00Z", resourceVersion="8"))
    again = namespace(uid="another", resourceVersion="20")
    endings.namespaces.put(again)
    assert again["metadata"]["name"] not in endings


def test_governance_knows_it_of_the_namespaces_that_it_watches_anyway() -> None:
    cache = GovernanceCache(ParentStore(), lambda _key: None, Site())
    told: list[str] = []
    cache.also_tell([KEY], lambda key: told.append(key.namespace))
    cache.namespaces.put(namespace())
    cache.live()
    assert not cache.is_ending("ns")
    cache.namespaces.put(namespace(deletionTimestamp="2026-11-22T12:00:00Z", resourceVersion="8"))
    assert (cache.is_ending("ns"), told) == (True, ["ns"])
