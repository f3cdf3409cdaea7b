"""The container runtime: Debian's containerd, configured to touch nothing outside the testbed's folders."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from string import Template

from finetune_testbed import processes
from finetune_testbed.node import configuration, imagestore, mounts
from finetune_testbed.node.layout import CNI_PLUGINS, CONTAINERD_NAMESPACE, PAUSE_IMAGE, NodeLayout
from finetune_testbed.processes import Daemon, ProcessError

SHIM_END_SECONDS = 10.0
BEGINNING_OF_LOG = 1 << 20

# restrict_oom_score_adj: pods ask for a lower OOM score than a root without CAP_SYS_RESOURCE may set, and runc then
# dies with "can't get final child's PID from pipe".
_CONFIG = Template("""\
version = 2
root = "$root"
state = "$state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "$socket"

[plugins."io.containerd.internal.v1.opt"]
  path = "$state/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cni_plugins"
    conf_dir = "$cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "$state/runc"
        SystemdCgroup = false
""")


class RuntimeCommandError(ProcessError):
    """`ctr` refused; the message holds its words."""


def daemon(layout: NodeLayout) -> Daemon:
    """Run containerd in the node's network namespace; its configuration is written here."""
    text = _CONFIG.substitute(
        root=root(layout),
        state=layout.containerd_state,
        socket=layout.containerd_socket,
        pause=PAUSE_IMAGE,
        cni_plugins=CNI_PLUGINS,
        cni=layout.cni,
    )
    config = configuration.write(layout, "containerd.toml", text)
    return Daemon(
        name="containerd",
        argv=("containerd", "--config", str(config)),
        ready=lambda: problem(layout),
        environment=configuration.mark(config),
        namespace=str(layout.network_namespace),
    )


def root(layout: NodeLayout) -> Path:
    """Where images and snapshots are kept."""
    return imagestore.path(layout.bed) / "containerd"


def problem(layout: NodeLayout) -> str | None:
    """Why containerd does not serve, or None."""
    if not layout.containerd_socket.exists():
        return "no socket yet"
    answer = _ctr(layout, "version")
    if answer.returncode:
        return answer.stderr.strip() or "no answer"
    return None if _has_recovered(layout) else "it still recovers its images and pods"


def _has_recovered(layout: NodeLayout) -> bool:
    """Whether kubelet may ask; before, it is refused and ends. Nothing but the beginning of containerd's log tells."""
    with processes.log_path(layout.bed, "containerd").open("rb") as log:
        return b"Start streaming server" in log.read(BEGINNING_OF_LOG)


def has_image(layout: NodeLayout, reference: str) -> bool:
    """Whether the node can start a container from this image without pulling."""
    return reference in run(layout, "images", "list", "--quiet").split()


def digest_of(layout: NodeLayout, reference: str) -> str:
    """Digest of an image's manifest; empty when the node does not have it."""
    for line in run(layout, "images", "list", f"name=={reference}").splitlines()[1:]:
        return line.split()[2]
    return ""


def import_image(layout: NodeLayout, archive: Path) -> list[str]:
    """Load an OCI or Docker archive and unpack it; returns the references it brought."""
    before = set(run(layout, "images", "list", "--quiet").split())
    # Room for the unpacked layers' temporary files next to the store, not in a small /tmp.
    with tempfile.TemporaryDirectory(dir=root(layout)) as scratch:
        output = run(layout, "images", "import", str(archive), temporary=scratch)
    named = [line.split()[1] for line in output.splitlines() if line.startswith("unpacking ")]
    after = set(run(layout, "images", "list", "--quiet").split())
    return sorted(set(named) & after or after - before)


def remove_containers(layout: NodeLayout) -> None:
    """End all tasks and forget all containers, so that the next cluster finds images only."""
    for container in run(layout, "containers", "list", "--quiet").split():
        _ctr(layout, "tasks", "delete", "--force", container)  # fails when the task already ended, which is the aim
        run(layout, "containers", "delete", container)


def end_shims(layout: NodeLayout) -> None:
    """End the processes that containerd left to hold its containers; they outlive it by design."""
    deadline = time.monotonic() + SHIM_END_SECONDS
    while shims := _shims(layout):
        for shim in shims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(shim, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"containerd shims {shims} survived KILL")
        time.sleep(0.02)


def clear(layout: NodeLayout) -> None:
    """Unmount and delete what belongs to running containers only; the image store stays. Nothing may run any more."""
    mounts.unmount_below(layout.containerd_state)
    shutil.rmtree(layout.containerd_state, ignore_errors=True)
    layout.containerd_socket.unlink(missing_ok=True)
    _remove_dead_shim_sockets()
    for result in Path("/var/lib/cni/results").glob(f"{layout.cni_network}-*"):
        result.unlink()
    for directory in (Path("/var/lib/cni/results"), Path("/var/lib/cni")):
        with contextlib.suppress(OSError):  # absent, or another network uses it
            directory.rmdir()


def run(layout: NodeLayout, *arguments: str, temporary: str = "") -> str:
    """Run `ctr` in the namespace of Kubernetes.

    Raises:
        RuntimeCommandError: it failed.
    """
    answer = _ctr(layout, *arguments, temporary=temporary)
    if answer.returncode:
        raise RuntimeCommandError(f"ctr {' '.join(arguments)} failed: {answer.stderr.strip()}")
    return answer.stdout


def _ctr(layout: NodeLayout, *arguments: str, temporary: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": temporary} if temporary else None
    command = ["ctr", "--address", str(layout.containerd_socket), "--namespace", CONTAINERD_NAMESPACE, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def _shims(layout: NodeLayout) -> list[int]:
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0].endswith(b"containerd-shim-runc-v2") and str(layout.containerd_socket).encode() in words:
            found.append(int(directory.name))
    return found


def _remove_dead_shim_sockets(folder: Path = Path("/run/containerd/s")) -> None:
    """Shims of every containerd put their sockets into one fixed folder; a killed shim leaves its own behind.

    Only an attempt to connect tells dead ones from living ones: /proc/net/unix lists the sockets of one network namespace.
    """
    for path in folder.glob("*"):
        if _is_dead(path):
            path.unlink(missing_ok=True)
    for directory in (folder, folder.parent):
        with contextlib.suppress(OSError):  # absent, or another containerd uses it
            directory.rmdir()


def _is_dead(path: Path) -> bool:
    """Whether nobody listens any more."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.setblocking(False)
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # busy, or gone meanwhile
    return False


def stop(layout: NodeLayout) -> None:
    """End containerd, its containers and their shims, also when a part of them already died."""
    if problem(layout) is None:
        remove_containers(layout)
    processes.stop(layout.bed, "containerd")
    end_shims(layout)
    clear(layout)
