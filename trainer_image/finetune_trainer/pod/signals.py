"""TERM and INT, from the first instruction on: Python as process 1 ignores TERM until somebody installs a handler.

Until a step says otherwise a stop ends the process at once, because nothing is lost that was not sealed. While a step holds
``deferred()`` the signal is only noted, and the step looks at ``requested`` where it can seal and leave (exit code 75).
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Whether this process was asked to stop. One per process, created before anything slow is imported."""

    def __init__(self) -> None:
        self._requested = False
        self._wakes, self._wake = os.pipe()  # no lock: a handler may interrupt whoever holds it
        self._deferred = 0
        self._callbacks: list[Callable[[], None]] = []
        self._leave: Callable[[], None] = _leave_without_words

    def install(self, leave: Callable[[], None] | None = None) -> None:
        """Take over TERM and INT (main thread only). ``leave`` says goodbye and never returns; it runs when nothing is deferred."""
        if leave is not None:
            self._leave = leave
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    @property
    def requested(self) -> bool:
        return self._requested

    def request(self) -> None:
        """Ask for a stop from inside the process, as a signal would, without leaving at once."""
        if not self._requested:
            self._requested = True
            os.write(self._wake, b"!")
            for callback in self._callbacks:
                callback()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when a stop is asked for; it runs between two instructions of the main thread, so it must be short."""
        self._callbacks.append(callback)

    def wait(self, seconds: float) -> bool:
        """Sleep at most ``seconds``; True as soon as a stop is asked for."""
        select.select([self._wakes], [], [], seconds)
        return self._requested

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal only sets the flag; whoever holds this looks at ``requested``. Leaving does not act on a stop noted inside."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        impatient = self.requested  # a second signal does not wait for the seal that the first one asked for
        self.request()
        if self._deferred == 0 or impatient:
            self._leave()


def _leave_without_words() -> None:
    os._exit(75)
