"""A namespace with AdapterDeployments and server pods, written by the test as operator and kubelet would write them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune_operator.api.base import API_VERSION, GROUP, VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.apiserver import APPLY, MERGE, ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster.crd import install
from tests.cluster.serving.accounts import account, write_token
from tests.engines.processes import STABLE


class Place:
    """One namespace. ``url`` may be changed to that of a proxy."""

    def __init__(self, bed: Testbed, server: ApiServer, folder: Path) -> None:
        self.bed = bed
        self.server = server
        self.folder = folder
        self.url = bed.apiserver_url
        created = server.request("POST", "/api/v1/namespaces", {"metadata": {"generateName": "serving-"}})
        self.namespace: str = created["metadata"]["name"]
        self.token_file = folder / "token"
        self._core = f"/api/v1/namespaces/{self.namespace}"
        self._deployments = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/adapterdeployments"
        server.request("POST", f"{self._core}/serviceaccounts", {"metadata": {"name": "default"}})

    # Who may do what.

    def grant(self, rules: list[dict[str, Any]]) -> str:
        """A service account with a Role of exactly these rules; its token goes into the token file."""
        token = account(self.server, self.namespace, rules)
        self.write_token(token)
        return token

    def write_token(self, token: str) -> None:
        write_token(self.token_file, token)

    @property
    def access(self) -> Sequence[str]:
        """Options of a process that is to be that account."""
        ca_file = self.bed.pki / "ca.crt"
        return ("--kube-api-url", self.url, "--kube-ca-file", str(ca_file), "--kube-token-file", str(self.token_file))

    # What the operator writes.

    def deploy(self, name: str, alias: str = "tickets", **server: Any) -> None:
        """``server`` is spec.server; managed if nothing is said."""
        spec = {
            "modelName": alias,
            "adapter": {"fineTuneJobRef": {"name": "job"}},
            "baseModel": {"uri": "pvc://models/base"},
            "server": server or {"managed": {"engine": "vLLM"}},
        }
        self.server.request("POST", self._deployments, {**self._named(name), "spec": spec})

    def remove(self, name: str) -> None:
        self.server.request("DELETE", f"{self._deployments}/{name}")

    def route(self, name: str, generation: int, alias: str = "tickets", server: ApiServer | None = None, **changes: Any) -> None:
        """Write status.route; what makes no route is written as it is."""
        fields = {"deployment": name, "alias": alias, "generation": generation, "stable": STABLE, "versions": [STABLE], **changes}
        self._write_status(name, "route", {key: value for key, value in fields.items() if value is not None}, server)

    def desire(self, name: str, generation: int, versions: list[dict[str, Any]], server: ApiServer | None = None) -> None:
        """Write status.desired."""
        self._write_status(name, "desired", {"generation": generation, "versions": versions}, server)

    def _write_status(self, name: str, field: str, value: dict[str, Any], server: ApiServer | None) -> None:
        path = f"{self._deployments}/{name}/status?fieldManager=test-{field}&force=true&fieldValidation=Strict"
        (server or self.server).request("PATCH", path, {**self._named(name), "status": {field: value}}, APPLY)

    def _named(self, name: str) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": ADAPTERDEPLOYMENT.kind,
            "metadata": {"name": name, "namespace": self.namespace},
        }

    # What a kubelet writes.

    def pod(self, name: str, labels: dict[str, str], address: str) -> None:
        """A pod with an address that is not ready."""
        containers = [{"name": "engine", "image": "engine"}]
        # With a node, so that a deletion waits for that node.
        spec = {"containers": containers, "nodeName": "nowhere", "automountServiceAccountToken": False}
        self.server.request("POST", f"{self._core}/pods", {"metadata": {"name": name, "labels": labels}, "spec": spec})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.server.request("PATCH", f"{self._core}/pods/{name}/status", {"status": status}, MERGE)

    def terminate(self, name: str) -> None:
        """The pod has been asked to end, and its node has not said yet that it has."""
        found = self.server.request("DELETE", f"{self._core}/pods/{name}?gracePeriodSeconds=300")
        assert found["metadata"]["deletionTimestamp"]


def managed_labels(deployment: str) -> dict[str, str]:
    return {"finetune.dev/adapter-deployment": deployment, "finetune.dev/serving-role": "server"}


@contextmanager
def place(bed: Testbed, folder: Path) -> Iterator[Place]:
    with ApiServer(bed) as server:
        install(server, ADAPTERDEPLOYMENT)
        yield Place(bed, server, folder)
