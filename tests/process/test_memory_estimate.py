"""The memory estimate against real processes: four small models here, the whole table with ``make bench-full``."""

import pytest

from tests.performance.memory_estimate import SMALL, TOLERANCE, Case, compare


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", SMALL, ids=[case.name for case in SMALL])
def test_a_training_takes_the_memory_that_was_estimated(case: Case) -> None:
    (outcome,) = compare([case])
    assert abs(outcome.error) <= TOLERANCE, outcome.line()
