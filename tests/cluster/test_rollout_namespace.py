"""A namespace that is deleted with an AdapterDeployment in it is gone within seconds, by the real namespace controller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.api.crd import ADAPTERDEPLOYMENT, GOVERNANCE_KINDS
from finetune_testbed.apiserver import MERGE, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster import crd, finetunejobs, operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until
from tests.cluster.serving_site import FAST
from tests.cluster.test_serving_scale import IMAGE, MANIFEST, NAME

LAST_SECONDS = 6.0
"""What a pod takes to end that has nothing open: 5 s before it even hears of it (`PRE_STOP_SECONDS`), and its own."""
PROMISED = 60.0
"""Seconds. Where pods last longer than the 5 s between its first looks, the namespace controller looks again after 168 s."""


WATCHES = {"that watches one namespace, with governance": ("--governance", "--namespace"), "of all namespaces, without": ()}


@pytest.fixture(params=WATCHES.values(), ids=WATCHES)
def doomed(t2: Testbed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A namespace with servers and routers that run, looked after by an operator, in either way in which one sees namespaces."""
    with finetunejobs.place(t2, claims=("models",), clean=False) as here:
        for kind in (ADAPTERDEPLOYMENT, *GOVERNANCE_KINDS):
            crd.install(here.server, kind)
        arguments = (*FAST, "--inference-image", IMAGE, *request.param, *([here.namespace] if request.param else []))
        with operator_process.running(here.bed.kubeconfig, tmp_path, arguments):
            here.server.apply(deployment_path(here), {**MANIFEST, "metadata": {"name": NAME, "namespace": here.namespace}})
            until(lambda: len(running(here)) == 3)
            yield here


def deployment_path(here: Place) -> str:
    return here.path("adapterdeployments", NAME, MANIFEST["apiVersion"])


def running(here: Place) -> list[str]:
    pods = here.server.request("GET", here.path("pods"))["items"]
    return [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Running"]


def found(here: Place, path: str) -> dict[str, Any]:
    try:
        return dict(here.server.request("GET", path))
    except RequestError as error:
        if error.status == 404:
            return {}
        raise


def test_it_is_gone_within_a_minute(doomed: Place) -> None:
    slow = {"metadata": {"annotations": {"testbed.finetune.dev/term-millis": str(int(LAST_SECONDS * 1000))}}}
    for pod in running(doomed):
        doomed.server.request("PATCH", doomed.path("pods", pod), slow, MERGE)
    namespace = f"/api/v1/namespaces/{doomed.namespace}"
    doomed.server.request("DELETE", namespace)
    assert found(doomed, deployment_path(doomed))["metadata"].get("deletionTimestamp") is None, "it goes last: pods go first"
    until(lambda: not found(doomed, namespace), PROMISED)
