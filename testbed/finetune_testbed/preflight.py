"""What a host must offer before anything is started, with the numbers it does offer."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from finetune_testbed.bed import Tier

GB = 10**9
DISK_TO_BUILD = 12 * GB
"""Go module and build caches 9 GB, programs 0.7 GB, etcd and logs."""
DISK_TO_RUN = 2 * GB
DISK_WITH_IMAGES = 30 * GB
"""The above, plus the Python environment with torch and the image that carries it."""
MEMORY_TO_BUILD = 3 * GB
MEMORY = {Tier.T1: 1 * GB, Tier.T2: 2 * GB, Tier.T3: 3 * GB}


class PreflightError(RuntimeError):
    """The host lacks something; the message says how much of what, and where."""


@dataclass(frozen=True)
class Host:
    """What the host offers, in bytes."""

    is_root: bool
    free_disk: int
    available_memory: int


def inspect(folder: Path) -> Host:
    """The host as it is now; `folder` is where cache and state go (or will go)."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return Host(os.geteuid() == 0, shutil.disk_usage(existing).free, _available_memory())


def require(host: Host, tier: Tier, *, build: bool, folder: Path) -> None:
    """Refuse a start that could only end badly.

    Raises:
        PreflightError: not root for T3, too little disk or too little memory.
    """
    if tier is Tier.T3 and not host.is_root:
        raise PreflightError("Tier T3 needs root: it makes network namespaces, mounts and control groups. Run it with sudo, or use T2.")
    require_disk(host, DISK_TO_BUILD if build else DISK_TO_RUN, f"tier {tier}{' with its programs to build' * build}", folder)
    memory = max(MEMORY[tier], MEMORY_TO_BUILD if build else 0)
    if host.available_memory < memory:
        raise PreflightError(f"Tier {tier} needs {memory / GB:.0f} GB of free memory; {host.available_memory / GB:.1f} GB are available.")


def require_disk(host: Host, needed: int, purpose: str, folder: Path) -> None:
    """Raises PreflightError when fewer than `needed` bytes are free."""
    if host.free_disk < needed:
        raise PreflightError(
            f"{needed / GB:.0f} GB of free disk are needed at {folder} for {purpose}; {host.free_disk / GB:.1f} GB are "
            "free. Make room, or name another place in FINETUNE_TESTBED_CACHE and FINETUNE_TESTBED_STATE."
        )


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise PreflightError("/proc/meminfo names no MemAvailable: this is no Linux that the testbed knows")
