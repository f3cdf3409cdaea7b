"""What this container may use: libraries look at the host instead and then run eight times too many threads or plan with foreign memory.

Limits come from the control group, version 2 or 1 (https://docs.kernel.org/admin-guide/cgroup-v2.html).
"""

import math
import os
import shutil
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60  # version 1 spells "no limit" as a huge number


def cpu_limit(root: Path = CGROUP_ROOT) -> float | None:
    """CPUs this container may use on average, or None where no quota is set."""
    text = _read(root / "cpu.max")
    if text is not None:
        quota, _, period = text.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    quota_v1, period_v1 = _read(root / "cpu" / "cpu.cfs_quota_us"), _read(root / "cpu" / "cpu.cfs_period_us")
    if quota_v1 is None or period_v1 is None or int(quota_v1) <= 0:
        return None
    return int(quota_v1) / int(period_v1)


def cpu_count(root: Path = CGROUP_ROOT) -> int:
    """Whole threads worth starting: the quota rounded up, never more than the CPUs this process may run on."""
    available = len(os.sched_getaffinity(0))
    limit = cpu_limit(root)
    return available if limit is None else max(1, min(available, math.ceil(limit - 1e-9)))


def memory_limit(root: Path = CGROUP_ROOT) -> int | None:
    """Bytes beyond which the kernel kills this container, or None."""
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        text = _read(path)
        if text is not None:
            return None if text == "max" or int(text) >= _UNLIMITED else int(text)
    return None


def free_bytes(folder: Path) -> int:
    """Bytes this user can still write on the file system of ``folder``."""
    return shutil.disk_usage(folder).free


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
