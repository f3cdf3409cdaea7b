"""Who may talk to whom. They hold only where the cluster's network plugin enforces NetworkPolicies.

What cannot be said in one:
- The kubelet's probes need no rule: a pod's own node always reaches it.
- The API server is no pod, and whether a rule sees the address before or after translation depends on the plugin. Without
  ``api_server_cidrs`` its ports are therefore open to every address.
- DNS may be a pod, an address of the node or of the cloud, so its port is open to every address.
- A policy is for a pod, not for a container: what the agent may reach, the engine may reach too.
- Pods of a user's own server have labels and ports of their own: the router may reach every pod of its namespace, and those pods
  are the user's to close.
"""

from typing import Any

from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE
from finetune_operator.manifests.names import Owner, label_value
from finetune_operator.manifests.serving.labels import ROUTER, ROUTER_NAME, job_metadata, namespace_metadata, router_selector
from finetune_operator.manifests.serving.settings import (
    AGENT_PORT,
    ENGINE_PORT,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    JsonObject,
    ServingSettings,
)

_DNS = 53


def server_policy(metadata: JsonObject, selector: dict[str, str], settings: ServingSettings) -> JsonObject:
    """Inference from the namespace's router alone, status and the agent's metrics from the operator and scrapers; out to the API server.

    The engine's metrics lie on the port where it answers, and vLLM loads adapters there, so scrapers do not get it.
    """
    ingress = [
        _rule(ENGINE_PORT, [{"podSelector": {"matchLabels": router_selector()}}]),
        _rule(AGENT_PORT, [_operator(settings), *settings.metrics_from]),
    ]
    return _policy(metadata, selector, ingress, _egress(settings))


def router_policy(namespace: str, settings: ServingSettings) -> JsonObject:
    """Requests from clients, the other port for the operator and scrapers; out to the API server and to pods of the namespace."""
    clients = [_operator(settings), *settings.clients_from] if settings.clients_from else []
    ingress = [_rule(ROUTER_PORT, clients), _rule(ROUTER_ADMIN_PORT, [_operator(settings), *settings.metrics_from])]
    egress = [*_egress(settings), {"to": [{"podSelector": {}}]}]
    return _policy(namespace_metadata(namespace, ROUTER_NAME, ROUTER), router_selector(), ingress, egress)


def job_policy(owner: Owner, role: str) -> JsonObject:
    """Nobody in and nobody out: what checks and merges read and write lies on their volumes."""
    return _policy(job_metadata(owner, role), {LABEL_SERVING_ROLE: role, LABEL_DEPLOYMENT: label_value(owner.name)}, [], [])


def _policy(metadata: JsonObject, selector: dict[str, str], ingress: list[JsonObject], egress: list[JsonObject]) -> JsonObject:
    spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _rule(port: int, peers: list[JsonObject]) -> JsonObject:
    """Without peers: from everywhere."""
    rule: JsonObject = {"ports": [_tcp(port)]}
    return {**rule, "from": peers} if peers else rule


def _operator(settings: ServingSettings) -> JsonObject:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}},
        "podSelector": {"matchLabels": dict(settings.operator_labels)},
    }


def _egress(settings: ServingSettings) -> list[JsonObject]:
    api_server: JsonObject = {"ports": [_tcp(port) for port in settings.api_server_ports]}
    if settings.api_server_cidrs:
        api_server["to"] = [{"ipBlock": {"cidr": cidr}} for cidr in settings.api_server_cidrs]
    return [{"ports": [{"port": _DNS, "protocol": "UDP"}, _tcp(_DNS)]}, api_server]


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
