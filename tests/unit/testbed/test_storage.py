"""What the provisioner decides about a claim."""

from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.node import storage
from finetune_testbed.node.storage import Provision, Refusal
from finetune_testbed.node.volumes import Volume

ROOT = Path("/volumes")
NODE = "bed-node"


def claim(storage_class: str = storage.DEFAULT_CLASS, node: str | None = NODE, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "data",
            "namespace": "team",
            "uid": "u1",
            "annotations": {storage.SELECTED_NODE: node} if node else {},
        },
        "spec": {
            "storageClassName": storage_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


def test_a_claim_given_to_our_node_gets_a_volume() -> None:
    (decision,) = storage.wanted([claim()], [], NODE, ROOT)
    assert isinstance(decision, Provision)
    assert decision.volume == Volume(ROOT, "pvc-u1", 1 << 30, limited=False)


def test_the_limited_class_limits() -> None:
    (decision,) = storage.wanted([claim(storage.LIMITED_CLASS)], [], NODE, ROOT)
    assert isinstance(decision, Provision)
    assert decision.volume.limited


@pytest.mark.parametrize(
    "left_alone",
    [
        claim(node=None),
        claim(node="another-node"),
        claim("fast"),
        claim(volumeName="pvc-u1"),
        {**claim(), "metadata": {**claim()["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["no consumer yet", "another node", "another class", "bound", "being deleted"],
)
def test_a_claim_that_is_not_ours_to_serve_is_left_alone(left_alone: dict[str, Any]) -> None:
    assert storage.wanted([left_alone], [], NODE, ROOT) == []


def test_a_claim_is_served_once() -> None:
    assert storage.wanted([claim()], ["pvc-u1"], NODE, ROOT) == []


def test_a_block_device_is_refused() -> None:
    (decision,) = storage.wanted([claim(volumeMode="Block")], [], NODE, ROOT)
    assert isinstance(decision, Refusal)
    assert "Filesystem" in decision.message


def test_a_size_in_another_form_is_refused_with_the_remedy() -> None:
    (decision,) = storage.wanted([claim(resources={"requests": {"storage": "1e9"}})], [], NODE, ROOT)
    assert isinstance(decision, Refusal)
    assert "write it like 64Mi" in decision.message


def test_the_volume_is_bound_to_its_claim_and_its_node() -> None:
    (decision,) = storage.wanted([claim()], [], NODE, ROOT)
    assert isinstance(decision, Provision)
    volume = storage.persistent_volume(decision, NODE)
    assert volume["spec"]["claimRef"]["uid"] == "u1"
    assert volume["spec"]["local"]["path"] == "/volumes/pvc-u1"
    assert NODE in str(volume["spec"]["nodeAffinity"])
    assert storage.ours([volume]) == [volume]
    assert storage.place_of(volume, ROOT) == decision.volume


def test_only_released_volumes_of_ours_are_taken_back() -> None:
    (decision,) = storage.wanted([claim()], [], NODE, ROOT)
    assert isinstance(decision, Provision)
    volume = storage.persistent_volume(decision, NODE)
    bound = {**volume, "status": {"phase": "Bound"}}
    free = {**volume, "status": {"phase": "Released"}}
    foreign = {**free, "metadata": {"name": "theirs"}}
    retained = {**free, "spec": {**free["spec"], "persistentVolumeReclaimPolicy": "Retain"}}
    assert storage.released([bound, free, foreign, retained]) == [free]


@pytest.mark.parametrize(
    ("quantity", "size"), [("0", 0), ("17", 17), ("1Ki", 1024), ("64Mi", 64 << 20), ("2Gi", 2 << 30), ("3G", 3 * 10**9)]
)
def test_sizes_are_read_as_kubernetes_writes_them(quantity: str, size: int) -> None:
    assert storage.parse_bytes(quantity) == size


@pytest.mark.parametrize("quantity", ["", "1.5Gi", "1mi", "-1", "1e3"])
def test_other_forms_of_a_size_are_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        storage.parse_bytes(quantity)
