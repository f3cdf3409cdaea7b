"""The real node of tier T3, in a network namespace of its own.

`start` brings up what is missing and leaves alone what runs, so it is also the repair after a crash; `stop` removes
everything, also after a crash. Images stay in the cache.
"""

import shutil
import time
from pathlib import Path

from finetune_testbed import processes
from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_testbed.bed import Problem, Testbed
from finetune_testbed.node import (
    cgroups,
    cni,
    containerd,
    dns,
    imagestore,
    kubelet,
    mounts,
    network,
    objects,
    pause,
    provisioner,
    sysctls,
)
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.processes import Daemon, ProcessError

__all__ = ["NodeLayout", "healthy", "load_image", "start", "start_runtime", "stop"]

NODE_READY_SECONDS = 90.0
POLL_SECONDS = 0.1


def start_runtime(bed: Testbed) -> None:
    """Bring up network and container runtime alone: images can be built and loaded before there is a cluster.

    Raises:
        ProcessError: containerd did not come up.
    """
    layout = NodeLayout(bed)
    network.ensure(layout)
    cni.write(layout)
    claimed = imagestore.claim(bed)
    containerd.root(layout).mkdir(parents=True, exist_ok=True)
    processes.ensure(bed, containerd.daemon(layout))
    if claimed:
        containerd.remove_containers(layout)  # of a testbed that died and was cleaned up without its runtime
    pause.ensure(layout)


def start(bed: Testbed) -> None:
    """Bring up the node next to a running control plane, and wait until it is Ready.

    Raises:
        ProcessError: a program did not come up, or the node was not Ready after 90 s.
    """
    layout = NodeLayout(bed)
    sysctls.remember(bed.name)
    cgroups.ensure(layout.cgroup)
    layout.volumes.mkdir(parents=True, exist_ok=True)
    start_runtime(bed)
    with ApiServer(bed) as server:
        objects.apply(bed, server)
    processes.ensure_all(bed, list(_agents(layout)))
    _wait_ready(bed)


def stop(bed: Testbed) -> None:
    """End every process of the node and its pods, and undo what they did to the host; images stay.

    Raises:
        ProcessError, TimeoutError: something survived; the message names it.
    """
    layout = NodeLayout(bed)
    for name in ("provisioner", "kubelet", "kube-proxy", "coredns", "buildkitd"):
        processes.stop(bed, name)
    containerd.stop(layout)
    cgroups.kill(layout.cgroup)
    mounts.unmount_below(layout.kubelet)
    mounts.unmount_below(layout.volumes)
    network.remove(layout)
    cgroups.remove(layout.cgroup)
    sysctls.restore(bed.name)
    _remove_log_links(layout)
    if bed.node_dir.exists():
        shutil.rmtree(bed.node_dir)


def load_image(bed: Testbed, archive: str | Path) -> list[str]:
    """Load an OCI or Docker archive into the node; returns the references that pods can name.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(archive)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no image archive (docker save, or buildctl --output type=oci, makes one)")
    return containerd.import_image(NodeLayout(bed), path)


def healthy(bed: Testbed) -> list[Problem]:
    """What is wrong with the node; empty when all is well. One look, no waiting."""
    layout = NodeLayout(bed)
    if not imagestore.is_claimed(bed):
        return [Problem("node", "not started")]
    found = []
    if reason := network.problem(layout):
        found.append(Problem("network", reason))
    for daemon in (containerd.daemon(layout), *_agents(layout)):
        found += processes.problems(bed, daemon)
    if reason := _not_ready(bed):
        found.append(Problem("node", reason))
    return found


def _agents(layout: NodeLayout) -> tuple[Daemon, ...]:
    return (kubelet.kubelet(layout), kubelet.proxy(layout), dns.daemon(layout), provisioner.daemon(layout))


def _wait_ready(bed: Testbed) -> None:
    deadline = time.monotonic() + NODE_READY_SECONDS
    while reason := _not_ready(bed):
        if time.monotonic() > deadline:
            tail = processes.tail(bed, "kubelet")
            raise ProcessError(f"the node was not Ready after {NODE_READY_SECONDS:.0f} s: {reason}\n{tail}")
        time.sleep(POLL_SECONDS)


def _not_ready(bed: Testbed) -> str | None:
    """Why the Node object is not Ready, or None. The state may be one that kubelet wrote before it was last started."""
    try:
        with ApiServer(bed) as server:
            node = server.request("GET", f"/api/v1/nodes/{bed.node_name}")
    except RequestError as error:
        return str(error)
    except OSError as error:
        return f"API server: {error}"
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return None if condition["status"] == "True" else str(condition["message"])
    return "kubelet has not reported yet"


def _remove_log_links(layout: NodeLayout) -> None:
    """Remove the links to container logs that kubelet makes under one fixed folder of the host."""
    folder = Path("/var/log/containers")
    for link in folder.glob("*.log"):
        if link.is_symlink() and layout.pod_logs in link.readlink().parents:
            link.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
