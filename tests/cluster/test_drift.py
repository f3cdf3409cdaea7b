"""Objects of serving that somebody edits or deletes by hand, on a real API server: put back, and no write where nothing differs."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.cluster.resources import SERVING_RESOURCES, Resource
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.objects import InstalledObjects
from finetune_operator.manifests.names import Owner
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.rest import writes_since
from tests.unit.manifests.serving.samples import FULL, FULL_SETTINGS

UID = "0b6e1c1e-1111-4222-8333-444455556666"
NAME = "tickets"
CLAIMS = ("adapters",)
EDITS: dict[str, list[Object]] = {
    "Deployment": [
        {"spec": {"replicas": 0}},
        {"spec": {"template": {"spec": {"securityContext": {"runAsNonRoot": False}}}}},
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3600}}}},
    ],
    "Service": [{"spec": {"selector": {"app": "theirs"}}}],
    "ServiceAccount": [{"automountServiceAccountToken": True}],
    "Role": [{"rules": []}],
    "RoleBinding": [{"subjects": []}],
    "NetworkPolicy": [{"spec": {"ingress": [{}]}}, {"spec": {"podSelector": {"matchLabels": {"also": "this"}}}}],
    "PodDisruptionBudget": [{"spec": {"maxUnavailable": 5}}],
}
"""By kind, what a person might change of what was applied."""
OF_OTHERS: Object = {"metadata": {"labels": {"team": "support"}, "annotations": {"example.org/note": "keep"}}}
RESTART: Object = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-26T10:00:00Z"}}}}}


@dataclass
class Scene:
    kube: KubeApi
    place: Place
    clock: float = 1000.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another operator, which remembers nothing."""
        self.children = Children(self.kube, InstalledObjects(FULL_SETTINGS), clock=lambda: self.clock)

    async def look(self) -> None:
        self.clock += 3600
        spec = AdapterDeploymentSpec.model_validate(FULL)
        assert await self.children.ensure(Key(self.place.namespace, NAME), UID, spec, CLAIMS) == ""

    def wanted(self) -> list[Object]:
        objects, owner = InstalledObjects(FULL_SETTINGS), Owner(self.place.namespace, NAME, UID)
        made = objects.server_objects(owner, AdapterDeploymentSpec.model_validate(FULL), CLAIMS)
        return [dict(each) for each in (*objects.namespace_objects(self.place.namespace), *made)]

    def path(self, manifest: Object) -> str:
        resource: Resource = SERVING_RESOURCES[manifest["kind"]]
        return resource.path(self.place.namespace, manifest["metadata"]["name"])

    def get(self, manifest: Object) -> Object:
        found: Object = self.place.server.request("GET", self.path(manifest))
        return found

    def edit(self, manifest: Object, change: Object) -> None:
        self.place.server.request("PATCH", self.path(manifest), change, MERGE)


def body(found: Object) -> Object:
    return {name: inner for name, inner in found.items() if name not in ("metadata", "status")}


@pytest.fixture
def place(t1: Testbed) -> Iterator[Place]:
    with finetunejobs.place(t1, claims=()) as here:
        yield here


@pytest.fixture
async def scene(t1: Testbed, place: Place) -> AsyncIterator[Scene]:
    kube = await KubeApi.connect(t1.kubeconfig)
    here = Scene(kube, place)
    await here.look()
    yield here
    await kube.close()


async def test_every_edit_of_what_was_applied_is_undone(scene: Scene) -> None:
    assert {manifest["kind"] for manifest in scene.wanted()} == set(EDITS) == set(SERVING_RESOURCES)
    for manifest in scene.wanted():
        before = body(scene.get(manifest))
        for change in EDITS[manifest["kind"]]:
            scene.edit(manifest, change)
            assert body(scene.get(manifest)) != before, f"{change} changes nothing"
            await scene.look()
            assert body(scene.get(manifest)) == before, f"{manifest['kind']} {manifest['metadata']['name']} keeps {change}"


async def test_what_is_deleted_is_made_anew(scene: Scene) -> None:
    before = [scene.get(manifest)["metadata"]["uid"] for manifest in scene.wanted()]
    for manifest in scene.wanted():
        scene.place.server.request("DELETE", scene.path(manifest), {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    await scene.look()
    after = [scene.get(manifest)["metadata"]["uid"] for manifest in scene.wanted()]
    assert not set(before) & set(after)


async def test_where_nothing_differs_nothing_is_written_also_after_a_restart(scene: Scene) -> None:
    log = AuditLog(scene.place.bed)
    mark = log.mark()
    await scene.look()
    scene.restart()
    await scene.look()
    await scene.look()
    written = writes_since(log, mark, scene.place.namespace)
    assert written == [], tally(written)


async def test_what_others_add_stays_and_costs_nothing(scene: Scene) -> None:
    for manifest in scene.wanted():
        scene.edit(manifest, OF_OTHERS)
        if manifest["kind"] == "Deployment":
            scene.edit(manifest, RESTART)
    log = AuditLog(scene.place.bed)
    mark = log.mark()
    await scene.look()
    written = writes_since(log, mark, scene.place.namespace)
    assert written == [], tally(written)
    for manifest in scene.wanted():
        metadata = scene.get(manifest)["metadata"]
        assert (metadata["labels"]["team"], metadata["annotations"]["example.org/note"]) == ("support", "keep")


async def test_what_applying_does_not_change_is_left_after_one_write(scene: Scene) -> None:
    """A person adds a container: it is not ours, and the list is longer than the one that was applied."""
    server = next(manifest for manifest in scene.wanted() if manifest["metadata"]["name"] == f"server-{NAME}")
    theirs: Any = {"name": "theirs", "image": "registry.invalid/theirs:0"}
    containers = scene.get(server)["spec"]["template"]["spec"]["containers"]
    scene.edit(server, {"spec": {"template": {"spec": {"containers": [*containers, theirs]}}}})
    log = AuditLog(scene.place.bed)
    mark = log.mark()
    for _ in range(3):
        await scene.look()
    assert len(writes_since(log, mark, scene.place.namespace)) <= 1
