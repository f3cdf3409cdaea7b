"""Copies of live requests to the canary, whose answers nobody sees: what an adapter would have done, at a capped cost.

A copy begins after its original is on its way, has connections of its own, and is not made when as many as may be are open.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, replace

from finetune_inference.contract import Outcome, Track
from finetune_inference.router.book import Entry
from finetune_inference.router.exchange import Means
from finetune_inference.router.intake import Asked
from finetune_inference.router.options import Options
from finetune_inference.router.reading import Cut
from finetune_inference.router.upstream import Answer, Upstream

COPY_LIMIT = 1 << 20
"""Bytes of a request that is copied at most: building a copy holds up the event loop for a while."""


@dataclass(frozen=True)
class _Copy:
    """A request to be sent once more."""

    entry: Entry
    canary: str
    asked: Asked
    path: str
    headers: dict[str, str]


class Shadows:
    """All copies of one worker."""

    def __init__(self, means: Means, upstream: Upstream, options: Options, slot: int, rng: random.Random | None = None) -> None:
        self._means = replace(means, upstream=upstream)
        self._options = options
        self._slot = slot
        self._rng = rng or random.Random()  # noqa: S311  a sample, no secret
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, entry: Entry, asked: Asked, path: str, headers: dict[str, str], *, chosen: str) -> None:
        """Copy this request if its route shadows, chance says so and there is room; returns at once."""
        shadow, canary = entry.route.shadow, entry.route.canary
        if shadow is None or canary is None or chosen == canary or self._rng.randrange(100) >= shadow.percent:
            return
        if asked.size > COPY_LIMIT or self._open[entry.route.alias] >= self._options.share(shadow.max_concurrent, self._slot):
            self._means.traffic.measures.shadow_dropped.inc()
            return
        self._open[entry.route.alias] += 1
        task = asyncio.create_task(self._send(_Copy(entry, canary, asked, path, headers)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop all copies."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, copy: _Copy) -> None:
        outcome = Outcome.ABORTED
        try:
            with self._means.traffic.asking(copy.entry.route.deployment, copy.canary):
                outcome = await self._ask(copy)
        finally:
            self._open[copy.entry.route.alias] -= 1
            self._means.traffic.ended(copy.entry, copy.canary, Track.SHADOW, outcome)

    async def _ask(self, copy: _Copy) -> Outcome:
        pod = self._means.pods.pick(copy.entry.route.deployment, copy.canary, (), time.monotonic())
        if pod is None:
            return Outcome.ERROR
        began = time.monotonic()
        with pod.asking():
            answer = await self._means.upstream.ask(pod, copy.path, copy.asked.body_for(copy.canary), copy.headers)
            return await self._read(copy, answer, began) if isinstance(answer, Answer) else Outcome.ERROR

    async def _read(self, copy: _Copy, answer: Answer, began: float) -> Outcome:
        arm = self._means.traffic.arm(copy.entry, copy.canary, Track.SHADOW)
        reading = self._means.sampling.reading(copy.entry, answer, arm, began)
        try:
            if answer.streamed:
                async with aclosing(reading.chunks()) as chunks:
                    async for _ in chunks:
                        pass
        except Cut:
            return Outcome.ERROR
        finally:
            answer.response.close()
        outcome = reading.settle()
        if outcome is Outcome.OK:
            self._means.sampling.offer(copy.entry, reading, arm, streamed=answer.streamed)
        return outcome
