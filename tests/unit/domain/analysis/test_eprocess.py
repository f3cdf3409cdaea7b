"""The evidence is an e-value: expected value at most 1 without harm, whatever the shares; and it grows with harm."""

import math
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_operator.domain.analysis.eprocess import ALARM, RATIOS, Window, evidence


def test_the_bets_are_spread_evenly_from_1_2_to_20():
    assert (RATIOS[0], RATIOS[-1]) == (pytest.approx(1.2), pytest.approx(20.0))
    steps = [math.log(after / before) for before, after in pairwise(RATIOS)]
    assert max(steps) == pytest.approx(min(steps))


@pytest.mark.parametrize("windows", [(), (Window(),), (Window(100, 0, 900, 0),), (Window(100, 60, 0, 0),), (Window(0, 0, 50, 20),)])
def test_without_a_failure_or_without_two_arms_there_is_no_evidence(windows: tuple[Window, ...]):
    assert evidence(windows) == pytest.approx(1.0)


def test_one_failure_counts_as_the_average_of_its_likelihood_ratios():
    by_hand = sum(ratio / (1 + 0.1 * (ratio - 1)) for ratio in RATIOS) / len(RATIOS)
    assert evidence([Window(10, 1, 90, 0)]) == pytest.approx(by_hand)


@given(st.integers(10, 90), st.integers(1, 25))
def test_its_expected_value_without_harm_is_one_at_every_share(percent: int, failures: int):
    share = percent / 100
    chances = [math.comb(failures, hits) * share**hits * (1 - share) ** (failures - hits) for hits in range(failures + 1)]
    values = [evidence([Window(percent, hits, 100 - percent, failures - hits)]) for hits in range(failures + 1)]
    assert sum(chance * value for chance, value in zip(chances, values, strict=True)) == pytest.approx(1.0, rel=1e-4)


@given(st.integers(5, 50), st.integers(0, 12), st.integers(0, 50))
def test_a_failure_of_the_canary_raises_it_and_one_of_stable_lowers_it(percent: int, of_canary: int, of_stable: int):
    value = evidence([Window(percent, of_canary, 100 - percent, of_stable)])
    assert evidence([Window(percent, of_canary + 1, 100 - percent, of_stable)]) > value
    assert evidence([Window(percent, of_canary, 100 - percent, of_stable + 1)]) < value


def test_windows_with_different_weights_add_up_each_with_its_own_share():
    first, second = Window(50, 5, 950, 10), Window(250, 12, 750, 8)
    together = Window(300, 17, 1700, 18)
    apart = evidence([first, second])
    assert apart > max(evidence([first]), evidence([second]))
    assert apart != pytest.approx(evidence([together]), rel=0.05)


def test_it_never_overflows():
    assert math.isfinite(evidence([Window(10**9, 10**8, 10**9, 0)]))
    assert evidence([Window(10**9, 0, 10**9, 10**8)]) >= 0.0


@pytest.mark.parametrize("weight", [0.05, 0.2])
def test_four_times_the_error_rate_is_found_after_about_seventy_canary_requests(weight: float):
    generator = np.random.default_rng(11)
    needed = [_requests_to_alarm(generator, weight, 0.02, 0.08) for _ in range(120)]
    assert 45 <= median(needed) <= 105


def _requests_to_alarm(generator: np.random.Generator, weight: float, stable: float, canary: float) -> int:
    """Looked at after every failure, as nothing rises in between."""
    of_canary = generator.random(40_000) < weight
    failed = generator.random(40_000) < np.where(of_canary, canary, stable)
    here, there = np.cumsum(of_canary), np.cumsum(~of_canary)
    lost, kept = np.cumsum(of_canary & failed), np.cumsum(~of_canary & failed)
    for position in np.flatnonzero(failed):
        window = Window(int(here[position]), int(lost[position]), int(there[position]), int(kept[position]))
        if evidence([window]) >= ALARM:
            return window.canary
    return 40_000
