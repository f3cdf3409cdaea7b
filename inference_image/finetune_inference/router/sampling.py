"""Which answers are checked, and the way to the checker."""

import random
from functools import partial
from weakref import WeakSet

from finetune_inference.contract import CheckOutcome
from finetune_inference.router.book import Entry
from finetune_inference.router.checking import Checker, Sample
from finetune_inference.router.measures import Arm, Measures
from finetune_inference.router.reading import Reading
from finetune_inference.router.upstream import Answer

KEPT_AT_ONCE = 256
"""Answers that a worker keeps at a time while they are being read."""


class Sampling:
    """Draws the sample of a worker."""

    def __init__(self, checker: Checker, measures: Measures, rng: random.Random | None = None) -> None:
        self._checker = checker
        self._measures = measures
        self._rng = rng or random.Random()  # noqa: S311  a sample, no secret
        self._kept: WeakSet[Reading] = WeakSet()

    def reading(self, entry: Entry, answer: Answer, arm: Arm, began: float) -> Reading:
        """Reads an answer, and keeps it if it was drawn; not more than `KEPT_AT_ONCE` are kept at a time."""
        check = entry.route.schema_check
        drawn = check is not None and entry.validator is not None and self._rng.randrange(100) < check.sample_percent
        if not drawn or answer.status != 200:
            return Reading(answer, arm, began, keep=False)
        if len(self._kept) >= KEPT_AT_ONCE:
            self._measures.checks_dropped.inc()
            return Reading(answer, arm, began, keep=False)
        reading = Reading(answer, arm, began, keep=True)
        self._kept.add(reading)
        return reading

    def offer(self, entry: Entry, reading: Reading, arm: Arm, *, streamed: bool) -> None:
        """Queue a complete answer, if it was drawn; one that finds no room is counted as dropped."""
        if entry.validator is None or not (reading.kept or reading.too_long):
            return
        sample = Sample(reading.kept, streamed, entry.validator, partial(_count, arm))
        if reading.too_long or not self._checker.offer(sample):
            self._measures.checks_dropped.inc()


def _count(arm: Arm, outcome: CheckOutcome) -> None:
    arm.checks[outcome].inc()
