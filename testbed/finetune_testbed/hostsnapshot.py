"""What a testbed could leave behind on its host, as a value that can be compared.

`finetune-testbed down` promises to leave the machine as it found it. A promise needs a measurement: take a snapshot
before, another one after, and every difference is named in words.
"""

import json
import re
import subprocess
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
)
"""Settings that kubelet, kube-proxy or a CNI plugin are known to change."""

_OUR_CGROUP = re.compile(r"/(finetune-testbed|kubepods|k8s\.io|buildkit)(/|$)")
_PROGRAMS = frozenset(
    {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kwok",
        "coredns",
        "containerd",
        "containerd-shim-runc-v2",
        "containerd-shim",
        "buildkitd",
        "pause",
    }
)


@dataclass(frozen=True)
class HostSnapshot:
    """Everything on the host that a testbed may touch; each entry is one line of text."""

    processes: frozenset[str]
    mounts: frozenset[str]
    network_namespaces: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    nftables: frozenset[str]
    cgroups: frozenset[str]
    loop_devices: frozenset[str]
    sysctls: frozenset[str]
    cgroup_controllers: frozenset[str]

    def differences(self, later: "HostSnapshot") -> list[str]:
        """Say what appeared and what disappeared between this snapshot and a later one; empty when nothing did."""
        changes = []
        for field in fields(self):
            before, after = getattr(self, field.name), getattr(later, field.name)
            changes += [f"{field.name}: appeared: {line}" for line in sorted(after - before)]
            changes += [f"{field.name}: disappeared: {line}" for line in sorted(before - after)]
        return changes


def snapshot(ignore: Collection[str] = ()) -> HostSnapshot:
    """Read the host, without what belongs to the testbeds named. Needs root for nftables and other users' processes."""

    def is_ours(text: str) -> bool:
        """Paths of a testbed's files and control groups hold its name as a folder."""
        return not any(f"/{name}/" in text or text.endswith(f"/{name}") for name in ignore)

    return HostSnapshot(
        processes=frozenset(_processes(is_ours)),
        mounts=frozenset(filter(is_ours, _mounts())),
        network_namespaces=frozenset(_network_namespaces(is_ours)),
        links=frozenset(str(link["ifname"]) for link in _ip_json("link")),
        routes=frozenset(_routes()),
        nftables=frozenset(_nftables()),
        cgroups=frozenset(filter(is_ours, _cgroups())),
        loop_devices=frozenset(filter(is_ours, _loop_devices())),
        sysctls=frozenset(_sysctls()),
        cgroup_controllers=frozenset(_cgroup_controllers()),
    )


def _processes(is_ours: Callable[[str], bool]) -> Iterable[str]:
    """Cluster programs, and whatever runs in a cgroup that a testbed made, wherever it was started."""
    for directory in Path("/proc").glob("[0-9]*"):
        name = _read(directory / "comm").strip()
        command = _read(directory / "cmdline").replace("\0", " ").strip()
        cgroup = _read(directory / "cgroup")
        program = command.split(" ", 1)[0].rsplit("/", 1)[-1] or name
        if not command and _is_zombie(directory):
            continue  # ended; its parent has yet to notice
        known = program in _PROGRAMS or "finetune_testbed.node" in command or _OUR_CGROUP.search(cgroup)
        if known and is_ours(command) and all(map(is_ours, cgroup.splitlines())):
            yield f"{directory.name} {command or name}"


def _is_zombie(directory: Path) -> bool:
    return _read(directory / "stat").rpartition(")")[2].strip().startswith("Z")


def _mounts() -> Iterable[str]:
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, right = line.split(" - ", 1)
        yield f"{left.split()[4]} ({right.split()[0]})"


def _network_namespaces(is_ours: Callable[[str], bool]) -> Iterable[str]:
    for directory in (Path("/run/netns"), Path("/var/run/netns")):
        if directory.is_dir():
            yield from (entry.name for entry in directory.iterdir())
    seen = set()
    for directory in Path("/proc").glob("[0-9]*"):
        words = (_read(directory / "cmdline").replace("\0", " "), *_read(directory / "cgroup").splitlines())
        if not all(map(is_ours, words)):
            continue
        try:
            seen.add(str((directory / "ns/net").readlink()))
        except OSError:  # the process ended, or is a kernel thread in another namespace of processes
            continue
    yield from seen


def _routes() -> Iterable[str]:
    for route in _ip_json("route", "show", "table", "all"):
        yield " ".join(str(route[key]) for key in ("type", "dst", "gateway", "dev", "table") if key in route)


def _nftables() -> Iterable[str]:
    try:
        listing = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return listing.stdout.splitlines()


def _cgroups() -> Iterable[str]:
    root = Path("/sys/fs/cgroup")
    if not root.is_dir():
        return
    for directory in root.rglob("*"):
        path = "/" + str(directory.relative_to(root))
        if _OUR_CGROUP.search(path) and directory.is_dir():
            yield path


def _cgroup_controllers() -> Iterable[str]:
    """What the root of the version 2 hierarchy passes on to the groups below."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        yield from _read(root / "cgroup.subtree_control").split()


def _loop_devices() -> Iterable[str]:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield f"{backing.parent.parent.name} {_read(backing).strip()}"


def _sysctls() -> Iterable[str]:
    for name in SYSCTLS:
        path = Path("/proc/sys") / name
        if path.exists():
            yield f"{name.replace('/', '.')} = {_read(path).strip()}"


def _ip_json(*arguments: str) -> list[dict[str, object]]:
    listing = subprocess.run(["ip", "-json", *arguments], check=True, capture_output=True, text=True)
    parse: Callable[[str], list[dict[str, object]]] = json.loads
    return parse(listing.stdout or "[]")


def _read(path: Path) -> str:
    """Read a kernel file; a process that ended meanwhile reads as empty."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
