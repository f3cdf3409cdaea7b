"""A governed namespace with the controllers of Kubernetes: closed to others, and not to what they make for the operator."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from finetune_operator.manifests.admission import POLICIES
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from tests.cluster import finetunejobs
from tests.cluster.admission.governed import ALICE, CLINIC, REGISTRATION, Site, pod_spec
from tests.cluster.chart import Helm
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until

PROCESS = "testbed-admin"
"""A writer like the operator of the chart."""


@pytest.fixture(scope="module")
def governed(t2: Testbed) -> Iterator[tuple[Site, Place]]:
    with ExitStack() as stack, finetunejobs.place(t2) as place:
        here = Site(t2, stack)
        here.install_kinds()
        here.enforce(Helm(t2), "--set", f"governance.writers={{{PROCESS}}}")
        try:
            here.relabel(place.namespace, CLINIC)
            here.grant(place.namespace)
            yield here, place
        finally:
            here.withdraw()


def test_every_expression_has_the_types_it_should(governed: tuple[Site, Place]) -> None:
    """Of kinds that are there: the controller manager checks them."""
    site, _ = governed
    for policy in POLICIES:
        path = f"{REGISTRATION}/validatingadmissionpolicies/{policy.full_name}"
        status = until(lambda path=path: site.admin.request("GET", path).get("status"))  # type: ignore[misc]
        warnings = [warning["warning"] for warning in status["typeChecking"].get("expressionWarnings", [])]
        assert not warnings, f"{policy.name}: {warnings[0]}"


def test_a_deployment_of_the_operator_runs_and_scales(governed: tuple[Site, Place]) -> None:
    site, here = governed
    path = here.path("deployments", group="apps/v1")
    template = {"metadata": {"labels": {"app": "router"}}, "spec": pod_spec()}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "router"}}, "template": template}
    site.admin.request("POST", path, {"metadata": {"name": "router"}, "spec": spec})
    until(lambda: _ready(site, f"{path}/router") == 1)
    site.admin.request("PATCH", f"{path}/router", {"spec": {"replicas": 2}}, MERGE)
    until(lambda: _ready(site, f"{path}/router") == 2)
    site.admin.request("DELETE", f"{path}/router")
    pods = f"{here.path('pods')}?labelSelector=app%3Drouter"
    until(lambda: not site.admin.request("GET", pods)["items"])


@pytest.mark.parametrize("kind", ["jobs", "cronjobs", "replicasets", "deployments", "statefulsets", "pods"])
def test_nobody_else_gets_a_pod_there_by_himself_or_by_a_controller(governed: tuple[Site, Place], kind: str) -> None:
    """Tried for real: what is refused is not stored, so no controller makes a pod of it."""
    site, here = governed
    template = {"metadata": {"labels": {"app": "own"}}, "spec": pod_spec()}
    job = {"template": {"spec": {**pod_spec(), "restartPolicy": "Never"}}}
    running = {"selector": {"matchLabels": {"app": "own"}}, "template": template}
    group, spec = {
        "jobs": ("batch/v1", job),
        "cronjobs": ("batch/v1", {"schedule": "* * * * *", "jobTemplate": {"spec": job}}),
        "statefulsets": ("apps/v1", {**running, "serviceName": "own"}),
        "pods": ("", pod_spec()),
    }.get(kind, ("apps/v1", running))
    site.until_found({"ForeignWorkload"}, ALICE, "POST", here.path(kind, group=group), {"metadata": {"name": "own"}, "spec": spec})
    assert not site.admin.request("GET", f"{here.path('pods')}?labelSelector=app%3Down")["items"]


def _ready(site: Site, path: str) -> int:
    return int(site.admin.request("GET", path).get("status", {}).get("readyReplicas", 0))
