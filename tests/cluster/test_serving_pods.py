"""Servers and routers with a control plane behind them: their pods come, are found, may be drained, and go with their owner."""

from pathlib import Path
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import JsonObject, namespace_objects, router_selector, server_name, server_objects, server_selector
from finetune_testbed.apiserver import RequestError
from tests.cluster import operator_process
from tests.cluster.crd import install
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until
from tests.cluster.test_serving_manifests import PLURALS
from tests.unit.manifests.serving.samples import SETTINGS, SMALL, of_kind

NAME = "bot"
API_GROUPS = {"Deployment": "apps/v1", "NetworkPolicy": "networking.k8s.io/v1", "PodDisruptionBudget": "policy/v1"}
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture
def deployment(here: Place) -> AdapterDeployment:
    """With two replicas; servers and router are applied."""
    install(here.server, ADAPTERDEPLOYMENT)
    for found in namespace_objects(here.namespace, SETTINGS):
        apply(here, found)
    return asked_for(here, 2)


def asked_for(here: Place, replicas: int, claims: tuple[str, ...] = (), **changes: Any) -> AdapterDeployment:
    spec = {**SMALL, "server": {"managed": {"replicas": replicas}}, **changes}
    metadata = {"name": NAME, "namespace": here.namespace}
    manifest = {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": metadata, "spec": spec}
    stored = AdapterDeployment.from_manifest(here.server.apply(here.path("adapterdeployments", NAME, f"{GROUP}/{VERSION}"), manifest))
    for found in server_objects(owner_of(here, stored), stored.spec, SETTINGS, claims):
        apply(here, found)
    return stored


def owner_of(here: Place, deployment: AdapterDeployment) -> Owner:
    return Owner(here.namespace, NAME, str(deployment.metadata.uid))


def path_of(here: Place, kind: str, name: str) -> str:
    group = API_GROUPS.get(kind, RBAC if kind.startswith("Role") else "")
    return here.path(PLURALS.get(kind, kind.lower() + "s"), name, group)


def apply(here: Place, found: JsonObject) -> None:
    here.server.apply(path_of(here, found["kind"], found["metadata"]["name"]), found)


def pods(here: Place, selector: dict[str, str]) -> list[dict[str, Any]]:
    query = ",".join(f"{name}={value}" for name, value in selector.items())
    found: list[dict[str, Any]] = here.server.request("GET", f"{here.path('pods')}?labelSelector={query}")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def servers(here: Place, deployment: AdapterDeployment) -> list[dict[str, Any]]:
    return pods(here, server_selector(owner_of(here, deployment), deployment.spec))


def available(here: Place, name: str) -> int:
    """Pods that serve by the present template; 0 while an older one is still there."""
    found = here.server.request("GET", path_of(here, "Deployment", name))
    status = found.get("status", {})
    updated = status.get("observedGeneration") == found["metadata"]["generation"] and status.get("updatedReplicas") == status.get(
        "replicas"
    )
    return int(status.get("availableReplicas", 0)) if updated else 0


def evict(here: Place, pod: dict[str, Any]) -> None:
    metadata = {"name": pod["metadata"]["name"], "namespace": here.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    here.server.request("POST", f"{here.path('pods', pod['metadata']['name'])}/eviction", eviction)


def test_pods_of_servers_and_routers_come_and_are_found_apart(here: Place, deployment: AdapterDeployment):
    until(lambda: available(here, server_name(owner_of(here, deployment))) == 2)
    until(lambda: available(here, "finetune-router") == SETTINGS.router_replicas)
    first, second = servers(here, deployment), pods(here, router_selector())
    assert (len(first), len(second)) == (2, SETTINGS.router_replicas)
    assert not {pod["metadata"]["uid"] for pod in first} & {pod["metadata"]["uid"] for pod in second}


def test_another_claim_makes_other_pods_and_the_scale_follows_the_spec(here: Place, deployment: AdapterDeployment):
    name = server_name(owner_of(here, deployment))
    until(lambda: available(here, name) == 2)
    before = {pod["metadata"]["uid"] for pod in servers(here, deployment)}
    asked_for(here, 3)
    until(lambda: available(here, name) == 3)
    assert before < {pod["metadata"]["uid"] for pod in servers(here, deployment)}, "scaling leaves the pods that are there"
    asked_for(here, 3, ("adapters",))
    until(lambda: available(here, name) == 3 and not before & {pod["metadata"]["uid"] for pod in servers(here, deployment)})


def test_the_only_pod_may_be_drained_and_two_go_one_at_a_time(here: Place, deployment: AdapterDeployment):
    name = server_name(owner_of(here, deployment))
    budget = path_of(here, "PodDisruptionBudget", name)
    until(lambda: available(here, name) == 2)
    until(lambda: here.server.request("GET", budget).get("status", {}).get("disruptionsAllowed") == 1)
    asked_for(here, 1)
    until(lambda: here.server.request("GET", budget)["status"].get("expectedPods") == 1)
    until(lambda: here.server.request("GET", budget)["status"].get("disruptionsAllowed") == 1)
    (pod,) = servers(here, deployment)
    evict(here, pod)
    until(lambda: [other["metadata"]["uid"] for other in servers(here, deployment)] != [pod["metadata"]["uid"]])


def test_a_server_goes_with_its_owner_and_the_router_stays(here: Place, deployment: AdapterDeployment):
    name = server_name(owner_of(here, deployment))
    until(lambda: available(here, name) == 2)
    kinds = [found["kind"] for found in server_objects(owner_of(here, deployment), deployment.spec, SETTINGS)]
    here.server.request("DELETE", here.path("adapterdeployments", NAME, f"{GROUP}/{VERSION}"))

    def left() -> list[str]:
        return [kind for kind in kinds if exists(here, path_of(here, kind, name))]

    until(lambda: not left())
    until(lambda: not servers(here, deployment))
    assert exists(here, path_of(here, "Deployment", of_kind(namespace_objects(here.namespace, SETTINGS), "Deployment")["metadata"]["name"]))


def exists(here: Place, path: str) -> bool:
    try:
        here.server.request("GET", path)
    except RequestError as error:
        if error.status != 404:
            raise
        return False
    return True


def test_pods_that_a_quota_refuses_are_told_in_the_status(here: Place, tmp_path: Path):
    """The Deployment's own words, as the real controllers leave them."""
    quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
    here.server.request("POST", here.path("resourcequotas"), quota)
    until(lambda: here.server.request("GET", here.path("resourcequotas", "no-pods"))["status"].get("hard"))
    install(here.server, ADAPTERDEPLOYMENT)
    for found in namespace_objects(here.namespace, SETTINGS):
        apply(here, found)
    adapter = {"uri": "pvc://adapters/x", "digest": "sha256:" + "1" * 64}
    asked_for(here, 1, adapter=adapter, preflight={"requireEvaluation": False})
    with operator_process.running(here.bed.kubeconfig, tmp_path, ("--namespace", here.namespace, "--serving")):
        until(lambda: "exceeded quota: no-pods" in ready(here))
        assert ready(here).startswith("there is no server pod: the API server takes no more pods of Deployment server-bot: ")
        assert "ask for less in spec.server.managed.resources" in ready(here)
        here.server.request("DELETE", here.path("adapterdeployments", NAME, f"{GROUP}/{VERSION}"))


def ready(here: Place) -> str:
    """The message of the condition."""
    found = here.server.request("GET", here.path("adapterdeployments", NAME, f"{GROUP}/{VERSION}"))
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((str(each["message"]) for each in conditions if each["type"] == "Ready"), "")
