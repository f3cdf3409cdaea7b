"""What the provisioner should do about claims and volumes: pure decisions on API objects.

Storage classes: `finetune-local` (default) shares the host's disk and does not enforce sizes, like most local
provisioners; `finetune-limited` enforces them, so that a full disk can be tried out. Both wait for the first consumer,
because most clusters do: a claim that nobody mounts stays Pending.
Source: the external provisioner's contract, KEP-490 and `volume.kubernetes.io/selected-node`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_testbed.node.volumes import Volume

PROVISIONER = "finetune.dev/testbed-local"
DEFAULT_CLASS = "finetune-local"
LIMITED_CLASS = "finetune-limited"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_SUFFIXES = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}
_DECIMAL_SUFFIXES = {"k": 3, "M": 6, "G": 9, "T": 12}
_QUANTITY = re.compile(r"(\d+)([A-Za-z]*)")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Provision:
    """Make this volume for this claim."""

    claim: Object
    volume: Volume


@dataclass(frozen=True)
class Refusal:
    """This claim cannot be served; the message goes to an Event."""

    claim: Object
    message: str


def storage_classes() -> tuple[dict[str, Any], ...]:
    """The StorageClass objects of the testbed."""

    def storage_class(name: str, default: bool) -> dict[str, Any]:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true" if default else "false"}
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": annotations},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }

    return storage_class(DEFAULT_CLASS, True), storage_class(LIMITED_CLASS, False)


def wanted(claims: Iterable[Object], present: Iterable[str], node: str, root: Path) -> list[Provision | Refusal]:
    """Claims that wait for us: of one of our classes, not bound, given to our node, without a volume yet."""
    have = set(present)
    decisions: list[Provision | Refusal] = []
    for claim in claims:
        spec, metadata = claim["spec"], claim["metadata"]
        name = f"pvc-{metadata['uid']}"
        if spec.get("storageClassName") not in (DEFAULT_CLASS, LIMITED_CLASS) or spec.get("volumeName"):
            continue
        if "deletionTimestamp" in metadata or name in have:
            continue
        if metadata.get("annotations", {}).get(SELECTED_NODE) != node:
            continue
        if spec.get("volumeMode", "Filesystem") != "Filesystem":
            decisions.append(Refusal(claim, "only volumeMode Filesystem can be had here"))
            continue
        try:
            size = parse_bytes(spec["resources"]["requests"]["storage"])
        except ValueError as error:
            decisions.append(Refusal(claim, f"spec.resources.requests.storage: {error}; write it like 64Mi or 10Gi"))
            continue
        decisions.append(Provision(claim, Volume(root, name, size, spec["storageClassName"] == LIMITED_CLASS)))
    return decisions


def ours(volumes: Iterable[Object]) -> list[Object]:
    """The PersistentVolumes that this provisioner made."""
    return [volume for volume in volumes if volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER]


def released(volumes: Iterable[Object]) -> list[Object]:
    """Our volumes whose claim is gone and whose data shall go too."""
    return [
        volume
        for volume in ours(volumes)
        if volume.get("status", {}).get("phase") == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    ]


def place_of(volume: Object, root: Path) -> Volume:
    """The data folder behind one of our PersistentVolumes."""
    spec = volume["spec"]
    limited = spec["storageClassName"] == LIMITED_CLASS
    return Volume(root, volume["metadata"]["name"], parse_bytes(spec["capacity"]["storage"]), limited)


def persistent_volume(provision: Provision, node: str) -> dict[str, Any]:
    """The PersistentVolume for a claim, bound to it in advance."""
    claim, volume = provision.claim, provision.volume
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume.name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "storageClassName": spec["storageClassName"],
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": str(volume.path)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
                }
            },
        },
    }


def parse_bytes(quantity: str) -> int:
    """A Kubernetes quantity of bytes without fraction, e.g. `64Mi`.

    Raises:
        ValueError: another form.
    """
    match = _QUANTITY.fullmatch(quantity)
    if match is None or match.group(2) not in _SUFFIXES | _DECIMAL_SUFFIXES:
        raise ValueError(f"not a size in bytes: {quantity!r}")
    number, suffix = int(match.group(1)), match.group(2)
    if suffix in _DECIMAL_SUFFIXES:
        return number * int(10 ** _DECIMAL_SUFFIXES[suffix])
    return number << _SUFFIXES[suffix]
