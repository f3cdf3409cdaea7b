"""Validates a sample of complete answers off the hot path: a bounded queue, one thread, and no answer is kept once it is counted.

When answers come faster than they can be checked, the newest are dropped and counted as dropped: a sample stays a sample, traffic is never
held up.
"""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from jsonschema.protocols import Validator

from finetune_inference.contract import CheckOutcome
from finetune_inference.router.answers import texts
from finetune_inference.router.schemas import SchemaInvalid, complies

ANSWER_LIMIT = 1 << 18
"""Bytes of an answer, as it came, that is checked at most."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A complete answer in the pieces in which it came; ``count`` is called with the result, on the checking thread."""

    chunks: tuple[bytes, ...]
    streamed: bool
    validator: Validator
    count: Callable[[CheckOutcome], None]


class Checker:
    """The queue and its thread."""

    def __init__(self, size: int) -> None:
        self._queue: queue.Queue[Sample | None] = queue.Queue(size)
        self._thread = threading.Thread(target=self._run, name="schema-checks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Check what is queued, for some seconds at most."""
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def offer(self, sample: Sample) -> bool:
        """False if the answer is not checked because the queue is full."""
        try:
            self._queue.put_nowait(sample)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while sample := self._queue.get():
            outcome = judged(sample)
            if outcome is not None:
                sample.count(outcome)


def judged(sample: Sample) -> CheckOutcome | None:
    """Valid if every choice of the answer is; none if there is nothing to judge."""
    found = texts(b"".join(sample.chunks), streamed=sample.streamed)
    if not found:
        return None
    try:
        return CheckOutcome.VALID if all(complies(sample.validator, text) for text in found) else CheckOutcome.INVALID
    except SchemaInvalid as error:
        log.warning("an answer was not checked: %s", error)
        return None
