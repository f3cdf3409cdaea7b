"""The HTTPRoute of an AdapterDeployment, as it is applied."""

from typing import Any

from finetune_inference.router.frontend import COMPLETIONS, MODELS
from finetune_operator.api.adapterdeployment.spec import HttpRouteSpec
from finetune_operator.manifests.serving import ROUTER_NAME, ROUTER_PORT, JsonObject, build_http_route, namespace_objects
from tests.unit.manifests.serving.samples import OWNER, SETTINGS, of_kind

FULL: dict[str, Any] = {"parentRefs": [{"name": "public", "namespace": "infra", "sectionName": "https"}], "hostnames": ["bot.example.com"]}


def built(**changes: Any) -> JsonObject:
    return build_http_route(OWNER, HttpRouteSpec.model_validate({**FULL, **changes}))


def test_it_names_the_requests_that_a_router_answers_and_no_other():
    (rule,) = built()["spec"]["rules"]
    asked = {(match["method"], match["path"]["type"], match["path"]["value"]) for match in rule["matches"]}
    assert asked == {*(("POST", "Exact", path) for path in COMPLETIONS), ("GET", "Exact", MODELS)}
    assert all(match.keys() == {"method", "path"} for match in rule["matches"])


def test_it_leads_to_the_service_of_the_namespaces_router():
    service = of_kind(namespace_objects(OWNER.namespace, SETTINGS), "Service")
    (backend,) = built()["spec"]["rules"][0]["backendRefs"]
    assert (backend["kind"], backend["name"], backend["port"]) == ("Service", ROUTER_NAME, ROUTER_PORT)
    assert service["metadata"]["name"] == ROUTER_NAME
    assert [port["port"] for port in service["spec"]["ports"]] == [ROUTER_PORT]


def test_it_goes_with_its_deployment():
    metadata = built()["metadata"]
    assert (metadata["name"], metadata["namespace"]) == (f"finetune-{OWNER.name}", OWNER.namespace)
    assert [(owner["uid"], owner["controller"]) for owner in metadata["ownerReferences"]] == [(OWNER.uid, True)]


def test_every_field_of_it_counts():
    gateway = FULL["parentRefs"][0]
    others = [
        built(hostnames=["other.example.com"]),
        built(hostnames=[]),
        *(built(parentRefs=[{**gateway, name: "other"}]) for name in gateway),
    ]
    assert all(other["spec"] != built()["spec"] for other in others)
    assert "hostnames" not in built(hostnames=[])["spec"]


def test_what_a_reference_leaves_out_is_written_as_the_api_server_would():
    (parent,) = built(parentRefs=[{"name": "public"}])["spec"]["parentRefs"]
    assert parent == {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": OWNER.namespace, "name": "public"}
