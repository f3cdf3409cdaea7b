"""The control group under which all pods of one testbed run, in every hierarchy that the host has.

A parent of our own keeps two testbeds apart, and makes the processes of pods findable when the runtime that started
them is dead.
"""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
END_SECONDS = 20.0


def ensure(name: str) -> None:
    """Make the group in each hierarchy; kubelet refuses a `cgroupRoot` that does not exist."""
    for hierarchy in _hierarchies():
        (hierarchy / name).mkdir(parents=True, exist_ok=True)


def kill(name: str) -> None:
    """Kill every process in the group and below, and wait for their end.

    Raises:
        TimeoutError: processes were left after 20 s.
    """
    deadline = time.monotonic() + END_SECONDS
    while remaining := processes(name):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {sorted(remaining)} in control group {name} survived KILL")
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def remove(name: str) -> None:
    """Remove the group with all below it, and its parent when that is empty; processes must have ended."""
    for hierarchy in _hierarchies():
        top = hierarchy / name
        if not top.exists():
            continue
        for directory in sorted(top.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            if directory.is_dir():
                directory.rmdir()
        top.rmdir()
        if top.parent != hierarchy and not any(entry.is_dir() for entry in top.parent.iterdir()):
            top.parent.rmdir()


def processes(name: str) -> frozenset[int]:
    """Ids of all processes in the group and below, zombies left out (they stay listed until their parent looks)."""
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for members in (hierarchy / name).rglob("cgroup.procs"):
            found.update(int(line) for line in members.read_text().split() if _runs(int(line)))
    return frozenset(found)


def _hierarchies() -> Iterator[Path]:
    """Mount points: one on a host with version 2 only, else each version 1 controller and the unified tree."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        if right.split()[0] in {"cgroup", "cgroup2"} and left.split()[4].startswith(str(ROOT)):
            yield Path(left.split()[4])


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
