"""What a store tells of the objects it keeps."""

from typing import Any

from finetune_operator.cluster.cache import Store
from finetune_operator.cluster.projections import project_pod


def pod(version: int, *, phase: str = "Pending", uid: str = "u", **metadata: Any) -> dict[str, Any]:
    identity = {"namespace": "ns", "name": "p", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": identity | metadata, "status": {"phase": phase}}


def told_of(*manifests: dict[str, Any]) -> list[str]:
    told: list[str] = []
    store = Store(project_pod, lambda kept: told.append(kept["metadata"]["uid"]), index=lambda _kept: "owner")
    for manifest in manifests:
        store.put(manifest)
    kept = store.get("ns", "p")
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == manifests[-1]["metadata"]["resourceVersion"]
    return told


def test_a_change_of_what_is_not_kept_is_no_news_and_the_version_moves_on() -> None:
    assert told_of(pod(1), pod(2, finalizers=["batch.kubernetes.io/job-tracking"]), pod(3, annotations={"a": "b"})) == ["u"]


def test_a_change_of_what_is_kept_is_told() -> None:
    assert told_of(pod(1), pod(2, phase="Running"), pod(3, phase="Running", deletionTimestamp="2026-11-25T00:00:00Z")) == ["u", "u", "u"]


def test_a_successor_of_the_same_name_is_told_as_two() -> None:
    assert told_of(pod(1, uid="first"), pod(2, uid="second")) == ["first", "first", "second"]
