"""What agents and routers may ask of the API server: to read what concerns them in their own namespace, and nothing else."""

from finetune_operator.api.adapterdeployment.deployment import PLURAL
from finetune_operator.api.base import GROUP
from finetune_operator.manifests.serving.labels import AGENT, AGENT_NAME, ROUTER, ROUTER_NAME, namespace_metadata
from finetune_operator.manifests.serving.settings import JsonObject

_READ = ["get", "list", "watch"]
_DEPLOYMENTS: JsonObject = {"apiGroups": [GROUP], "resources": [PLURAL], "verbs": _READ}
_PODS: JsonObject = {"apiGroups": [""], "resources": ["pods"], "verbs": _READ}
AGENT_RULES = (_DEPLOYMENTS,)
ROUTER_RULES = (_DEPLOYMENTS, _PODS)
"""Whoever creates the Roles has to hold these rights itself, in the same namespace: nobody can give what he does not have."""


def build_rights(namespace: str) -> tuple[JsonObject, ...]:
    """A service account with a Role of its own, for the agents and for the router of a namespace."""
    return (*_rights(namespace, AGENT_NAME, AGENT, AGENT_RULES), *_rights(namespace, ROUTER_NAME, ROUTER, ROUTER_RULES))


def _rights(namespace: str, name: str, role: str, rules: tuple[JsonObject, ...]) -> tuple[JsonObject, ...]:
    metadata = namespace_metadata(namespace, name, role)
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": [subject],
        },
    )
