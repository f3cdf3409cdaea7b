"""What mode Merged writes and no longer says: on a real API server, with decisions the test makes."""

from collections.abc import AsyncIterator

import pytest

from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.cluster.errors import Forbidden, Unavailable
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.objects import InstalledObjects
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.serving import MergeOrder
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object
from tests.cluster.test_rollout_writes import Rig
from tests.unit.manifests.serving.samples import MERGE_SETTINGS

DIGEST = "sha256:" + "1" * 64
VERSION = f"bot--{DIGEST[7:19]}"
MERGED: Object = {"mode": "Merged", "merge": {"uri": "pvc://merged/bot"}, "baseModel": {"uri": "pvc://m/b", "digest": DIGEST}}
MODEL: Object = {
    "name": VERSION,
    "uri": "pvc://a/x",
    "digest": DIGEST,
    "merged": {"uri": f"pvc://merged/bot/{DIGEST[7:]}", "digest": DIGEST},
}
LOADING: Object = {"phase": "Loading", "observedGeneration": 1, "desired": {"generation": 1, "versions": [MODEL]}}
GIVEN_UP: Object = {"phase": "Degraded", "observedGeneration": 1, "desired": {"generation": 2}}
LOST: Object = {"phase": "Pending", "observedGeneration": 1}


@pytest.fixture
async def rig(t1: Testbed) -> AsyncIterator[Rig]:
    connection, objects = await KubeApi.connect(t1.kubeconfig), InstalledObjects(MERGE_SETTINGS)
    with finetunejobs.place(t1, claims=()) as here:
        install(here.server, ADAPTERDEPLOYMENT)
        made = Rig(connection, here, objects, Jobs(connection, objects))
        made.add(more=MERGED)
        yield made
    await connection.close()


@pytest.mark.parametrize(("status", "left"), [(GIVEN_UP, 0), (LOST, 1)])
async def test_servers_of_a_first_version_go_once_it_is_given_up(rig: Rig, status: Object, left: int) -> None:
    await rig.once(RolloutPlan(status=LOADING), RolloutPlan(status=LOADING))
    await rig.once()
    assert servers(rig) == 1
    rig.plans.clear()
    await rig.once(RolloutPlan(status=status), RolloutPlan(status=status))
    rig.plans.clear()
    await rig.once()
    assert servers(rig) == left


async def test_a_merge_that_could_not_begin_is_forgotten_once_nobody_wants_it(rig: Rig) -> None:
    create, order = rig.kube.create, RolloutPlan(merge=MergeOrder(1, DIGEST, "pvc://a/x", DIGEST))
    rig.kube.create = _refused  # type: ignore[method-assign]
    await rig.once(order, order)
    await rig.once(order, order)
    assert "exceeded quota" in rig.observed[-1].refusal, "as long as it is wanted"
    rig.plans.clear()
    await rig.once()
    await rig.once()
    assert rig.observed[-1].refusal == ""
    rig.kube.create = create  # type: ignore[method-assign]


async def test_a_merge_that_could_not_begin_is_said_also_while_the_servers_objects_wait(rig: Rig) -> None:
    order = RolloutPlan(status=LOST, merge=MergeOrder(1, DIGEST, "pvc://a/x", DIGEST))
    rig.kube.create = _refused  # type: ignore[method-assign]
    await rig.once(order, order)
    rig.kube.get = _away  # type: ignore[method-assign]
    rig.clock += 3600
    await rig.once()
    assert "exceeded quota. Free quota in this namespace, or ask for less in spec.merge.resources." in rig.observed[-1].refusal


async def _away(*_arguments: object) -> Object:
    raise Unavailable("a webhook is away", status=500)


async def _refused(*_arguments: object) -> Object:
    raise Forbidden("exceeded quota", status=403)


def servers(rig: Rig) -> int:
    items = rig.place.server.request("GET", rig.place.path("deployments", group="apps/v1"))["items"]
    return sum(item["metadata"]["name"].startswith("server-") for item in items)
