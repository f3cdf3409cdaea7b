"""The environment that must be right before torch is imported.

Threads follow the container's CPU limit, not the host's cores, and those that wait for each other sleep: spinning ones take the time slices
that the event loop and the neighbours need. What a person has set stays. Nothing is asked of the hub, nothing is reported to anybody.
"""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def set_library_environment(environ: MutableMapping[str, str] = os.environ, cgroup: Path = CGROUP_ROOT) -> int:
    """Set what is unset and return the number of threads for computing."""
    environ.setdefault("OMP_NUM_THREADS", str(cpu_count(cgroup)))
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environ.setdefault("MKL_NUM_THREADS", environ["OMP_NUM_THREADS"])
    environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    environ["HF_HUB_OFFLINE"] = "1"
    return int(environ["OMP_NUM_THREADS"])


def cpu_count(cgroup: Path = CGROUP_ROOT) -> int:
    """Whole threads worth starting: the quota rounded up, never more than the CPUs this process may run on."""
    available = len(os.sched_getaffinity(0))
    limit = _quota(cgroup)
    return available if limit is None else max(1, min(available, math.ceil(limit - 1e-9)))


def _quota(cgroup: Path) -> float | None:
    """CPUs on average, of control groups version 2 or 1; None where nothing limits."""
    text = _read(cgroup / "cpu.max")
    if text is not None:
        quota, _, period = text.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    quota_v1, period_v1 = _read(cgroup / "cpu" / "cpu.cfs_quota_us"), _read(cgroup / "cpu" / "cpu.cfs_period_us")
    if quota_v1 is None or period_v1 is None or int(quota_v1) <= 0:
        return None
    return int(quota_v1) / int(period_v1)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
