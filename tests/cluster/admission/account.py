"""The operator as its own service account, with the rights that the chart gives it and no others."""

import base64
from pathlib import Path

import yaml

from finetune_testbed.bed import Testbed
from tests.cluster.admission.governed import Site
from tests.cluster.chart import NAME, NAMESPACE, Helm

PATHS = {
    "ServiceAccount": f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles",
    "RoleBinding": f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/rolebindings",
}
HOUR = 3600


def install(site: Site, helm: Helm, *values: str) -> None:
    """Apply the account and its roles as the chart renders them."""
    site.admin.apply(f"/api/v1/namespaces/{NAMESPACE}", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for template in ("serviceaccount", "rbac"):
        for document in helm.template(*values, "--show-only", f"templates/{template}.yaml"):
            site.admin.apply(f"{PATHS[document['kind']]}/{document['metadata']['name']}", document)


def remove(site: Site, helm: Helm, *values: str) -> None:
    """Take the rights away again, which other tests of the same cluster do not expect."""
    for document in helm.template(*values, "--show-only", "templates/rbac.yaml"):
        site.admin.request("DELETE", f"{PATHS[document['kind']]}/{document['metadata']['name']}")


def kubeconfig(site: Site, bed: Testbed, folder: Path) -> Path:
    """A file with a token of the account."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": HOUR}}
    answer = site.admin.request("POST", f"{PATHS['ServiceAccount']}/{NAME}/token", request)
    authority = base64.b64encode((bed.pki / "ca.crt").read_bytes()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bed", "cluster": {"server": bed.apiserver_url, "certificate-authority-data": authority}}],
        "users": [{"name": NAME, "user": {"token": answer["status"]["token"]}}],
        "contexts": [{"name": "it", "context": {"cluster": "bed", "user": NAME}}],
        "current-context": "it",
    }
    path = folder / "operator.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return path
