"""Which answers are checked, and the way to the checker."""

import random
from functools import partial

from finetune_inference.contract import CheckOutcome
from finetune_inference.router.book import Entry
from finetune_inference.router.checking import Checker, Sample
from finetune_inference.router.measures import Arm, Measures
from finetune_inference.router.reading import Reading


class Sampling:
    """Draws the sample of a worker."""

    def __init__(self, checker: Checker, measures: Measures, rng: random.Random | None = None) -> None:
        self._checker = checker
        self._measures = measures
        self._rng = rng or random.Random()  # noqa: S311  a sample, no secret

    def wants(self, entry: Entry) -> bool:
        """Whether the next answer of this route belongs to the sample."""
        check = entry.route.schema_check
        return check is not None and entry.validator is not None and self._rng.randrange(100) < check.sample_percent

    def offer(self, entry: Entry, reading: Reading, arm: Arm, *, streamed: bool) -> None:
        """Queue a complete answer, if it was drawn; one that finds no room is counted as dropped."""
        if entry.validator is None or not (reading.kept or reading.too_long):
            return
        sample = Sample(reading.kept, streamed, entry.validator, partial(_count, arm))
        if reading.too_long or not self._checker.offer(sample):
            self._measures.checks_dropped.inc()


def _count(arm: Arm, outcome: CheckOutcome) -> None:
    arm.checks[outcome].inc()
