"""Namespaces that are being deleted: nothing can be made there any more, and what runs there is to end.

A namespace controller deletes the pods first, and everything else once none is left. It looks 5 s after the deletion, 5 s later, and then
after half of the longest time that a pod may take to end: 168 s, where pods serve (`namespaced_resources_deleter.go` of Kubernetes 1.36).
Those take longer than 5 s, so that the namespace would be there for three minutes with nothing in it. Hence they are ended as soon as it
is known.
"""

from collections.abc import Callable

from finetune_operator.cluster.cache import Store
from finetune_operator.cluster.kube import Manifest

ENDS = "namespace {} is being deleted, and what serves there ends with it. Create the AdapterDeployment in another namespace."


class Endings:
    """Where nothing else watches namespaces; ``ends`` hears the name of each that is being deleted."""

    def __init__(self, ends: Callable[[str], None]) -> None:
        self.namespaces = Store(_ending, lambda namespace: ends(namespace["metadata"]["name"]), index=lambda _namespace: None)

    def __contains__(self, namespace: str) -> bool:
        return self.namespaces.get("", namespace) is not None


def _ending(manifest: Manifest) -> Manifest | None:
    """Of all others nothing is kept."""
    metadata = manifest["metadata"]
    if not metadata.get("deletionTimestamp"):
        return None
    return {"metadata": {field: metadata.get(field) for field in ("name", "uid", "resourceVersion", "deletionTimestamp")}}
