"""Passes numbers on to an MLflow server while a model trains, from a thread of its own: what it costs the training is a list append.

A tracker is a convenience. One that does not answer, or answers slowly, stops and delays nothing: so many points wait for it, the oldest
are given up for newer ones, and the end waits a few seconds at most.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, Protocol

from finetune_trainer.contract.tracking import TrackerReport

WAITING = 20_000
"""Points that may wait: at five a step, an hour of training or more."""
EVERY_SECONDS = 5.0
LONGEST_PAUSE = 60.0
"""Between two tries of a tracker that does not answer, in the end."""
END_SECONDS, STOP_SECONDS = 20.0, 5.0
"""How long the end of a training waits for what is to be said; of one that was asked to stop less: its pod has little time."""
TEXT_LIMIT = 250
"""Characters of a parameter that every server takes."""
BATCH = 500
"""Points in one request; a server takes 1,000 things at once, parameters and tags included."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class TrackerError(Exception):
    """The server was not reached or did not do as asked; the text is ours, whatever it answered."""


@dataclass(frozen=True)
class Point:
    """One value of a metric; ``at`` is in milliseconds since 1970."""

    name: str
    value: float
    step: int
    at: int


@dataclass(frozen=True)
class Described:
    """How a run is found and shown. ``mark`` is the same for all attempts of a run, and for no other run."""

    experiment: str
    name: str
    mark: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrackedRun:
    """A run on the server: ``parameters`` are those that it has, ``steps`` the last step of each metric."""

    id: str
    parameters: frozenset[str] = frozenset()
    steps: Mapping[str, int] = field(default_factory=dict)


class Server(Protocol):
    """What a tracker needs of a server; all raise `TrackerError`."""

    def begin(self, described: Described, at: int) -> TrackedRun: ...

    def log(
        self, run: str, points: tuple[Point, ...] = (), parameters: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> None: ...

    def mark(self, run: str, status: Status, at: int | None = None) -> None: ...

    def close(self) -> None: ...


class Tracker:
    """``changed`` hears of another report, from the tracker's thread."""

    def __init__(
        self,
        server: Server,
        described: Described,
        changed: Callable[[TrackerReport], None],
        *,
        now: Callable[[], float] = time.time,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._server = server
        self._described = described
        self._changed = changed
        self._now = now
        self._every = every_seconds
        self._lock = threading.Lock()
        self._points: deque[Point] = deque()
        self._parameters: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._run: TrackedRun | None = None
        self._began_at = self._milliseconds()
        self._status: Status | None = None
        self._wake, self._done = threading.Event(), threading.Event()
        self.report = TrackerReport()

    def start(self) -> None:
        threading.Thread(target=self._pass_on, name="tracker", daemon=True).start()

    def values(self, step: int, values: Mapping[str, float | None]) -> None:
        """Values of metrics at this step, by name; what is no number is left out."""
        at = self._milliseconds()
        found = [Point(name, value, step, at) for name, value in values.items() if value is not None and math.isfinite(value)]
        with self._lock:
            self._points.extend(found)
            lost = len(self._points) - WAITING
            for _ in range(lost):
                self._points.popleft()
            many = len(self._points) >= BATCH
        if lost > 0:
            self._tell(lost=self.report.lost + lost)
        if many:
            self._wake.set()

    def parameters(self, values: Mapping[str, str]) -> None:
        """Settings; those that the run has already stay what they are, because a server changes none."""
        with self._lock:
            self._parameters |= {name: value[:TEXT_LIMIT] for name, value in values.items()}

    def tags(self, values: Mapping[str, str]) -> None:
        with self._lock:
            self._tags |= {name: value[:TEXT_LIMIT] for name, value in values.items()}

    def finish(self, status: Status, seconds: float) -> None:
        """Say what is left and how it ended, and wait for that so long at most."""
        self._status = status
        self._wake.set()
        if not self._done.wait(seconds):
            self._tell(trouble="no answer in time")
        with self._lock:
            left = len(self._points)
        if left:
            self._tell(lost=self.report.lost + left)

    def _pass_on(self) -> None:
        try:
            self._until_the_end()
        finally:  # also after a defect of ours: the training's end does not wait for a thread that is gone, and tells what was lost
            self._done.set()
            self._server.close()

    def _until_the_end(self) -> None:
        pause = 0.0
        last: Status | None = None
        while last is None:
            self._wake.wait(pause)
            self._wake.clear()
            last = self._status
            try:
                self._send(last)
            except TrackerError as error:
                self._tell(trouble=str(error)[:256])
                pause = min(LONGEST_PAUSE, max(self._every, pause * 2))
            else:
                self._tell(trouble=None, run_id=self._run.id if self._run is not None else None)
                pause = self._every

    def _send(self, status: Status | None) -> None:
        if self._run is None:
            self._run = self._server.begin(self._described, self._began_at)
        run = self._run
        while True:
            with self._lock:
                batch = tuple(islice(self._points, BATCH))
                parameters = {name: value for name, value in self._parameters.items() if name not in run.parameters}
                tags = dict(self._tags)
            fresh = tuple(point for point in batch if point.step > run.steps.get(point.name, -1))
            if fresh or parameters or tags:
                self._server.log(run.id, fresh, parameters, tags)
            with self._lock:
                sent = set(map(id, batch))
                while self._points and id(self._points[0]) in sent:
                    self._points.popleft()
                known = run.parameters | parameters.keys()
                self._parameters = {name: value for name, value in self._parameters.items() if name not in known}
                self._tags = {name: value for name, value in self._tags.items() if tags.get(name) != value}
                left = len(self._points)
            if not left or (left < BATCH and status is None):
                break
        if status is not None:
            self._server.mark(run.id, status, self._milliseconds())

    def _tell(self, **changes: object) -> None:
        with self._lock:
            before, self.report = self.report, self.report.model_copy(update=changes)
        if self.report != before:
            self._changed(self.report)

    def _milliseconds(self) -> int:
        return round(self._now() * 1000)
