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
        self._ends = ends
        self.namespaces = Store(_dated, self._changed, index=lambda _namespace: None)

    def __contains__(self, namespace: str) -> bool:
        found = self.namespaces.get("", namespace)
        return found is not None and _is_ending(found)

    def _changed(self, namespace: Manifest) -> None:
        if _is_ending(namespace):
            self._ends(namespace["metadata"]["name"])


def _dated(manifest: Manifest) -> Manifest:
    """Of the others too: one that was made again by its name, which a list may bring first, takes the place of the one that ended."""
    return {"metadata": {field: manifest["metadata"].get(field) for field in ("name", "uid", "resourceVersion", "deletionTimestamp")}}


def _is_ending(namespace: Manifest) -> bool:
    return bool(namespace["metadata"].get("deletionTimestamp"))
