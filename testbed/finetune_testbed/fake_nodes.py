"""kwok and the nodes it plays: GPU machines that run no process, whose pods end as annotations on them say."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from finetune_testbed.bed import SOURCE, Testbed
from finetune_testbed.control_plane import kubeconfig_of
from finetune_testbed.processes import Daemon

LABEL = "testbed.finetune.dev/fake-node"
LOST_LABEL = "testbed.finetune.dev/lost"
ANNOTATION = "kwok.x-k8s.io/node"


class StagesError(RuntimeError):
    """The folder of Stages holds none."""


def kwok(bed: Testbed, programs: Mapping[str, Path]) -> Daemon:
    argv = (
        str(programs["kwok"]),
        f"--kubeconfig={kubeconfig_of(bed, 'kwok')}",
        *(f"--config={path}" for path in stage_files(bed)),
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        f"--cidr={bed.subnets.fake_pods}",
        f"--node-ip={bed.subnets.node}",
        f"--node-port={bed.ports.kwok}",
        f"--server-address=127.0.0.1:{bed.ports.kwok}",
        "--node-lease-duration-seconds=40",
    )
    # kwok reads its Stages once: changed ones have to change the daemon's description.
    stages = hashlib.sha256(b"".join(path.read_bytes() for path in stage_files(bed))).hexdigest()[:12]
    return Daemon("kwok", argv, lambda: _probe(bed), {"FINETUNE_TESTBED_STAGES": stages})


def stage_files(bed: Testbed) -> list[Path]:
    """The Stage files that kwok plays, in order.

    Raises:
        StagesError: there is none in the folder.
    """
    folder = Path(bed.settings.stages) if bed.settings.stages else SOURCE / "stages"
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise StagesError(f"{folder} holds no *.yaml file with kwok Stages")
    return files


def node_names(bed: Testbed) -> list[str]:
    return [f"fake-{number}" for number in range(bed.settings.fake_nodes)]


def node_object(bed: Testbed, name: str) -> dict[str, Any]:
    settings = bed.settings
    resources = {
        "cpu": "64",
        "memory": "512Gi",
        "ephemeral-storage": "1Ti",
        "pods": "500",
        settings.gpu_resource: str(settings.gpus_per_node),
    }
    labels = {
        LABEL: "true",
        "accelerator": "fake-a100",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": f"fake-{settings.gpus_per_node}x-a100",
    }
    taints = [{"key": settings.gpu_resource, "value": "present", "effect": "NoSchedule"}] if settings.gpu_taint else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {ANNOTATION: "fake"}},
        "spec": {"taints": taints},
        "status": {"capacity": resources, "allocatable": resources},
    }


def ensure_nodes(bed: Testbed) -> bool:
    """Make the Node objects what the settings say; True if one was created, changed or deleted."""
    wanted = {name: node_object(bed, name) for name in node_names(bed)}
    changed = False
    with ApiServer(bed) as server:
        present = {node["metadata"]["name"]: node for node in _list(server)}
        for name in present.keys() - wanted.keys():
            server.request("DELETE", f"/api/v1/nodes/{name}")
            changed = True
        for name, node in wanted.items():
            if name not in present:
                server.request("POST", "/api/v1/nodes", node)
                changed = True
            elif not _agrees(present[name], node):
                server.request("PATCH", f"/api/v1/nodes/{name}", {"spec": node["spec"]}, MERGE)
                server.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": _changes(present[name], node)}, MERGE)
                changed = True
    return changed


def delete_nodes(bed: Testbed) -> None:
    """Take all fake nodes away, for a testbed that gets a real one."""
    with ApiServer(bed) as server:
        for node in _list(server):
            server.request("DELETE", f"/api/v1/nodes/{node['metadata']['name']}")


def not_ready(bed: Testbed) -> str | None:
    """None when every fake node that is not declared lost is Ready."""
    try:
        with ApiServer(bed) as server:
            nodes = {node["metadata"]["name"]: node for node in _list(server)}
    except (OSError, RequestError) as error:
        return str(error)
    waiting = [name for name in node_names(bed) if name not in nodes or not (_is_lost(nodes[name]) or _ready(nodes[name]))]
    return f"nodes not Ready: {', '.join(waiting[:5])}" if waiting else None


def _list(server: ApiServer) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = server.request("GET", f"/api/v1/nodes?labelSelector={LABEL}%3Dtrue")["items"]
    return nodes


def _agrees(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    capacity = json.dumps(present["status"].get("capacity"), sort_keys=True)
    own = {(taint["key"], taint["effect"]) for taint in wanted["spec"]["taints"]}
    theirs = {(taint["key"], taint["effect"]) for taint in present["spec"].get("taints", [])}
    controllers = {taint for taint in theirs if taint[0].startswith("node.kubernetes.io/")}
    return capacity == json.dumps(wanted["status"]["capacity"], sort_keys=True) and theirs - controllers == own


def _changes(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """The merge patch from one node's resources to another's: what is no longer wanted has to be named with null."""
    return {key: {**dict.fromkeys(present["status"].get(key, {})), **wanted["status"][key]} for key in ("capacity", "allocatable")}


def _is_lost(node: Mapping[str, Any]) -> bool:
    return bool(node["metadata"].get("labels", {}).get(LOST_LABEL) == "true")


def _ready(node: Mapping[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _probe(bed: Testbed) -> str | None:
    try:
        socket.create_connection(("127.0.0.1", bed.ports.kwok), timeout=2).close()
    except OSError as error:
        return f"port {bed.ports.kwok}: {error}"
    return None
