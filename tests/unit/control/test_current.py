"""The facts that admission reads: written when they differ, and only then; taken away where nothing is governed any more."""

from typing import Any

import pytest

from finetune_operator.api.governance.current import CURRENT, MOST_DATASETS
from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.current import CurrentFacts
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.domain.governance import snapshot as snapshots
from finetune_operator.domain.governance.snapshot import snapshot
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_trainer.contract.governance.facts import Site

GOVERNED = {"finetune.dev/governed": "true"}


class Api:
    """Stores what it is given, and counts."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refuses = False

    async def apply(self, resource: Resource, manifest: dict[str, Any], *, force: bool = True) -> dict[str, Any]:
        self.calls.append(f"apply {manifest['metadata']['namespace']}")
        if self.refuses:
            raise ApiError("no", status=403)
        return {**manifest, "metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": str(100 + len(self.calls))}}

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "Background") -> None:
        self.calls.append(f"delete {namespace} {uid}")


class World:
    def __init__(self, *namespaces: str) -> None:
        self.api = Api()
        self.cache = GovernanceCache(ParentStore(), lambda _key: None, Site())
        self.current = CurrentFacts(self.api, self.cache, namespaces)
        self.version = 0

    def put(self, store: str, name: str, namespace: str = "", labels: dict[str, str] | None = None, **spec: Any) -> None:
        self.version += 1
        metadata = {"name": name, "uid": name, "resourceVersion": str(self.version), "generation": 1, "labels": labels or {}}
        getattr(self.cache, store).put({"metadata": {**metadata, **({"namespace": namespace} if namespace else {})}, "spec": spec})

    def spec(self, namespace: str = "clinic") -> dict[str, Any]:
        found = self.current.stored.get(namespace, CURRENT)
        return dict(found["spec"]) if found else {}


@pytest.fixture
def world() -> World:
    made = World()
    made.put("namespaces", "clinic", labels=GOVERNED)
    made.put("namespaces", "free")
    return made


async def test_a_governed_namespace_is_described_once_and_again_when_it_changes(world: World) -> None:
    assert await world.current.write()
    assert world.api.calls == ["apply clinic"]
    assert world.spec() == {"policies": [], "datasets": [], "complete": True}
    assert await world.current.write()
    assert world.api.calls == ["apply clinic"]
    world.put("policies", "house", match={"namespaceLabels": GOVERNED}, zones=["onprem"])
    world.put("policies", "elsewhere", match={"namespaceLabels": {"team": "a"}})
    world.put("datasets", "notes", "clinic", uri="pvc://data/notes", level="internal", withdrawn={"reason": "no\nconsent"})
    world.put("datasets", "other", "free", uri="pvc://data/other", level="internal")
    assert await world.current.write()
    assert world.api.calls == ["apply clinic"] * 2
    (policy,), (data,) = world.spec()["policies"], world.spec()["datasets"]
    assert policy == {"name": "house", "mode": "Enforce", "minLevel": "public", "regimes": [], "zones": ["onprem"]}
    assert (data["name"], data["digest"], data["withdrawn"]) == ("notes", "", "no?consent")


async def test_what_somebody_else_wrote_there_is_put_right(world: World) -> None:
    await world.current.write()
    edited = {"metadata": {"name": CURRENT, "namespace": "clinic", "uid": "u", "resourceVersion": "500"}, "spec": {"policies": "?"}}
    world.current.stored.put(edited)
    await world.current.write()
    assert world.api.calls == ["apply clinic"] * 2


async def test_one_that_is_governed_no_more_loses_them(world: World) -> None:
    await world.current.write()
    world.put("namespaces", "clinic")
    await world.current.write()
    await world.current.write()
    assert world.api.calls == ["apply clinic", "delete clinic u"]


async def test_what_was_refused_is_due_again(world: World) -> None:
    world.api.refuses = True
    assert not await world.current.write()
    world.api.refuses = False
    assert await world.current.write()
    assert world.spec()["complete"] is True


async def test_others_namespaces_and_those_on_their_way_out_are_left_alone() -> None:
    world = World("mine")
    world.put("namespaces", "clinic", labels=GOVERNED)
    world.cache.namespaces.put(
        {"metadata": {"name": "mine", "uid": "m", "resourceVersion": "9", "labels": GOVERNED, "deletionTimestamp": "2026-11-26T00:00:00Z"}}
    )
    assert await world.current.write()
    assert world.api.calls == []


def test_every_change_is_news() -> None:
    world, told = World(), []
    world.cache.listeners.append(lambda: told.append(1))
    world.put("namespaces", "clinic", labels=GOVERNED)
    world.put("policies", "house")
    world.put("datasets", "notes", "clinic", uri="pvc://data/notes", level="internal")
    assert len(told) == 3
    assert world.cache.surroundings("clinic").governed
    assert Key("clinic", "") not in ParentStore()


def test_what_does_not_fit_is_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = read_policy({"metadata": {"name": "house", "generation": 1}, "spec": {}})
    data = {
        f"data-{n:02}": {"metadata": {"name": f"data-{n:02}"}, "spec": {"uri": f"pvc://data/{n}", "level": "public"}} for n in range(20)
    }
    view = GovernanceView(namespace_labels=GOVERNED, policies=(policy,), datasets=data)
    assert snapshot(view).complete
    assert [each.name for each in snapshot(view).datasets] == sorted(data)
    monkeypatch.setattr(snapshots, "ROOM", 800)
    cut = snapshot(view)
    assert not cut.complete
    assert [each.name for each in cut.policies] == ["house"]
    assert 0 < len(cut.datasets) < 20 <= MOST_DATASETS


def test_a_policy_that_cannot_be_read_lets_nothing_pass_here_either() -> None:
    view = GovernanceView(namespace_labels=GOVERNED, policies=(read_policy({"metadata": {"name": "odd"}, "spec": {"zones": 7}}),))
    (policy,) = snapshot(view).policies
    assert (policy.zones, policy.data_sources, policy.mode) == ([], [], "Enforce")
