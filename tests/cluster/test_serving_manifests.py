"""What serves, on a real API server: taken as it is, in a namespace of restricted pods, and taken again without a change."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.base import API_VERSION, FIELD_MANAGER, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import JsonObject, ServingSettings, namespace_objects, server_name, server_objects
from finetune_testbed.apiserver import APPLY, MERGE, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster.crd import install
from tests.unit.manifests.serving.samples import FULL, FULL_SETTINGS, ONE_CLAIM, SETTINGS, SMALL, of_kind

NAMESPACE = "serving"
GROUPS = {
    "Deployment": "apis/apps/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
    "PodDisruptionBudget": "apis/policy/v1",
    "Role": "apis/rbac.authorization.k8s.io/v1",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1",
    "Service": "api/v1",
    "ServiceAccount": "api/v1",
}
PLURALS = {"NetworkPolicy": "networkpolicies"}
DECIMALS = {
    **SMALL,
    "server": {"managed": {"resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": "1500m"}}, "replicas": 0}},
}
SERVERS: dict[str, tuple[dict[str, Any], ServingSettings, tuple[str, ...]]] = {
    "small": (SMALL, SETTINGS, ()),
    "7b-with-everything": (FULL, FULL_SETTINGS, ("older", "oldest")),
    "one-claim": (ONE_CLAIM, SETTINGS, ()),
    "decimals": (DECIMALS, SETTINGS, ("adapters",)),
}
ROUTERS = {"router": SETTINGS, "router-with-everything": FULL_SETTINGS}


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Iterator[ApiServer]:
    with ApiServer(t1) as connection:
        install(connection, ADAPTERDEPLOYMENT)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        connection.apply(f"/api/v1/namespaces/{NAMESPACE}", namespace)
        for found in namespace_objects(NAMESPACE, SETTINGS):
            apply(connection, found)
        yield connection


def path_of(found: JsonObject) -> str:
    kind = found["kind"]
    return f"/{GROUPS[kind]}/namespaces/{NAMESPACE}/{PLURALS.get(kind, kind.lower() + 's')}/{found['metadata']['name']}"


def apply(server: ApiServer, found: JsonObject) -> JsonObject:
    path = f"{path_of(found)}?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict"
    stored: JsonObject = server.request("PATCH", path, found, APPLY)
    return stored


def stored_deployment(server: ApiServer, name: str, spec: dict[str, Any]) -> AdapterDeployment:
    """The AdapterDeployment with all defaults of the API server."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/adapterdeployments/{name}"
    manifest = {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
    return AdapterDeployment.from_manifest(server.apply(path, manifest))


def made_for(server: ApiServer, name: str) -> tuple[JsonObject, ...]:
    spec, settings, claims = SERVERS[name]
    deployment = stored_deployment(server, name, spec)
    found = server_objects(Owner(NAMESPACE, name, str(deployment.metadata.uid)), deployment.spec, settings, claims)
    assert found
    return found


def admitted(server: ApiServer, found: tuple[JsonObject, ...]) -> JsonObject:
    """The pod that the Deployment's template makes; raises for one that the restricted level forbids."""
    template = of_kind(found, "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": "trial"}, "spec": template["spec"]}
    answer: JsonObject = server.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Strict", pod)
    return answer


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_taken_and_taken_again_without_a_change(server: ApiServer, name: str):
    for found in made_for(server, name):
        first, second = apply(server, found), apply(server, found)
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], found["kind"]


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_and_its_rights_are_taken_and_taken_again_without_a_change(server: ApiServer, name: str):
    for found in namespace_objects(NAMESPACE, ROUTERS[name]):
        first, second = apply(server, found), apply(server, found)
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"], found["kind"]


def test_the_namespace_refuses_pods_that_are_not_restricted(server: ApiServer):
    found = copy.deepcopy(made_for(server, "small"))
    del of_kind(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    with pytest.raises(RequestError, match="violates PodSecurity"):
        admitted(server, found)


@pytest.mark.parametrize("name", SERVERS)
def test_the_pod_of_a_server_is_admitted_where_pods_are_restricted(server: ApiServer, name: str):
    pod = admitted(server, made_for(server, name))
    assert [container["name"] for container in pod["spec"]["initContainers"]] == ["agent"]
    assert not any("kube-api-access" in volume["name"] for volume in pod["spec"]["volumes"])


@pytest.mark.parametrize("name", ROUTERS)
def test_the_pod_of_a_router_is_admitted_where_pods_are_restricted(server: ApiServer, name: str):
    pod = admitted(server, namespace_objects(NAMESPACE, ROUTERS[name]))
    assert not any("kube-api-access" in volume["name"] for volume in pod["spec"]["volumes"])


def test_what_others_added_stays_and_the_scale_is_that_of_the_spec(server: ApiServer):
    found = of_kind(made_for(server, "small"), "Deployment")
    apply(server, found)
    restart = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-25T12:00:00Z"}}}}}
    server.request("PATCH", f"{path_of(found)}?fieldManager=kubectl", restart, MERGE)
    spec = stored_deployment(server, "small", {**SMALL, "server": {"managed": {"replicas": 5}}})
    owner = Owner(NAMESPACE, "small", str(spec.metadata.uid))
    stored = apply(server, of_kind(server_objects(owner, spec.spec, SETTINGS), "Deployment"))
    assert stored["spec"]["replicas"] == 5
    assert "kubectl.kubernetes.io/restartedAt" in stored["spec"]["template"]["metadata"]["annotations"]
    assert stored["metadata"]["name"] == server_name(owner)


def test_a_claim_that_is_no_more_wanted_goes(server: ApiServer):
    found = made_for(server, "7b-with-everything")
    apply(server, of_kind(found, "Deployment"))
    deployment = stored_deployment(server, "7b-with-everything", FULL)
    owner = Owner(NAMESPACE, "7b-with-everything", str(deployment.metadata.uid))
    stored = apply(server, of_kind(server_objects(owner, deployment.spec, FULL_SETTINGS), "Deployment"))
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in _pod(stored)["volumes"] if "persistentVolumeClaim" in volume}
    assert claims == {"adapters", "models"}
    (agent,) = _pod(stored)["initContainers"]
    assert not any("older" in argument for argument in agent["args"])


@pytest.mark.parametrize(
    ("account", "verb", "resource", "allowed"),
    [
        ("finetune-agent", "watch", "adapterdeployments", True),
        ("finetune-agent", "patch", "adapterdeployments", False),
        ("finetune-agent", "list", "pods", False),
        ("finetune-router", "list", "adapterdeployments", True),
        ("finetune-router", "watch", "pods", True),
        ("finetune-router", "get", "secrets", False),
        ("finetune-router", "delete", "pods", False),
    ],
)
def test_agents_and_routers_may_read_what_they_need_and_no_more(server: ApiServer, account: str, verb: str, resource: str, allowed: bool):
    group = GROUP if resource == "adapterdeployments" else ""
    for namespace, expected in ((NAMESPACE, allowed), ("default", False)):
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": f"system:serviceaccount:{NAMESPACE}:{account}", "resourceAttributes": attributes},
        }
        answer = server.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        assert answer["status"]["allowed"] is expected, namespace


def _pod(deployment: JsonObject) -> JsonObject:
    pod: JsonObject = deployment["spec"]["template"]["spec"]
    return pod
