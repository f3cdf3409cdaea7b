"""Unmounting what a killed runtime or kubelet left mounted."""

import re
import subprocess
from pathlib import Path

from finetune_testbed.processes import ProcessError


def mounted_below(directory: Path) -> list[Path]:
    """Mount points at or under a folder, the deepest and newest first; a point mounted twice is listed twice."""
    points = [_decode(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if point == directory or directory in point.parents]


def is_mounted(path: Path) -> bool:
    """Whether this very path is a mount point."""
    return path in mounted_below(path)


def unmount_below(directory: Path) -> None:
    """Unmount everything at or under a folder.

    Raises:
        ProcessError: something is still in use.
    """
    for point in mounted_below(directory):
        answer = subprocess.run(["umount", str(point)], check=False, capture_output=True, text=True)
        if answer.returncode:
            raise ProcessError(f"cannot unmount: {answer.stderr.strip()}")


def _decode(field: str) -> Path:
    """Undo the escapes of mountinfo, which writes blank, tab, newline and backslash as three octal digits (proc(5))."""
    return Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field))
