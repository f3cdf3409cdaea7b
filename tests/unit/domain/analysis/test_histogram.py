"""Histograms: quantiles as Prometheus interpolates them, sums over routers of two releases, differences within one process."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_operator.domain.analysis.bounds import quantile_interval
from finetune_operator.domain.analysis.histogram import Histogram

TENTHS = Histogram((1.0, 2.0, 4.0), (10, 20, 10, 0))


@pytest.mark.parametrize(("share", "seconds"), [(0.125, 0.5), (0.25, 1.0), (0.5, 1.5), (0.75, 2.0), (1.0, 4.0)])
def test_a_quantile_is_interpolated_within_its_bucket(share: float, seconds: float):
    assert TENTHS.quantile(share) == pytest.approx(seconds)


def test_above_the_last_bound_only_the_bound_is_known():
    histogram = Histogram((1.0,), (1, 9))
    assert histogram.quantile(0.95) == 1.0
    assert histogram.overflows(0.95)
    assert not histogram.overflows(0.1)
    assert quantile_interval(histogram, 0.5, 10).high == math.inf


def test_cumulative_buckets_become_counts():
    assert Histogram.of_buckets({2.0: 30, 1.0: 10, math.inf: 40}) == Histogram((1.0, 2.0), (10, 20, 10))
    assert Histogram.of_buckets({}).total == 0


@pytest.mark.parametrize("buckets", [{1.0: 3}, {1.0: 3, math.inf: 2}])
def test_buckets_that_do_not_rise_or_do_not_end_are_refused(buckets: dict[float, int]):
    with pytest.raises(ValueError, match=r"below zero|missing"):
        Histogram.of_buckets(buckets)


def test_routers_of_two_releases_are_added_on_the_bounds_both_know():
    old, new = Histogram((1.0, 2.0), (1, 2, 3)), Histogram((0.5, 1.0, 2.0, 3.0), (1, 1, 1, 1, 1))
    assert old.plus(new) == Histogram((1.0, 2.0), (3, 3, 5))
    assert new.plus(old) == old.plus(new)


def test_a_difference_needs_an_earlier_state_of_the_same_process():
    later = Histogram((1.0,), (5, 5))
    assert later.minus(Histogram((1.0,), (2, 1))) == Histogram((1.0,), (3, 4))
    assert later.minus(Histogram()) == later
    for other in (Histogram((2.0,), (1, 1)), Histogram((1.0,), (6, 0))):
        with pytest.raises(ValueError, match=r"bounds|below zero"):
            later.minus(other)


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_quantiles_rise_with_their_share_and_the_interval_holds_the_estimate(numbers: list[int], one: float, other: float):
    histogram = Histogram((0.1, 0.5, 2.0), tuple(numbers))
    low, high = sorted((one, other))
    assert histogram.quantile(low) <= histogram.quantile(high) + 1e-9
    if histogram.total:
        interval = quantile_interval(histogram, one, histogram.total)
        assert interval.low - 1e-9 <= histogram.quantile(one) <= interval.high + 1e-9
