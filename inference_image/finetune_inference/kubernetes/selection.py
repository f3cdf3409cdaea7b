"""Which objects of which kind are followed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """``labels`` and ``fields`` are selectors as the API server reads them."""

    plural: str
    path: str
    labels: str = ""
    fields: str = ""

    def query(self) -> list[tuple[str, str]]:
        pairs = [("labelSelector", self.labels), ("fieldSelector", self.fields)]
        return [(key, value) for key, value in pairs if value]


def adapter_deployments(namespace: str, name: str = "") -> Selection:
    """Those of a namespace, or one of them; the latter a Role can grant with ``resourceNames``."""
    path = f"/apis/finetune.dev/v1alpha1/namespaces/{namespace}/adapterdeployments"
    return Selection("adapterdeployments", path, fields=f"metadata.name={name}" if name else "")


def pods(namespace: str, labels: str) -> Selection:
    """Those that a label selector matches."""
    return Selection("pods", f"/api/v1/namespaces/{namespace}/pods", labels=labels)


def matching(labels: Mapping[str, str]) -> str:
    """A selector of objects that have all these labels."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
