"""Data folders behind persistent volumes: plain ones, and ones that are truly full when their size is used up."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from finetune_testbed.node import mounts

SMALLEST_LIMITED_BYTES = 1 << 20
CLOSED = 0o770


class VolumeError(RuntimeError):
    """The volume cannot be made; the message says why."""


@dataclass(frozen=True)
class Volume:
    """One volume's place on the host. `size_bytes` is enforced only when `limited`."""

    root: Path
    name: str
    size_bytes: int
    limited: bool

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def image(self) -> Path:
        return self.root / f"{self.name}.ext4"


CLOSED = 0o770
"""Mode of a new volume, set once: kubelet adds the group and its set-group-ID bit, which a later chmod would take away again."""


def ensure(volume: Volume) -> None:
    """Make the folder, owned by root and closed to others: a pod gets in by its fsGroup, as on a cluster's real disks.

    A limited volume is an ext4 file system in a file of that size, mounted over the folder. Owner and mode are set
    once: afterwards they are kubelet's, whose setgid bit hands the group on to subPath folders.

    Raises:
        VolumeError: a limited volume is too small for a file system, or could not be made or mounted.
    """
    if not volume.limited:
        if not volume.path.exists():
            volume.path.mkdir(parents=True)
            volume.path.chmod(CLOSED)
        return
    volume.path.mkdir(parents=True, exist_ok=True)
    if mounts.is_mounted(volume.path):
        return
    new = not volume.image.exists()
    if new:
        _make_file_system(volume)
    _run("mount", "-o", "loop,noatime", str(volume.image), str(volume.path))
    if new:
        volume.path.chmod(CLOSED)


def remove(volume: Volume) -> None:
    """Unmount and delete the data; nothing when it is gone."""
    mounts.unmount_below(volume.path)
    if volume.path.exists():
        shutil.rmtree(volume.path)
    volume.image.unlink(missing_ok=True)


def _make_file_system(volume: Volume) -> None:
    if volume.size_bytes < SMALLEST_LIMITED_BYTES:
        raise VolumeError(f"a limited volume needs at least {SMALLEST_LIMITED_BYTES} bytes, not {volume.size_bytes}")
    partial = volume.image.with_suffix(".partial")
    with partial.open("wb") as image:
        image.truncate(volume.size_bytes)
    # No journal and no blocks kept back for root: what was asked for is what the pod can fill.
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(partial))
    partial.rename(volume.image)


def _run(*command: str) -> None:
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise VolumeError(f"{command[0]} failed: {answer.stderr.strip()}")
