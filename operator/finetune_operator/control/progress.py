"""Asks the pods that train how far they are, each at a bounded rate, and remembers the last answer for the next decision."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from finetune_operator.api.base import LABEL_STEP
from finetune_operator.cluster.cache import ClusterCache, Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.progress import NoProgress, ProgressReader
from finetune_operator.control.measures import Measures
from finetune_operator.domain.observed import PodProgress
from finetune_operator.domain.progress import progress_target
from finetune_trainer.contract import Step

log = logging.getLogger(__name__)

TICK: Final = 1.0
FIRST: Final = 2.0
"""Seconds between questions until the first training step is seen; afterwards the interval of the settings."""
CONCURRENT: Final = 16
TRUSTED_INTERVALS: Final = 4
"""How long an answer counts, in intervals: a pod that has fallen silent must not keep promising the same time of arrival."""


class ProgressPoller:
    """``answers`` holds the last answer of each pod that still runs."""

    def __init__(
        self,
        cache: ClusterCache,
        reader: ProgressReader,
        *,
        progress_key: bytes,
        interval: float,
        notify: Callable[[Key], None],
        measures: Measures,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.answers: dict[str, PodProgress] = {}
        self._cache = cache
        self._reader = reader
        self._progress_key = progress_key
        self._interval = interval
        self._notify = notify
        self._measures = measures
        self._clock = clock
        self._now = now
        self._due: dict[str, float] = {}
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self.poll()

    async def poll(self) -> None:
        """Ask every pod whose turn it is; forget the pods that run no more."""
        training = {pod["metadata"]["uid"]: pod for pod in self._cache.pods.values() if _trains(pod)}
        for uid in [uid for uid in self._due if uid not in training]:
            del self._due[uid]
            self.answers.pop(uid, None)
        self._drop_old_answers(training)
        moment = self._clock()
        due = [pod for uid, pod in training.items() if self._due.get(uid, 0.0) <= moment]
        async with asyncio.TaskGroup() as group:
            for pod in due:
                group.create_task(self._ask(pod))

    def _drop_old_answers(self, training: dict[str, Manifest]) -> None:
        oldest = self._now() - timedelta(seconds=TRUSTED_INTERVALS * max(self._interval, FIRST))
        for uid in [uid for uid, answer in self.answers.items() if answer.read_at < oldest]:
            del self.answers[uid]
            key = self._cache.key_of(training[uid]) if uid in training else None
            if key is not None:
                self._notify(key)

    async def _ask(self, pod: Manifest) -> None:
        uid = pod["metadata"]["uid"]
        before = self.answers.get(uid)
        begun = before is not None and before.report.step > 0
        self._due[uid] = self._clock() + (self._interval if begun else min(FIRST, self._interval)) * random.uniform(0.9, 1.0)  # noqa: S311
        key = self._cache.key_of(pod)
        resource = self._cache.parents.get(key) if key else None
        target = progress_target(resource, (pod,), self._progress_key) if resource else None
        if key is None or target is None:
            return
        try:
            async with self._slots:
                report = await self._reader.read(target, target.token)
        except NoProgress as error:
            self._measures.progress_read("failed")
            log.debug("no progress: %s", error, extra={"key": str(key)})
            return
        self._measures.progress_read("ok")
        self.answers[uid] = PodProgress(pod=target.name, read_at=self._now(), report=report)
        if before is None or before.report != report:
            self._notify(key)


def _trains(pod: Manifest) -> bool:
    """Whether it is a running pod of a train step; whether it is the current one the domain says."""
    return bool(pod["metadata"]["labels"].get(LABEL_STEP) == Step.TRAIN and pod["status"].get("phase") == "Running")
