"""Base model and dataset travel onto the cluster's claims through a small pod, which works on every cluster that has storage.

The same pod reads the published artifact back at the end.
"""

import contextlib
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from demo.kubectl import Kubectl, KubectlError

LOADER = "claims"


def start_loader(kubectl: Kubectl, namespace: str, manifest: Path, image: str) -> None:
    """Start the pod that mounts the claims, and wait until it runs.

    One that an interrupted demo left goes first: with another image it would be restarted in the middle of a copy.
    """
    stop_loader(kubectl, namespace)
    text = manifest.read_text().replace("TRAINER_IMAGE", image)
    kubectl.run("apply", "-n", namespace, "-f", "-", stdin=text.encode())
    kubectl.run("wait", "-n", namespace, "--for=condition=Ready", f"pod/{LOADER}", "--timeout=300s")


def stop_loader(kubectl: Kubectl, namespace: str) -> None:
    kubectl.run("delete", "pod", LOADER, "-n", namespace, "--ignore-not-found", "--wait=true")


def put(kubectl: Kubectl, namespace: str, source: Path, destination: str) -> None:
    """Copy a file or the content of a folder into ``destination`` on a claim; raises `KubectlError` with what kubectl said."""
    command = kubectl.command(
        "exec", "-i", "-n", namespace, LOADER, "--", "sh", "-c", f"mkdir -p {destination} && tar -x -C {destination} -f -"
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stderr is not None
        arrived = _send(source, process.stdin)
        errors = process.stderr.read().decode()
    if process.returncode != 0 or not arrived:
        raise KubectlError(f"copying {source.name} to {destination}: {errors.strip() or 'kubectl ended before it had read all of it'}")


def _send(source: Path, stdin: IO[bytes]) -> bool:
    """Write the archive and close the pipe; False when kubectl ended before it had read all of it, for a reason that it tells itself."""
    try:
        with tarfile.open(fileobj=stdin, mode="w|") as archive:
            for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
                if path.is_file():
                    archive.add(path, arcname=str(path.relative_to(source)) if source.is_dir() else path.name, filter=anonymous)
        stdin.close()
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            stdin.close()  # what is still in its buffer goes nowhere either
        return False
    return True


def read(kubectl: Kubectl, namespace: str, path: str) -> str:
    """A text file of a claim."""
    return kubectl.run("exec", "-n", namespace, LOADER, "--", "cat", path)


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The claim's files belong to whoever unpacks them; the host's users mean nothing there."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry
