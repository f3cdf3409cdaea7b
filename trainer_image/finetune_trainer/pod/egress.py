"""Is there a way outside from this pod? Asked before any data are mounted, and again and again while a model trains on them.

A connection that is taken up is a way outside, and so is a name that is resolved; a refusal is none, because the operator reaches the same
target all the time and is not refused there. Rules of some network plugins come a moment after the pod: so a probe goes on until nothing
has answered several times in a row.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass

from finetune_trainer.contract.egress import METADATA, OUTSIDE_NAME, EgressReport, Probe, Tried, endpoint

ANSWER_SECONDS = 2.0
"""How long an answer is waited for; where packets vanish, every try takes so long."""
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class EgressTargets:
    """Addresses as ``host:port``, and a name that only the outside knows."""

    outside: str
    metadata: str = METADATA
    name: str = OUTSIDE_NAME

    def all(self) -> tuple[str, ...]:
        return self.outside, self.metadata, self.name

    def answering(self) -> frozenset[str]:
        """Try each once, all at the same time; those that answered in time."""
        pool = ThreadPoolExecutor(3, thread_name_prefix="egress")
        tries = {
            pool.submit(_connects, self.outside): self.outside,
            pool.submit(_connects, self.metadata): self.metadata,
            pool.submit(_resolves, self.name): self.name,
        }
        done, _ = wait(tries, timeout=2 * ANSWER_SECONDS)
        pool.shutdown(wait=False)
        return frozenset(tries[each] for each in done if each.result())


@dataclass(frozen=True)
class EgressWatch:
    """What to try while a step lasts, and how often."""

    targets: EgressTargets
    every_seconds: float


def prove_closed(
    targets: EgressTargets,
    times: int,
    within_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> EgressReport:
    """Closed once nothing has answered ``times`` times in a row; open if something still answers after ``within_seconds``."""
    rounds: list[frozenset[str]] = []
    deadline, silent = clock() + within_seconds, 0
    while True:
        answered = targets.answering()
        rounds.append(answered)
        silent = 0 if answered else silent + 1
        if silent >= times:
            return report(targets, rounds, Probe.CLOSED)
        if answered and clock() >= deadline:
            return report(targets, rounds, Probe.OPEN)
        pause(PAUSE_SECONDS)


def report(targets: EgressTargets, rounds: Sequence[frozenset[str]], result: Probe) -> EgressReport:
    tried = tuple(Tried(target=each, tries=len(rounds), answered=sum(each in answered for answered in rounds)) for each in targets.all())
    return EgressReport.model_validate({"result": result, "rounds": len(rounds), "tried": tried})


class EgressGuard:
    """A thread that tries every so often. One answer is enough: ``opened`` hears of it, once, from that thread."""

    def __init__(self, watch: EgressWatch, heard: Callable[[EgressReport], None], opened: Callable[[], None]) -> None:
        self._watch = watch
        self._heard = heard
        self._opened = opened
        self._rounds: list[frozenset[str]] = []
        self._end = threading.Event()
        self.open = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="egress-guard", daemon=True).start()

    def end(self) -> None:
        """No further try begins."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(self._watch.every_seconds):
            answered = self._watch.targets.answering()
            self._rounds.append(answered)
            self.open = bool(answered)
            self._heard(report(self._watch.targets, self._rounds, Probe.OPEN if answered else Probe.CLOSED))
            if answered:
                self._opened()
                return


def _connects(target: str) -> bool:
    with suppress(OSError), socket.create_connection(endpoint(target), timeout=ANSWER_SECONDS):
        return True
    return False


def _resolves(name: str) -> bool:
    """Asked as it stands, without the search domains of the cluster; the resolver of the C library gives up soon, as it is told to here."""
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    with suppress(OSError):
        return bool(socket.getaddrinfo(f"{name}." if "." in name.strip(".") else name, None))
    return False
