"""Takes keys from the queue and reconciles them; one policy per class of error, and nowhere else.

Conflict: look again soon. Throttled, Unavailable: wait, growing with each failure in a row that wrote nothing, at least as long as the
server asks. NotFound: something we lean on is
gone; wait likewise, its deletion arrives as a change. Forbidden, Invalid: only a person can help; look again in a minute. Anything
unknown is a defect: logged with its traceback, counted, and tried again, because one odd object must not stop the others.
"""

import asyncio
import logging
import time
from typing import Final, Protocol

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid
from finetune_operator.control.leader import LeadershipLost
from finetune_operator.control.queue import Closed, WorkQueue
from finetune_operator.control.result import Result

log = logging.getLogger(__name__)

SLOW_RETRY: Final = 60.0
LOUD_AFTER: Final = 3
"""Conflicts and short outages are daily bread; from the third failure of a key in a row on they are worth a warning."""


class Reconciles(Protocol):
    """What brings one object closer to its spec; ``advanced`` are those that wrote something new, even if they failed afterwards."""

    advanced: set[Key]

    async def reconcile(self, key: Key) -> Result: ...


class Counts(Protocol):
    """Where the end of each reconcile is told."""

    def reconciled(self, result: str, seconds: float) -> None: ...


async def work(queue: WorkQueue[Key], reconciler: Reconciles, measures: Counts) -> None:
    """Reconcile keys until the queue is closed. Raises `LeadershipLost`, which has to end the process."""
    while True:
        try:
            key = await queue.get()
        except Closed:
            return
        started = time.perf_counter()
        result = "error"
        try:
            result = await _attempt(queue, reconciler, key)
        finally:
            measures.reconciled(result, time.perf_counter() - started)
            queue.done(key)
        await asyncio.sleep(0)  # a reconcile that writes nothing never waits: thousands in a row would hold up probes and the Lease


async def _attempt(queue: WorkQueue[Key], reconciler: Reconciles, key: Key) -> str:
    try:
        result = await reconciler.reconcile(key)
    except LeadershipLost:
        raise
    except ApiError as error:
        if key in reconciler.advanced:
            queue.forget(key)
        _retry(queue, key, error)
        return type(error).__name__.lower()
    except Exception:  # the one place: a defect in a decision about one object must not stop the others
        delay = queue.retry(key)
        log.exception("reconcile failed", extra={"key": str(key), "retry_in": round(delay, 3)})
        return "defect"
    queue.forget(key)
    if result.again_now:
        queue.add(key)
    if result.requeue_after is not None:
        queue.add_after(key, result.requeue_after)
    return result.outcome


def _retry(queue: WorkQueue[Key], key: Key, error: ApiError) -> None:
    at_least = error.retry_after or 0.0
    if isinstance(error, Forbidden | Invalid):
        at_least = max(at_least, SLOW_RETRY)
    delay = queue.retry(key, at_least=at_least)
    quiet = isinstance(error, Conflict) or queue.failures(key) < LOUD_AFTER
    log.log(
        logging.DEBUG if quiet and at_least < SLOW_RETRY else logging.WARNING,
        "%s: %s",
        type(error).__name__,
        error,
        extra={"key": str(key), "retry_in": round(delay, 3)},
    )
