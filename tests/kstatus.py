"""What deploy tools make of an object: the rules of sigs.k8s.io/cli-utils (``pkg/kstatus/status``) for custom resources, in their order."""

from collections.abc import Mapping
from typing import Any


def kstatus(found: Mapping[str, Any]) -> str:
    """``Terminating``, ``InProgress``, ``Failed`` or ``Current``; an object without a status is taken for done."""
    metadata, status = found["metadata"], found.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or []}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"
