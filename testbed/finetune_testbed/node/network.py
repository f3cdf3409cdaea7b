"""The node's own network namespace and the one link that joins it to the host.

Everything that a cluster does to a network (pod links, routes, nftables rules, ip_forward) happens inside the
namespace and ends with it; the host gains one link and two routes. The namespace lies in the testbed's folder and not
under /run/netns, because `ip netns add` would leave that folder mounted for good.
"""

import json
import os
import subprocess
from pathlib import Path

from finetune_testbed.bed import Testbed
from finetune_testbed.node import mounts
from finetune_testbed.node.layout import NodeLayout
from finetune_testbed.processes import ProcessError

NODE_LINK = "eth0"


def ensure(layout: NodeLayout) -> None:
    """Make namespace, link, addresses and routes; what is already right stays as it is."""
    bed = layout.bed
    namespace = layout.network_namespace
    if not mounts.is_mounted(namespace):
        namespace.parent.mkdir(parents=True, exist_ok=True)
        namespace.touch()
        _run("unshare", f"--net={namespace}", "true")
    host_namespace = layout.host_network_namespace
    if not mounts.is_mounted(host_namespace):
        host_namespace.touch()
        _run("mount", "--bind", "/proc/self/ns/net", str(host_namespace))
    if not (_has_link(bed) and _marker(layout).exists()):
        _marker(layout).unlink(missing_ok=True)
        if _has_link(bed):
            _run("ip", "link", "delete", bed.link_name)  # a set-up that was interrupted; the other end goes with it
        _connect(bed, namespace)
        _marker(layout).touch()
    for destination in (bed.subnets.pods, bed.subnets.services):
        _run("ip", "route", "replace", str(destination), "via", str(bed.subnets.node), "dev", bed.link_name)


def remove(layout: NodeLayout) -> None:
    """Remove link, routes and namespace; nothing when they are gone. Processes inside must have ended."""
    _marker(layout).unlink(missing_ok=True)
    if _has_link(layout.bed):
        _run("ip", "link", "delete", layout.bed.link_name)  # its routes go with it
    for handle in (layout.network_namespace, layout.host_network_namespace):
        if mounts.is_mounted(handle):
            _run("umount", str(handle))
        handle.unlink(missing_ok=True)


def problem(layout: NodeLayout) -> str | None:
    """Why the node cannot be reached, or None."""
    if not mounts.is_mounted(layout.network_namespace):
        return "the network namespace is missing"
    if not _has_link(layout.bed):
        return f"the link {layout.bed.link_name} is missing"
    if not _marker(layout).exists():
        return f"setting up the link {layout.bed.link_name} was interrupted"
    listing = subprocess.run(["ip", "-json", "route", "show", "dev", layout.bed.link_name], check=True, capture_output=True, text=True)
    present = {str(route["dst"]) for route in json.loads(listing.stdout or "[]")}
    absent = {str(layout.bed.subnets.pods), str(layout.bed.subnets.services)} - present
    return f"no route to {', '.join(sorted(absent))}" if absent else None


def _has_link(bed: Testbed) -> bool:
    return Path(f"/sys/class/net/{bed.link_name}").exists()


def _marker(layout: NodeLayout) -> Path:
    """Is there when the last step of setting up the link was done."""
    return layout.bed.node_dir / "link-ready"


def _connect(bed: Testbed, namespace: Path) -> None:
    inside = ("nsenter", f"--net={namespace}")
    prefix = bed.subnets.link.prefixlen
    peer = ("peer", "name", bed.link_name, "netns", str(os.getpid()))
    _run(*inside, "ip", "link", "add", NODE_LINK, "type", "veth", *peer)
    _run("ip", "address", "add", f"{bed.subnets.host}/{prefix}", "dev", bed.link_name)
    _run("ip", "link", "set", bed.link_name, "up")
    _run(*inside, "ip", "address", "add", f"{bed.subnets.node}/{prefix}", "dev", NODE_LINK)
    _run(*inside, "ip", "link", "set", NODE_LINK, "up")
    _run(*inside, "ip", "link", "set", "lo", "up")
    # Nothing lies beyond the host: an attempt to get there fails at once and not after a timeout.
    _run(*inside, "ip", "route", "replace", "unreachable", "default")
    # /proc/sys/net shows the namespace of whoever reads it: the host's own ip_forward is not touched.
    _run(*inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


def _run(*command: str) -> None:
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise ProcessError(f"{' '.join(command)}: {answer.stderr.strip()}")
