"""Replicas of a managed server by its scale subresource: by hand and by a real autoscaler, beside a manifest from Git that names none."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed import binaries
from finetune_testbed.apiserver import APPLY, MERGE, RequestError
from tests.cluster import operator_process
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import until
from tests.cluster.serving_site import FAST

NAME = "bot"
IMAGE = "registry.invalid/finetune-inference:test"
MANIFEST: Object = {
    "apiVersion": API_VERSION,
    "kind": "AdapterDeployment",
    "metadata": {"name": NAME},
    "spec": {
        "modelName": NAME,
        "adapter": {"fineTuneJobRef": {"name": "nobody"}},
        "baseModel": {"uri": "pvc://models/base"},
        "server": {"managed": {"engine": "Transformers"}},
    },
}
"""As it lies in Git: without replicas, which an autoscaler sets."""
AUTOSCALER: Object = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": NAME},
    "spec": {"scaleTargetRef": {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "name": NAME}, "minReplicas": 3, "maxReplicas": 6},
}
"""Nobody measures pods here, so it keeps to its least and its most number of replicas."""


class Scaled:
    """One AdapterDeployment in a cluster whose controllers run, and whose fake pods hold nothing."""

    def __init__(self, here: Place) -> None:
        self.here = here
        self._kubectl = binaries.path("kubectl", here.bed.cache_dir, progress=print)

    def path(self, subresource: str = "") -> str:
        return self.here.path("adapterdeployments", NAME, f"{GROUP}/{VERSION}") + subresource

    def apply_from_git(self) -> Object:
        return dict(self.here.server.request("PATCH", f"{self.path()}?fieldManager=git", MANIFEST, APPLY))

    def get(self, subresource: str = "") -> Object:
        return dict(self.here.server.request("GET", self.path(subresource)))

    def figures(self) -> tuple[int, str, int]:
        status = self.get().get("status") or {}
        return status.get("replicas", 0), status.get("loaded", ""), status.get("readyReplicas", 0)

    def asked_for(self) -> int:
        """Replicas of the Deployment of server pods; 0 while there is none."""
        items = self.here.server.request("GET", self.here.path("deployments", group="apps/v1"))["items"]
        return next((item["spec"]["replicas"] for item in items if item["metadata"]["name"] == f"server-{NAME}"), 0)

    def pods(self, selector: str) -> int:
        """Pods that an autoscaler measures: those that the scale's selector chooses and that are not on their way out."""
        assert selector
        query = selector.replace("=", "%3D").replace(",", "%2C")
        items = self.here.server.request("GET", f"{self.here.path('pods')}?labelSelector={query}")["items"]
        return sum("deletionTimestamp" not in pod["metadata"] for pod in items)

    def autoscaler(self) -> tuple[dict[str, str], Any]:
        found = self.here.server.request("GET", self.here.path("horizontalpodautoscalers", NAME, "autoscaling/v2"))
        conditions = found.get("status", {}).get("conditions") or []
        return {each["type"]: each["status"] for each in conditions}, found.get("status", {}).get("lastScaleTime")

    def kubectl(self, *arguments: str) -> None:
        command = [str(self._kubectl), "--kubeconfig", str(self.here.bed.kubeconfig), "--namespace", self.here.namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def scaled(here: Place, tmp_path: Path) -> Iterator[Scaled]:
    install(here.server, ADAPTERDEPLOYMENT)
    deployment = Scaled(here)
    deployment.apply_from_git()
    here.server.request("POST", here.path("horizontalpodautoscalers", group="autoscaling/v2"), AUTOSCALER)
    arguments = (*FAST, "--inference-image", IMAGE, "--namespace", here.namespace)
    with operator_process.running(here.bed.kubeconfig, tmp_path, arguments):
        yield deployment
    with suppress(RequestError):  # without the operator nobody takes the finalizer off, if it has come to set one
        here.server.request("PATCH", deployment.path(), {"metadata": {"finalizers": None}}, MERGE)
        here.server.request("DELETE", deployment.path())


def test_hand_and_autoscaler_set_the_replicas_and_git_does_not_fight_them(scaled: Scaled) -> None:
    until(lambda: scaled.asked_for() == 3)
    until(lambda: scaled.autoscaler()[1])
    conditions, since = scaled.autoscaler()
    assert conditions["AbleToScale"] == "True", "it reads and writes the scale; what it lacks here is measures"
    before = scaled.get()["metadata"]
    again = scaled.apply_from_git()["metadata"]
    assert again["generation"] == before["generation"], "the manifest names no replicas, so it changes none"

    scaled.kubectl("scale", f"adep/{NAME}", "--replicas=4")
    until(lambda: scaled.asked_for() == 4)
    until(lambda: scaled.figures() == (4, "0/4", 0))
    scale = scaled.get("/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (4, 4)
    assert scaled.pods(scale["status"]["selector"]) == 4

    after = scaled.apply_from_git()["metadata"]
    assert scaled.get("/scale")["spec"]["replicas"] == 4
    assert scaled.autoscaler()[1] == since, "4 lies between its least and its most"
    assert after["generation"] == before["generation"] + 1 == 3, "Git, autoscaler and hand have changed the spec once each, and nobody else"
