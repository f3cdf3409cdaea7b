"""What happens in a pod, as JSON lines on its standard output: for people with ``kubectl logs`` and for log collectors alike.

Libraries print what they like, so the first thing done is to keep the real standard output for events and to send every other print to
standard error. Events carry numbers, names and digests, never the text of a row.
"""

import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Scalar = str | int | float | bool | None
Value = Scalar | Sequence[Scalar] | Mapping[str, Scalar] | Sequence[Mapping[str, Scalar]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class EventLog:
    """Writes ``{"v":1,"ts":…,"attempt":…,"seq":…,"event":…,…}`` lines; ``seq`` counts within the attempt."""

    def __init__(self, attempt: int, descriptor: int = 1, clock: Callable[[], datetime] = utc_now) -> None:
        self._attempt = attempt
        self._descriptor = descriptor
        self._clock = clock
        self._sequence = 0
        self._lock = threading.RLock()  # a signal may interrupt the main thread inside emit

    @property
    def to_terminal(self) -> bool:
        """Whether a person watches."""
        return os.isatty(self._descriptor)

    @property
    def descriptor(self) -> int:
        """Where the lines go, for processes of the same step."""
        return self._descriptor

    def emit(self, event: str, **fields: Value) -> None:
        """Write one event; ``event`` is snake_case; a float that is no number becomes null, because JSON has no word for it.

        A reader that went away is no reason to stop training.
        """
        with self._lock:
            self._sequence += 1
            timestamp = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
            head = {"v": 1, "ts": timestamp, "attempt": self._attempt, "seq": self._sequence, "event": event}
            line = json.dumps({**head, **_finite(fields)}, ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False) + "\n"
            try:
                os.write(self._descriptor, line.encode("utf-8", "replace"))
            except BrokenPipeError:
                self._descriptor = os.open(os.devnull, os.O_WRONLY)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(entry) for entry in value]
    return value


def keep_stdout_for_events() -> int:
    """Return a descriptor of the real standard output; from now on everything else that prints there arrives at standard error."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor
