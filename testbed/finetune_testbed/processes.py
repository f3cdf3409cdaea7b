"""Daemons of a testbed: started with a log and a record, waited for by condition, stopped in order.

A record holds the process id *and* its start time and the boot it belongs to, so that a stale record never kills a
stranger that got the same number.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune_testbed.bed import Problem, Testbed

POLL_SECONDS = 0.05
STOP_SECONDS = 20.0


class ProcessError(RuntimeError):
    """A daemon did not come up; the message ends with the tail of its log."""


@dataclass(frozen=True)
class Daemon:
    """One long-running program.

    `ready` answers None when the daemon serves, otherwise why not yet. `namespace` is a path to a network namespace
    that the program enters (only the network: a new mount namespace would hide the cgroup mounts from kubelet).
    """

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], str | None]
    environment: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    ready_seconds: float = 60.0

    @property
    def command(self) -> tuple[str, ...]:
        return ("nsenter", f"--net={self.namespace}", *self.argv) if self.namespace else self.argv


@dataclass(frozen=True)
class Record:
    """A started daemon, as stored in `run/NAME.json`."""

    pid: int
    started: int
    """Clock ticks after boot."""
    boot: str
    command: tuple[str, ...]
    environment: dict[str, str]


def ensure(bed: Testbed, daemon: Daemon) -> bool:
    """Let the daemon run as described and serve; True if it had to be started.

    A running daemon with another command line is replaced.

    Raises:
        ProcessError: it ended, or did not serve within `ready_seconds`.
    """
    return bool(ensure_all(bed, [daemon]))


def ensure_all(bed: Testbed, daemons: Sequence[Daemon]) -> list[str]:
    """Like `ensure` for daemons that do not wait for each other; the names of those that had to be started."""
    started = []
    for daemon in daemons:
        record = read_record(bed, daemon.name)
        if record is None or not is_alive(record) or not _is_described(record, daemon):
            stop(bed, daemon.name)
            start(bed, daemon)
            started.append(daemon.name)
    for daemon in daemons:
        record = read_record(bed, daemon.name)
        if record is not None:
            wait_ready(bed, daemon, record)
    return started


def is_outdated(bed: Testbed, daemon: Daemon) -> bool:
    """Whether it runs, but not as described: `ensure` would replace it."""
    record = read_record(bed, daemon.name)
    return record is not None and is_alive(record) and not _is_described(record, daemon)


def _is_described(record: Record, daemon: Daemon) -> bool:
    return record.command == daemon.command and record.environment == dict(daemon.environment)


def start(bed: Testbed, daemon: Daemon) -> Record:
    """Start without waiting, so that independent daemons can come up side by side; follow with `wait_ready`."""
    bed.logs.mkdir(parents=True, exist_ok=True)
    bed.run.mkdir(parents=True, exist_ok=True)
    log = log_path(bed, daemon.name)
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            daemon.command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **daemon.environment},
            cwd=bed.state_dir,
            start_new_session=True,
        )
    started = _start_ticks(process.pid)
    record = Record(process.pid, started or 0, _boot_id(), daemon.command, dict(daemon.environment))
    path = _record_path(bed, daemon.name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)))
    partial.replace(path)
    # The parent may live on (a test session): the dead are told by their state, not by a waited-for handle.
    process.returncode = 0
    return record


def wait_ready(bed: Testbed, daemon: Daemon, record: Record) -> None:
    """Wait until the daemon serves.

    Raises:
        ProcessError: it ended, or did not serve within `ready_seconds`.
    """
    deadline = time.monotonic() + daemon.ready_seconds
    while True:
        reason = daemon.ready()
        if reason is None:
            return
        if not is_alive(record):
            raise ProcessError(f"{daemon.name} ended during start-up.\n{tail(bed, daemon.name)}")
        if time.monotonic() > deadline:
            raise ProcessError(f"{daemon.name} was not ready after {daemon.ready_seconds:.0f} s: {reason}\n{tail(bed, daemon.name)}")
        time.sleep(POLL_SECONDS)


def stop(bed: Testbed, name: str, seconds: float = STOP_SECONDS) -> None:
    """TERM, and KILL after `seconds`; nothing when the process is gone or its number now belongs to another."""
    record = read_record(bed, name)
    if record is not None:
        terminate(record, seconds)
    _record_path(bed, name).unlink(missing_ok=True)


def terminate(record: Record, seconds: float = STOP_SECONDS) -> None:
    """End one recorded process and wait for its end. The process handle excludes a race with a reused number.

    A killed process whose first thread is a zombie holds its files and ports until its last thread is gone; the handle
    waits for that one too.
    """
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if record.boot != _boot_id() or _start_ticks(record.pid) != record.started:
            return
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, STOP_SECONDS)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _ended(handle, patience):
                return
        raise ProcessError(f"process {record.pid} ({record.command[0]}) survived KILL for {STOP_SECONDS:.0f} s")
    finally:
        os.close(handle)
        _reap(record.pid)


def is_alive(record: Record) -> bool:
    """Whether this very process runs; a zombie does not count."""
    _reap(record.pid)
    return record.boot == _boot_id() and _start_ticks(record.pid) == record.started and _state(record.pid) not in "ZX"


def read_record(bed: Testbed, name: str) -> Record | None:
    path = _record_path(bed, name)
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    return Record(**{**stored, "command": tuple(stored["command"])})


def recorded(bed: Testbed) -> list[str]:
    """Names of all daemons that were started and not stopped."""
    return sorted(path.stem for path in bed.run.glob("*.json"))


def problems(bed: Testbed, daemon: Daemon) -> list[Problem]:
    """What is wrong with a daemon that should run; one look, no waiting."""
    record = read_record(bed, daemon.name)
    if record is None:
        return [Problem(daemon.name, "not started")]
    if not is_alive(record):
        return [Problem(daemon.name, f"process {record.pid} is gone")]
    reason = daemon.ready()
    return [Problem(daemon.name, reason)] if reason else []


def log_path(bed: Testbed, name: str) -> Path:
    return bed.logs / f"{name}.log"


def tail(bed: Testbed, name: str, lines: int = 15) -> str:
    """The last lines of a daemon's log, for error messages."""
    path = log_path(bed, name)
    if not path.exists():
        return f"(no log at {path})"
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16384))
        text = stream.read().decode(errors="replace")
    return "\n".join([f"--- {path}", *text.splitlines()[-lines:]])


def _record_path(bed: Testbed, name: str) -> Path:
    return bed.run / f"{name}.json"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks after boot (field 22 of /proc/PID/stat); None for no process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _state(pid: int) -> str:
    """The letter of the process's state (field 3); X for no process."""
    fields = _stat(pid)
    return fields[0] if fields else "X"


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on: the second is the name, which may hold spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text[text.rindex(")") + 2 :].split()


def _ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


def _reap(pid: int) -> None:
    """Collect our own dead child; another's child is its parent's business."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
