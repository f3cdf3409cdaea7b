"""The control group under which all pods of one testbed run, in every hierarchy that the host has.

A parent of our own keeps two testbeds apart, and makes the processes of pods findable when the runtime that started
them is dead.

Of cgroup version 2 a group has only the controllers that its parent passes on. What kubelet needs is switched on from the
root down to our parent; what that changed at the root of the host is kept under /run, and the last testbed takes it back.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from finetune_testbed import locks
from finetune_testbed.node.sysctls import RUN
from finetune_testbed.processes import ProcessError

ROOT = Path("/sys/fs/cgroup")
END_SECONDS = 20.0
NEEDED_BY_KUBELET = ("cpu", "cpuset", "hugetlb", "memory", "pids")
"""Of these kubelet wants each that the host has (`supportedUnifiedControllers` of its cgroup manager)."""


def ensure(name: str, run: Path = RUN) -> None:
    """Make the group in each hierarchy, with the controllers that kubelet needs; it refuses a `cgroupRoot` that lacks either.

    Raises:
        ProcessError: version 2, and a group above ours cannot pass controllers on; the message says what to do.
    """
    with locks.held_beside(run):
        for hierarchy in _hierarchies():
            group = hierarchy / name
            group.mkdir(parents=True, exist_ok=True)
            if _is_unified(hierarchy):
                _pass_on(hierarchy, _record(run))
                for ancestor in reversed(group.relative_to(hierarchy).parents[:-1]):
                    _switch_on(hierarchy / ancestor)
            for part in (hierarchy / Path(name).parts[0], group):
                _weigh(part)


def _weigh(group: Path) -> None:
    """As much as a node's processors count for a pod that asks for all of them (1,024 shares each).

    A new group weighs as much as a single process of the host, and all pods of a testbed would starve beside a few of those.
    """
    for control, each in (("cpu.shares", 1024), ("cpu.weight", 100)):  # version 1, version 2
        if (group / control).exists():
            (group / control).write_text(str(each * (os.cpu_count() or 1)))


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


def remove(name: str, run: Path = RUN) -> None:
    """Remove the group with all below it, and its parent when that is empty; processes must have ended."""
    with locks.held_beside(run):
        for hierarchy in _hierarchies():
            top = hierarchy / name
            if top.exists():
                for directory in sorted(top.rglob("*"), key=lambda path: len(path.parts), reverse=True):
                    if directory.is_dir():
                        directory.rmdir()
                top.rmdir()
            if top.parent != hierarchy and top.parent.exists() and not any(entry.is_dir() for entry in top.parent.iterdir()):
                top.parent.rmdir()
            if _is_unified(hierarchy) and not top.parent.exists():
                _take_back(hierarchy, _record(run))


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


def _is_unified(hierarchy: Path) -> bool:
    return (hierarchy / "cgroup.controllers").exists()


def _record(run: Path) -> Path:
    """Names of the controllers that we switched on at the root."""
    return run / "cgroup-controllers"


def _pass_on(root: Path, record: Path) -> None:
    """Switch controllers on at the root of the host, and write down which before it is done."""
    lacking = _lacking(root)
    if not lacking:
        return
    added = set(record.read_text().split()) if record.exists() else set()
    record.parent.mkdir(parents=True, exist_ok=True)
    unfinished = record.with_suffix(".partial")
    unfinished.write_text(" ".join(sorted(added.union(lacking))))
    unfinished.replace(record)
    _switch_on(root)


def _take_back(root: Path, record: Path) -> None:
    """Switch off at the root what we switched on, except what other groups have begun to pass on: the kernel says who has."""
    if not record.exists():
        return
    for controller in record.read_text().split():
        with contextlib.suppress(OSError):  # EBUSY: in use; ENOENT: off already
            _write(root / "cgroup.subtree_control", f"-{controller}")
    record.unlink()
    with contextlib.suppress(OSError):  # the settings of kubelet are still remembered there
        record.parent.rmdir()


def _lacking(group: Path) -> list[str]:
    """What kubelet needs, the group has, and its children do not get."""
    offered = (group / "cgroup.controllers").read_text().split()
    passed_on = (group / "cgroup.subtree_control").read_text().split()
    return [name for name in NEEDED_BY_KUBELET if name in offered and name not in passed_on]


def _switch_on(group: Path) -> None:
    for controller in _lacking(group):
        try:
            _write(group / "cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            reason = f"cannot switch on the {controller} controller for groups below {group}: {error.strerror}"
            if error.errno == errno.EBUSY:
                procs = f"{group}/cgroup.procs"
                reason += (
                    f". Processes live in {group} itself, as in a container with control groups of its own. Start that container with "
                    f"--cgroupns=host, or move them into a group below: mkdir -p {group}/init && "
                    f"for pid in $(cat {procs}); do echo $pid > {group}/init/cgroup.procs; done"
                )
            raise ProcessError(reason) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
