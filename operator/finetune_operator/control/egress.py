"""The positive control of the egress probe: the operator, whose egress is open, reaches the target that shut-in pods must not reach.

A target that answers nobody proves nothing. So it is tried all the time, and what changes is a new question about every governed job.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from finetune_trainer.contract import endpoint

log = logging.getLogger(__name__)

EVERY: Final = 15.0
"""Seconds between two tries; while nobody answers, a fifth of it."""
PATIENCE: Final = 3.0
"""Seconds for an answer; a try that fails is made once more before it counts."""


class EgressControl:
    """``target`` is HOST:PORT; ``changed`` hears when it begins to answer, and when it ceases to."""

    def __init__(self, target: str, changed: Callable[[], None], *, every: float = EVERY) -> None:
        self.reached = False
        self.tried = asyncio.Event()
        """Set once the first answer, or its absence, is known."""
        self._host, self._port = endpoint(target)
        self._target = target
        self._changed = changed
        self._every = every

    async def run(self) -> None:
        """Try for ever."""
        while True:
            reached = await self._connects() or await self._connects()
            if reached != self.reached or not self.tried.is_set():
                self._tell(reached)
                self.reached = reached
                self._changed()
            self.tried.set()
            await asyncio.sleep(self._every if reached else self._every / 5)

    def _tell(self, reached: bool) -> None:
        if reached:
            log.info("the target of egress probes answers the operator", extra={"target": self._target})
        else:
            log.warning("the target of egress probes does not answer: what needs a closed egress waits", extra={"target": self._target})

    async def _connects(self) -> bool:
        with suppress(OSError, TimeoutError):
            _, writer = await asyncio.wait_for(asyncio.open_connection(self._host, self._port), PATIENCE)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return True
        return False
