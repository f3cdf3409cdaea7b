"""The network policy of a run whose egress is closed: it selects every pod of the run, and is there before the first of them.

It holds only where the cluster's network plugin enforces network policies, which the egress probe finds out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_operator.manifests.labels import owner_references, run_labels
from finetune_operator.manifests.names import Owner
from finetune_trainer.contract import PROGRESS_PORT
from finetune_trainer.contract.governance.containment import Containment

JsonObject = Mapping[str, Any]

_DNS_PORTS = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})
_CLUSTER_DNS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
    "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
}
"""Of CoreDNS and of what came before it, as every installer labels it; a resolver elsewhere has an address for the allow-list."""


@dataclass(frozen=True)
class Enclosed:
    """What is shut in: a run of this key and name; ``labels`` say how sensitive it is."""

    run_key: str
    run_name: str
    labels: Mapping[str, str]


def build_network_policy(owner: Owner, enclosed: Enclosed, containment: Containment, operator_namespace: str) -> dict[str, Any]:
    """In: the operator, for progress. Out: what the policies allow."""
    selector = run_labels(owner, enclosed.run_key)
    progress = {
        "ports": [_tcp(PROGRESS_PORT)],
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}}],
    }
    egress: list[dict[str, Any]] = [
        {"to": [{"ipBlock": {"cidr": each.cidr}}], "ports": [_tcp(port) for port in each.ports]} for each in containment.allow
    ]
    if containment.cluster_dns:
        egress.append({"to": [_CLUSTER_DNS], "ports": list(_DNS_PORTS)})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": enclosed.run_name,
            "namespace": owner.namespace,
            "labels": {**selector, **enclosed.labels},
            "ownerReferences": owner_references(owner),
        },
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [progress],
            "egress": egress,
        },
    }


def holds(present: JsonObject | None, wanted: JsonObject) -> bool:
    """Whether what is there says what is wanted, owner and labels included; the API server leaves out lists that are empty."""
    if present is None or _filled(present.get("spec")) != _filled(wanted["spec"]):
        return False
    mine, theirs = wanted["metadata"], present.get("metadata") or {}
    owners = {reference.get("uid") for reference in theirs.get("ownerReferences") or []}
    return bool(mine["labels"].items() <= (theirs.get("labels") or {}).items() and mine["ownerReferences"][0]["uid"] in owners)


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item) for key, item in value.items() if item not in ([], {}, None)}
    if isinstance(value, list | tuple):
        return [_filled(item) for item in value]
    return value


def _tcp(port: int) -> dict[str, Any]:
    return {"port": port, "protocol": "TCP"}
