"""What ordering a check writes and what it says where that is refused: on a real API server, with decisions the test makes."""

from collections.abc import AsyncIterator

import pytest

from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.cluster.errors import Forbidden
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.objects import InstalledObjects
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.manifests.serving import CheckOrder
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object
from tests.cluster.test_rollout_writes import Rig
from tests.unit.manifests.serving.samples import DIGEST, SETTINGS

ORDER = RolloutPlan(check=CheckOrder(1, "pvc://a/x", DIGEST))
TYPED: Object = {"adapter": {"uri": "pvc://a/x", "digest": DIGEST}, "preflight": {"requireEvaluation": False}}


@pytest.fixture
async def rig(t1: Testbed) -> AsyncIterator[Rig]:
    connection, objects = await KubeApi.connect(t1.kubeconfig), InstalledObjects(SETTINGS)
    with finetunejobs.place(t1, claims=()) as here:
        install(here.server, ADAPTERDEPLOYMENT)
        made = Rig(connection, here, objects, Jobs(connection, objects), checks=True)
        made.add(more=TYPED)
        yield made
    await connection.close()


async def test_the_api_server_takes_the_job_once_and_its_policy_before_it(rig: Rig) -> None:
    apply, order = rig.kube.apply, []

    async def noted(*arguments: Object, **options: bool) -> Object:
        order.append((arguments[1]["kind"], len(of_kind(rig, "jobs", "batch/v1"))))
        return await apply(*arguments, **options)  # type: ignore[arg-type]

    rig.kube.apply = noted  # type: ignore[method-assign, assignment]
    await rig.once(ORDER, ORDER)
    await rig.once(ORDER, ORDER)
    (job,) = of_kind(rig, "jobs", "batch/v1")
    assert order == [("NetworkPolicy", 0)], "and nothing that serves"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"] == ["finetune-inference", "preflight"]


async def test_a_check_that_could_not_begin_says_why_and_forgets_it_once_nobody_wants_it(rig: Rig) -> None:
    apply = rig.kube.apply
    rig.kube.apply = _refused  # type: ignore[method-assign]
    await rig.once(ORDER, ORDER)
    await rig.once(ORDER, ORDER)
    assert "denied by a policy" in rig.observed[-1].refusal
    assert of_kind(rig, "jobs", "batch/v1") == [], "no pod that could talk to anybody"
    rig.kube.apply = apply  # type: ignore[method-assign]
    rig.clock += 120.0
    rig.plans.clear()
    await rig.once()
    await rig.once()
    assert rig.observed[-1].refusal == ""


async def _refused(*_arguments: object, **_options: object) -> Object:
    raise Forbidden("denied by a policy", status=403)


def of_kind(rig: Rig, plural: str, group: str) -> list[Object]:
    found: list[Object] = rig.place.server.request("GET", rig.place.path(plural, group=group))["items"]
    return found
