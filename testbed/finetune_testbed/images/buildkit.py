"""BuildKit on the testbed's own containerd: what it builds is where the node looks for it, unpacked.

With its other worker an image leaves as one archive and comes back through an import; for the trainer that would be
6 GB and minutes after each changed line. Here a changed line costs one small layer.
"""

import fcntl
import json
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from finetune_testbed import binaries, processes
from finetune_testbed.images import base
from finetune_testbed.node import configuration, containerd, imagestore
from finetune_testbed.node.layout import CONTAINERD_NAMESPACE, NodeLayout
from finetune_testbed.processes import Daemon

# The runtime is a script that enters the host's network first: the node's own has no way to a package registry.
_CONFIG = Template("""\
root = "$root"
insecure-entitlements = ["network.host"]
[grpc]
  address = ["unix://$socket"]
[worker.oci]
  enabled = false
[worker.containerd]
  enabled = true
  address = "$containerd"
  namespace = "$namespace"
  snapshotter = "overlayfs"
  networkMode = "host"
  defaultCgroupParent = "/$cgroup/buildkit"
  gc = true
  [worker.containerd.runtime]
    name = "io.containerd.runc.v2"
    options = { BinaryName = "$runtime", Root = "$runtime_state" }
  [[worker.containerd.gcpolicy]]
    all = true
    maxUsedSpace = "40GB"
""")
_RUNTIME = Template("""\
#!/bin/sh
exec nsenter --net='$namespace' runc "$$@"
""")
_STEP = re.compile(
    r"#\d+ (?:(\[\S.*|exporting layers|unpacking to \S+)$"  # what BuildKit itself does
    r"|[\d.]+ +((?:Downloading|Prepared|Installed|Bytecode compiled) .*))"  # uv's words inside the longest step
)
_WIDTH = 110


class BuildError(RuntimeError):
    """A Dockerfile did not build; the message ends with the last lines of the build."""


@dataclass(frozen=True)
class Build:
    """One build. Secrets map an id to a `buildctl` source, such as `src=/path` or `env=NAME`."""

    context: Path
    dockerfile: Path
    reference: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)


def daemon(layout: NodeLayout) -> Daemon:
    """Run BuildKit next to containerd; its configuration is written here."""
    bed = layout.bed
    runtime = configuration.write(layout, "runc-on-the-host-network", _RUNTIME.substitute(namespace=layout.host_network_namespace))
    runtime.chmod(0o755)
    text = _CONFIG.substitute(
        root=imagestore.path(bed) / "buildkit",
        socket=layout.buildkit_socket,
        containerd=layout.containerd_socket,
        namespace=CONTAINERD_NAMESPACE,
        cgroup=layout.cgroup,
        runtime=runtime,
        runtime_state=layout.containerd_state / "runc-buildkit",
    )
    config = configuration.write(layout, "buildkitd.toml", text)
    return Daemon(
        name="buildkitd",
        argv=(str(binaries.path("buildkitd", bed.cache_dir)), "--config", str(config)),
        ready=lambda: problem(layout),
        environment=configuration.mark(config),
    )


def problem(layout: NodeLayout) -> str | None:
    """Why BuildKit does not serve, or None."""
    if not layout.buildkit_socket.exists():
        return "no socket yet"
    answer = subprocess.run([*_buildctl(layout), "debug", "workers"], check=False, capture_output=True, text=True)
    return answer.stderr.strip() if answer.returncode else None


def build(layout: NodeLayout, what: Build, base_image: base.BaseImage, progress: Callable[[str], None]) -> str:
    """Build an image into the node's store; returns the digest of its manifest.

    Raises:
        BuildError: a step failed.
        ProcessError: BuildKit did not come up.
    """
    with (layout.bed.node_dir / "build.lock").open("w") as lock:  # the daemon belongs to one build at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes.ensure(layout.bed, daemon(layout))
        try:
            digest = _run(layout, what, base_image, progress)
            name_by_digest(layout, what.reference, digest)
            _drop_package_cache(layout, progress)
        finally:
            processes.stop(layout.bed, "buildkitd")
    return digest


def name_by_digest(layout: NodeLayout, reference: str, digest: str) -> None:
    """Give an image the name under which kubelet looks it up when a pod names it by digest; nothing when it has it."""
    name = by_digest(reference, digest)
    if not containerd.has_image(layout, name):
        containerd.run(layout, "images", "tag", "--force", reference, name)


def by_digest(reference: str, digest: str) -> str:
    """`REPOSITORY:TAG` and a digest as `REPOSITORY@DIGEST`."""
    return f"{reference.rsplit(':', 1)[0]}@{digest}"


def _buildctl(layout: NodeLayout) -> tuple[str, ...]:
    return str(binaries.path("buildctl", layout.bed.cache_dir)), "--addr", f"unix://{layout.buildkit_socket}"


def _arguments(what: Build, base_image: base.BaseImage, metadata: Path) -> Sequence[str]:
    # Little compression: the image goes no further than this disk, and reading it back is what takes time.
    exported = (
        f'type=image,"name={what.reference}"',
        *("store=true", "unpack=true"),
        *("compression=zstd", "compression-level=1", "oci-mediatypes=true"),
    )
    options = [
        "build",
        "--progress=plain",
        "--frontend=dockerfile.v0",
        f"--local=context={what.context}",
        f"--local=dockerfile={what.dockerfile.parent}",
        f"--opt=filename={what.dockerfile.name}",
        f"--oci-layout=base={base_image.layout}",
        f"--opt=context:debian:bookworm-slim=oci-layout://base@{base_image.digest}",
        "--allow=network.host",
        "--opt=force-network-mode=host",
        f"--output={','.join(exported)}",
        f"--metadata-file={metadata}",
    ]
    options += [f"--secret=id={name},{source}" for name, source in what.secrets.items()]
    options += [f"--opt=build-arg:{name}={value}" for name, value in what.arguments.items()]
    return options


def _run(layout: NodeLayout, what: Build, base_image: base.BaseImage, progress: Callable[[str], None]) -> str:
    """Run buildctl, passing on one line for each step; returns the manifest's digest."""
    last: deque[str] = deque(maxlen=30)
    told: set[str] = set()
    with tempfile.NamedTemporaryFile(dir=layout.bed.node_dir, suffix=".json") as metadata:
        command = [*_buildctl(layout), *_arguments(what, base_image, Path(metadata.name))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                step = step_of(line)
                if step and step not in told:
                    told.add(step)
                    progress(f"  {step}")
        if process.returncode:
            raise BuildError("the image did not build:\n" + "\n".join(last))
        return str(json.loads(Path(metadata.name).read_text())["containerimage.digest"])


def _drop_package_cache(layout: NodeLayout, progress: Callable[[str], None]) -> None:
    """Give back the disk that cache mounts take (6 GB after the trainer image), which only a renewed lock file would use.

    The image is whole without: a failure costs disk until the next build, and is told.
    """
    command = [*_buildctl(layout), "prune", "--filter=type==exec.cachemount"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        progress(f"  the packages' cache stays on the disk until the next build: {done.stderr.strip()}")


def step_of(line: str) -> str:
    """What a line of buildctl's plain output says about the build's course; empty when it is of no interest."""
    match = _STEP.match(line.rstrip())
    return " ".join((match.group(1) or match.group(2)).split())[:_WIDTH] if match else ""
