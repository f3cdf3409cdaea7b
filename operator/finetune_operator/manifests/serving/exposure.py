"""The HTTPRoute of an AdapterDeployment: from Gateways that the user has, to the router of the namespace.

It names nothing but the requests that the router answers callers, so that a Gateway keeps everything else away from it. A model's name is
in the body of a request, where no HTTPRoute looks: whoever reaches the router reaches every alias of the namespace.
"""

from typing import Final

from finetune_operator.api.adapterdeployment.spec import GatewayReference, HttpRouteSpec
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving.labels import ROUTER_NAME, http_route_metadata
from finetune_operator.manifests.serving.settings import ROUTER_PORT, JsonObject

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
REQUESTS: Final = (("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/v1/models"))
"""Method and exact path of all that callers ask a router for."""


def build_http_route(owner: Owner, route: HttpRouteSpec) -> JsonObject:
    """The manifest, with every default of the Gateway API written out, so that what is stored compares with it.

    Without timeouts: a Gateway's own hold, and ``timeouts`` is in no schema of the Gateway API before 1.2.
    """
    matches = [{"method": method, "path": {"type": "Exact", "value": path}} for method, path in REQUESTS]
    backend = {"group": "", "kind": "Service", "name": ROUTER_NAME, "port": ROUTER_PORT, "weight": 1}
    spec: JsonObject = {
        "parentRefs": [_parent(reference, owner.namespace) for reference in route.parent_refs],
        "rules": [{"matches": matches, "backendRefs": [backend]}],
    }
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return {"apiVersion": f"{GATEWAY_GROUP}/v1", "kind": "HTTPRoute", "metadata": http_route_metadata(owner), "spec": spec}


def _parent(reference: GatewayReference, namespace: str) -> JsonObject:
    parent = {"group": GATEWAY_GROUP, "kind": "Gateway", "namespace": reference.namespace or namespace, "name": reference.name}
    return {**parent, "sectionName": reference.section_name} if reference.section_name is not None else parent
