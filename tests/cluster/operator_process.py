"""The real operator as a process of its own, as a user starts it, and what a test asks of it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from tests.engines.ports import free_ports

T = TypeVar("T")

TRAINER_IMAGE = "registry.invalid/finetune-trainer:test"
FAST = ("--progress-seconds", "1", "--retry-base-seconds", "0.2", "--retry-cap-seconds", "2", "--finished-job-ttl-seconds", "3600")
"""Waits that a test need not sit through; what is decided is the same."""
PATIENCE = 120.0
"""Seconds for what must come, on a machine that is ten times as slow; no promise of the operator's."""
STOP_SECONDS = 20.0
"""What the operator promises: less than the grace period of its pod."""


def until(look: Callable[[], T], seconds: float = PATIENCE, every: float = 0.05) -> T:
    """The first true answer; fails with the last one."""
    deadline = time.monotonic() + seconds
    while not (answer := look()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(every)
    return answer


@dataclass(frozen=True)
class Scope:
    """What an operator that asks no Lease looks after: of one cluster, these namespaces, or all where there are none."""

    kubeconfig: Path
    namespaces: frozenset[str]

    def meets(self, other: "Scope") -> bool:
        both = self.namespaces and other.namespaces
        return self.kubeconfig == other.kubeconfig and not (both and self.namespaces.isdisjoint(other.namespaces))


_alone: "list[OperatorProcess]" = []
"""Those of this test process that run without a Lease."""


@dataclass
class OperatorProcess:
    """A started operator; `logs` are its lines so far."""

    process: subprocess.Popen[bytes]
    log_file: Path
    health_port: int
    metrics_port: int
    scope: Scope
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def logs(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().rpartition("\n")[0].splitlines()  # of the last one a part may be written
        return [json.loads(line) for line in lines if line.startswith("{")]

    def messages(self, level: str = "") -> list[str]:
        return [line["message"] for line in self.logs if level in ("", line["level"])]

    def metrics(self) -> str:
        return self._get(self.metrics_port, "/metrics")

    def metric(self, name: str) -> float:
        """The value of one series, written as in the exposition; 0 while there is none."""
        return next((float(line.rsplit(" ", 1)[1]) for line in self.metrics().splitlines() if line.rsplit(" ", 1)[0] == name), 0.0)

    def wait_metric(self, name: str, value: float) -> None:
        """Wait until a series has this value: a call is counted when it was answered, after its effect can be seen."""
        until(lambda: self.metric(name) == value or self._dead())

    def probe(self, path: str) -> int:
        try:
            self._get(self.health_port, path)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0
        return 200

    def wait_in_sync(self, seconds: float = PATIENCE) -> None:
        until(lambda: "in sync" in self.messages() or self._dead(), seconds)

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """TERM, and the exit status."""
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _dead(self) -> bool:
        assert self.running, f"the operator ended with {self.process.returncode}:\n{self.log_file.read_text()[-4000:]}"
        return False

    def _get(self, port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return str(answer.read().decode())


def start(kubeconfig: Path, folder: Path, arguments: Sequence[str] = (), *, wait: bool = True) -> OperatorProcess:
    """Start an operator against this kubeconfig; its log goes into ``folder``."""
    health_port, metrics_port = free_ports(2)
    log_file = folder / f"operator-{time.time_ns()}.log"
    command = [
        sys.executable,
        *("-m", "finetune_operator.runtime.main"),
        *("--kubeconfig", str(kubeconfig)),
        *("--trainer-image", TRAINER_IMAGE),
        *("--progress-key-file", str(_progress_key(folder))),
        *("--health-address", "127.0.0.1"),
        *("--health-port", str(health_port)),
        *("--metrics-port", str(metrics_port)),
        *FAST,
        *arguments,
    ]
    scope = Scope(kubeconfig, frozenset(value for flag, value in pairwise(arguments) if flag == "--namespace"))
    alone = not any("leader-elect" in argument for argument in arguments)
    if alone:
        command.append("--no-leader-elect")
        _require_no_rival(scope)
    with log_file.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    operator = OperatorProcess(process, log_file, health_port, metrics_port, scope)
    if alone:
        _alone.append(operator)
    if wait:
        operator.wait_in_sync()
    return operator


@contextmanager
def running(kubeconfig: Path, folder: Path, arguments: Sequence[str] = ()) -> Iterator[OperatorProcess]:
    """An operator for the length of a block, stopped as Kubernetes stops it; one that ended of itself fails whoever used it."""
    operator = start(kubeconfig, folder, arguments)
    try:
        yield operator
    finally:
        by_itself = not operator.running and operator.process.returncode > 0
        operator.stop()
    assert not by_itself, f"the operator ended with {operator.process.returncode}:\n{operator.log_file.read_text()[-4000:]}"


def _require_no_rival(scope: Scope) -> None:
    """Two that ask no Lease and look after the same objects undo each other's statuses: who of them writes last is chance."""
    _alone[:] = [each for each in _alone if each.running]
    rivals = [each.process.args for each in _alone if each.scope.meets(scope)]
    assert not rivals, f"an operator of the same objects runs already: {rivals}"


def _progress_key(folder: Path) -> Path:
    key = folder / "progress.key"
    if not key.exists():
        key.write_bytes(os.urandom(32).hex().encode())
    return key
