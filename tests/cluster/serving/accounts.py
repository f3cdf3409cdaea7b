"""Service accounts with exactly the rights that a test gives them."""

from pathlib import Path
from typing import Any

from finetune_operator.api.base import GROUP
from finetune_testbed.apiserver import ApiServer

READ = ["get", "list", "watch"]
ROUTER_RULES: list[dict[str, Any]] = [
    {"apiGroups": [GROUP], "resources": ["adapterdeployments"], "verbs": READ},
    {"apiGroups": [""], "resources": ["pods"], "verbs": READ},
]


def agent_rules(name: str) -> list[dict[str, Any]]:
    """All that an agent needs: its own object."""
    return [{"apiGroups": [GROUP], "resources": ["adapterdeployments"], "resourceNames": [name], "verbs": READ}]


def account(server: ApiServer, namespace: str, rules: list[dict[str, Any]]) -> str:
    """A service account with a Role of exactly these rules; its token."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    name: str = server.request("POST", accounts, {"metadata": {"generateName": "reader-"}})["metadata"]["name"]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    server.request("POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": rules})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    server.request("POST", f"{rbac}/rolebindings", binding)
    answer = server.request("POST", f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 3600}})
    return str(answer["status"]["token"])


def write_token(file: Path, token: str) -> None:
    """As kubelet does: another file under the same name."""
    fresh = file.with_suffix(".new")
    fresh.write_text(token)
    fresh.replace(file)
