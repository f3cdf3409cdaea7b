"""The work queue, with client-go's contract, because a level-triggered reconciler is only correct on top of it.

A key is queued at most once. A key in work is never handed out a second time: adding it meanwhile marks it dirty and it comes back after
``done``. Failures come back after an exponential, jittered wait. What nobody has looked at yet goes before what changed, because somebody
waits for the first answer; both go before what start-up or the resync asked for.
"""

import asyncio
import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

K = TypeVar("K")

BASE_DELAY: Final = 0.005
MAX_DELAY: Final = 60.0
STALE_ALLOWED: Final = 64
"""Superseded wishes, beyond one for each key, that may wait in the heap before it is tidied."""


class Priority(IntEnum):
    """Nothing was decided yet; something changed now; or nothing is known to have changed."""

    NEW = 0
    CHANGE = 1
    BACKLOG = 2


class QueueMetrics(Protocol):
    """What a queue tells about itself; see `finetune_operator.runtime.metrics`."""

    def waited(self, seconds: float) -> None: ...

    def retried(self) -> None: ...


class WorkQueue(Generic[K]):
    """Belongs to one event loop. ``clock`` is in seconds and monotonic."""

    def __init__(
        self, metrics: QueueMetrics | None = None, *, clock: Callable[[], float] = time.monotonic, rng: random.Random | None = None
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._random = rng or random.Random()  # noqa: S311  jitter, no secret
        self._ready: tuple[deque[K], ...] = tuple(deque() for _ in Priority)
        self._queued: dict[K, tuple[Priority, float]] = {}
        self._working: set[K] = set()
        self._dirty: dict[K, Priority] = {}
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = itertools.count()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many keys wait to be worked on now."""
        return len(self._queued)

    @property
    def working(self) -> int:
        return len(self._working)

    @property
    def delayed(self) -> int:
        return len(self._due)

    def add(self, key: K, priority: Priority = Priority.CHANGE) -> None:
        """Ask for a reconcile of ``key``, now."""
        if self._closed:
            return
        if key in self._working:
            self._dirty[key] = min(priority, self._dirty.get(key, priority))
            return
        known = self._queued.get(key)
        if known is not None:
            if priority < known[0]:  # move up; the old entry is skipped when its turn comes
                self._queued[key] = (priority, known[1])
                self._ready[priority].append(key)
            return
        self._queued[key] = (priority, self._clock())
        self._ready[priority].append(key)
        self._wake()

    def add_after(self, key: K, delay: float) -> None:
        """Ask for a reconcile in ``delay`` seconds; of several wishes for a key the earliest counts."""
        if self._closed:
            return
        if delay <= 0:
            self.add(key)
            return
        due = self._clock() + delay
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._sequence), key))
        if len(self._later) > STALE_ALLOWED + 2 * len(self._due):
            self._drop_superseded()
        if self._later[0][2] == key:
            self._set_alarm()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Ask again after a failure: 5 ms, doubling to 60 s, jittered. Returns the wait in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        nominal = min(MAX_DELAY, BASE_DELAY * 2.0 ** min(failures, 32))
        delay = max(nominal * self._random.uniform(0.5, 1.0), at_least)
        if self._metrics:
            self._metrics.retried()
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """A success: the next failure of this key starts with a short wait again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures of this key in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; it is in work until `done`. Raises `Closed` after `close`."""
        while True:
            key = self._pop()
            if key is not None:
                return key
            if self._closed:
                raise Closed
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # we were chosen and cannot go: somebody else must
                raise

    def done(self, key: K) -> None:
        """Work on ``key`` has ended, however."""
        self._working.discard(key)
        priority = self._dirty.pop(key, None)
        if priority is not None:
            self.add(key, priority)

    def close(self) -> None:
        """Hand out nothing more; keys in work may still be `done`."""
        self._closed = True
        self._queued.clear()
        for ready in self._ready:
            ready.clear()
        self._later.clear()
        self._due.clear()
        self._set_alarm()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _pop(self) -> K | None:
        for priority in Priority:
            ready = self._ready[priority]
            while ready:
                key = ready.popleft()
                known = self._queued.get(key)
                if known is None or known[0] != priority:
                    continue
                del self._queued[key]
                self._working.add(key)
                if self._metrics:
                    self._metrics.waited(self._clock() - known[1])
                return key
        return None

    def _drop_superseded(self) -> None:
        """An earlier wish leaves the later one where it is; a run with a deadline of days would leave one at every look."""
        self._later = [entry for entry in self._later if self._due.get(entry[2]) == entry[0]]
        heapq.heapify(self._later)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _promote(self) -> None:
        """Move what is due into the queue, and set the alarm for the next."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._later:
            delay = max(0.0, self._later[0][0] - self._clock())
            self._alarm = asyncio.get_running_loop().call_later(delay, self._promote)


class Closed(Exception):
    """The queue hands out nothing more."""
