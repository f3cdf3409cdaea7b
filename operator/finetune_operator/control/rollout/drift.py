"""Whether an object is still as it was applied: every field that its manifest names, however the API server writes it.

Fields beside those are the server's defaults, or somebody else's to set: an autoscaler's, ``kubectl rollout restart``'s, a mesh's.
"""

from collections.abc import Mapping
from typing import Any, Final

from finetune_operator.cluster.kube import Manifest
from finetune_operator.manifests.quantities import amount

_WHOLE: Final = frozenset({"selector", "podSelector", "namespaceSelector", "nodeSelector", "matchLabels"})
"""Of these nothing may be beside what was applied: a term more selects less."""
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


def is_as_applied(found: Manifest, manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    body = {name: inner for name, inner in manifest.items() if name not in _HEAD}
    return contains(found["metadata"].get("labels"), labels) and contains(found, body)


def state_of(found: Manifest) -> tuple[str, Any]:
    """Changes with every change of what people may edit; where an object counts no generations, with every change at all."""
    metadata = found["metadata"]
    return metadata.get("uid") or "", metadata.get("generation") or metadata.get("resourceVersion")


def contains(found: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there as wanted; what is wanted to be empty need not be there."""
    if found is None and not wanted:
        return True
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(_holds(name, found.get(name), inner) for name, inner in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(contains, found, wanted))
    return bool(found == wanted) or _same_amount(found, wanted)


def _holds(name: str, found: Any, wanted: Any) -> bool:
    if name in _WHOLE and isinstance(found, Mapping) and isinstance(wanted, Mapping) and found.keys() != wanted.keys():
        return False
    return contains(found, wanted)


def _same_amount(found: Any, wanted: Any) -> bool:
    """Quantities are given back in their shortest form."""
    if isinstance(found, bool) or isinstance(wanted, bool) or not isinstance(found, str | int) or not isinstance(wanted, str | int):
        return False
    try:
        return amount(str(found)) == amount(str(wanted))
    except ValueError:
        return False
