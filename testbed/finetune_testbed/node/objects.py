"""The API objects that a node needs beside itself: the DNS Service with its address, and the storage classes."""

from typing import Any

from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from finetune_testbed.node import storage

DNS_SERVICE = "kube-dns"
_NAMESPACE = "/namespaces/kube-system"


def apply(bed: Testbed, server: ApiServer) -> None:
    """Apply all of them; applying again changes nothing."""
    for path, body in documents(bed):
        server.apply(path, body)


def documents(bed: Testbed) -> list[tuple[str, dict[str, Any]]]:
    """Each object with its path on the API server."""
    return [
        (f"/api/v1{_NAMESPACE}/services/{DNS_SERVICE}", _service(bed)),
        (f"/apis/discovery.k8s.io/v1{_NAMESPACE}/endpointslices/{DNS_SERVICE}", _endpoints(bed)),
        *((f"/apis/storage.k8s.io/v1/storageclasses/{body['metadata']['name']}", body) for body in storage.storage_classes()),
    ]


def _service(bed: Testbed) -> dict[str, Any]:
    """No selector: the server is a process on the node, not a pod."""
    address = str(bed.subnets.dns_service)
    ports = [{"name": name, "port": 53, "protocol": protocol} for name, protocol in _PORTS]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": DNS_SERVICE, "namespace": "kube-system", "labels": {"k8s-app": DNS_SERVICE}},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": ports},
    }


def _endpoints(bed: Testbed) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": DNS_SERVICE,
            "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": DNS_SERVICE,
                "endpointslice.kubernetes.io/managed-by": "finetune-testbed",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(bed.subnets.node)], "conditions": {"ready": True}}],
        "ports": [{"name": name, "port": 53, "protocol": protocol} for name, protocol in _PORTS],
    }


_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))
