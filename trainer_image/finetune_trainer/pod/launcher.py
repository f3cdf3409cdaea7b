"""Starts the processes of a training that uses several accelerators, and ends as the first of them ended.

The usual launchers turn every end into exit code 1 and give 30 seconds after a TERM, or quietly start one process instead of two. Here a
signal is forwarded at once, the ranks agree among themselves when to stop, and the exit code that the operator reads is rank 0's own.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from finetune_trainer.contract import ExitCode, RunSpec
from finetune_trainer.pod.errors import (
    ConfigurationError,
    DataError,
    DivergedError,
    ModelError,
    OutOfMemoryError,
    StepError,
    Stopped,
    StorageError,
)
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.signals import StopFlag
from finetune_trainer.pod.termination import InternalError

GRACE_SECONDS = 10.0
"""How long ranks may take to notice that another one failed, before they are killed."""
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1
_KINDS: dict[int, type[StepError]] = {
    kind.exit_code: kind for kind in (ConfigurationError, DataError, ModelError, OutOfMemoryError, DivergedError, StorageError)
}


@dataclass(frozen=True)
class Rank:
    """One started process."""

    number: int
    process: subprocess.Popen[bytes]


def processes_of(spec: RunSpec) -> int:
    """One process per accelerator; ``$FINETUNE_PROCESSES`` starts several on the CPU. Raises ``ConfigurationError``."""
    asked = os.environ.get("FINETUNE_PROCESSES")
    if spec.resources.gpus:
        return spec.resources.gpus
    if asked is None:
        return 1
    if not asked.isdigit() or int(asked) < 1:
        raise ConfigurationError("InvalidProcesses", f"FINETUNE_PROCESSES: {asked!r} is not a number of processes", "Set it to 1 or more.")
    return int(asked)


def is_rank() -> bool:
    """Whether this very process was started by a launcher."""
    return "RANK" in os.environ


def launch(command: Sequence[str], count: int, *, stop: StopFlag, events: EventLog, grace: float = GRACE_SECONDS) -> int:
    """Run ``count`` ranks of ``command`` and return rank 0's exit code.

    Raises the ``StepError`` of a rank that failed while rank 0 would have gone on: rank 0 then only knows that it lost its company. Raises
    ``Stopped`` likewise if a rank left at a stop while it was still starting, which the others did not wait for.
    """
    port = _free_port()
    ranks = [Rank(number, _start(command, number, count, port, events)) for number in range(count)]
    events.emit("ranks_started", count=count)
    stop.subscribe(lambda: _signal(ranks, signal.SIGTERM))
    with stop.deferred():
        if stop.requested:  # it came between the start of the first rank and the subscription
            _signal(ranks, signal.SIGTERM)
        try:
            first = _wait_for_first_failure(ranks)
            if first is not None:
                _end(ranks, grace)
        finally:
            _signal(ranks, signal.SIGKILL)
            for rank in ranks:
                rank.process.wait()
    return _verdict(ranks, first, asked_to_stop=stop.requested)


def _verdict(ranks: Sequence[Rank], first: Rank | None, *, asked_to_stop: bool) -> int:
    own = _exit_code(ranks[0])
    if first is None or own == ExitCode.STOPPED:
        return own
    if asked_to_stop and any(_exit_code(rank) == ExitCode.STOPPED for rank in ranks):
        raise Stopped("Stopped", "asked to stop while a rank was still starting", "Resume, or let the operator start the next attempt.")
    if first.number == 0:
        return own
    code = _exit_code(first)
    message = f"rank {first.number} of {len(ranks)} ended with exit code {code}"
    raise _KINDS.get(code, InternalError)("RankFailed", message, "The log of this pod says why.")


def _wait_for_first_failure(ranks: Sequence[Rank]) -> Rank | None:
    """Wait until all ranks ended well, or one did not."""
    while True:
        ended = [rank for rank in ranks if rank.process.poll() is not None]
        failed = [rank for rank in ended if rank.process.returncode != 0]
        if failed:
            return failed[0]
        if len(ended) == len(ranks):
            return None
        time.sleep(_POLL_SECONDS)


def _end(ranks: Sequence[Rank], grace: float) -> None:
    """Give the others time to end by themselves, as they do after an agreed stop."""
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and any(rank.process.poll() is None for rank in ranks):
        time.sleep(_POLL_SECONDS)


def _signal(ranks: Sequence[Rank], number: int) -> None:
    for rank in ranks:
        if rank.process.poll() is None:
            rank.process.send_signal(number)


def _exit_code(rank: Rank) -> int:
    """As a shell would say it: a process that a signal killed ends with 128 + its number."""
    code = rank.process.returncode
    return code if code >= 0 else 128 - code


def _start(command: Sequence[str], number: int, count: int, port: int, events: EventLog) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if number:  # one rank speaks for all
        environment["FINETUNE_TERMINATION_LOG"] = os.devnull
    stdout = subprocess.DEVNULL if number else events.descriptor
    tie = _die_with_parent if sys.platform == "linux" else None
    # The command is this program itself, and this process has no other thread yet.
    return subprocess.Popen(list(command), env=environment, stdout=stdout, start_new_session=True, preexec_fn=tie)  # noqa: S603, PLW1509


def _die_with_parent() -> None:
    """A launcher that is killed must not leave ranks behind (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
