"""Which differences between two statuses are worth a write, and how a status has to look for server-side apply to take it."""

from collections.abc import Mapping
from typing import Any

from finetune_operator.cluster.kube import Manifest


def differs(wanted: Any, present: Any) -> bool:
    """Whether writing is worth it; most comparisons are of equal statuses, and that is a cheap one."""
    return bool(wanted != present) and bool(significant(wanted) != significant(present))


def significant(status: Any) -> Any:
    """A status without the moments at which it changed and without what is empty: neither is a reason to write."""
    if isinstance(status, Mapping):
        found = {key: significant(value) for key, value in status.items() if key not in {"lastTransitionTime", "updatedAt"}}
        return {key: value for key, value in found.items() if value not in ({}, [], None)}
    if isinstance(status, list | tuple):
        return [significant(item) for item in status]
    return status


def same_basis(current: Manifest, decided_upon: Manifest) -> bool:
    """Whether a decision about the one holds for the other: same object, same spec, same status."""
    metadata = (current["metadata"], decided_upon["metadata"])
    return all(metadata[0].get(field) == metadata[1].get(field) for field in ("uid", "generation", "labels")) and (
        current.get("status") or {}
    ) == (decided_upon.get("status") or {})


def applicable(status: Mapping[str, Any]) -> Manifest:
    """A status as server-side apply can take it.

    Reordered conditions would count as a change, so they are sorted. A map or list that becomes empty is left out: where its entries were
    applied before, the API server merges an empty one to null, and then refuses that.
    """
    document: Manifest = _without_empty(status)
    if "conditions" in document:
        document["conditions"] = sorted(document["conditions"], key=lambda condition: str(condition["type"]))
    return document


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ({}, [], None)}
    if isinstance(value, list | tuple):
        return [_without_empty(item) for item in value]
    return value
