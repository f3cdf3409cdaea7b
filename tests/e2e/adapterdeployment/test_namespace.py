"""A namespace of its own on a real node: a router that lacks its Secret is told in words, and a namespace that is deleted is soon gone.

Nothing is trained for it: what it is said to have served stands in its status, as after a day of service.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.kubectl import Kubectl, conditions
from finetune_operator.api.base import API_VERSION, FIELD_MANAGER
from tests.e2e.adapterdeployment.served import Served
from tests.e2e.conftest import PIN, PIN_SECRET
from tests.engines.processes import until

NAMESPACE, NAME = "passing", "bot"
DIGEST = "sha256:" + "a" * 64
VERSION = f"{NAME}--{'a' * 12}"
PROMISED = 60.0
"""Seconds; without the operator's part it is about 180, since routers take 5 s before they even hear that they are to end."""
SPEC = {
    "modelName": NAME,
    "adapter": {"fineTuneJobRef": {"name": "nobody"}},
    "baseModel": {"uri": "pvc://models/base"},
    "server": {"managed": {"engine": "Transformers"}},
}
SERVED_SO_FAR = {
    "stable": {"version": VERSION, "digest": DIGEST, "uri": "pvc://adapters/bot", "since": "2026-11-01T00:00:00Z"},
    "route": {"deployment": NAME, "alias": NAME, "generation": 1, "stable": VERSION, "versions": [VERSION], "salt": "x"},
}


@pytest.fixture
def passing(kubectl: Kubectl) -> Iterator[Served]:
    kubectl.run("create", "namespace", NAMESPACE)
    found = Served(kubectl, NAME, NAMESPACE)
    found.apply(secret(OPERATOR_NAMESPACE))
    found.apply({"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": named(NAME), "spec": SPEC})
    yield found
    kubectl.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def tell_as_the_operator(kubectl: Kubectl, status: dict[str, Any]) -> None:
    """Status that it owns, so that it can take it back."""
    document = {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": named(NAME), "status": status}
    options = ("--server-side", "--subresource=status", f"--field-manager={FIELD_MANAGER}", "--force-conflicts")
    kubectl.run("apply", *options, "-f", "-", stdin=json.dumps(document).encode())


def named(name: str, namespace: str = NAMESPACE) -> dict[str, str]:
    return {"name": name, "namespace": namespace}


def secret(namespace: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": named(PIN_SECRET, namespace), "stringData": {"token": PIN}}


def are_ready(pods: list[dict[str, Any]]) -> bool:
    return bool(pods) and all(conditions(pod).get("Ready", {}).get("status") == "True" for pod in pods)


def test_a_router_without_its_secret_is_told_and_a_deleted_namespace_is_soon_gone(passing: Served) -> None:
    kubectl = passing.kubectl
    until(lambda: passing.pods("router"), 120, every=0.5)
    tell_as_the_operator(kubectl, SERVED_SO_FAR)
    told = f"Secret {PIN_SECRET}, which it mounts, does not exist in this namespace. Create it with the entry token"
    found = passing.wait(lambda found: told in conditions(found).get("TrafficApplied", {}).get("message", ""), 120)
    assert "serving.pinSecret" in conditions(found)["TrafficApplied"]["message"]

    passing.apply(secret(NAMESPACE))
    kubectl.run("delete", "pods", "-n", NAMESPACE, "-l", "finetune.dev/serving-role=router", "--wait=false")
    until(lambda: are_ready(passing.pods("router")), 180, every=0.5)
    passing.wait(lambda found: told not in conditions(found)["TrafficApplied"]["message"], 60)

    kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")
    until(lambda: not kubectl.get("namespace", NAMESPACE), PROMISED, every=0.5)
