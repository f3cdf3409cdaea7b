"""Golden values from the papers and textbooks the methods come from."""

import numpy as np
import pytest

from finetune_trainer.evaluation.intervals import (
    PairedCounts,
    bootstrap,
    mcnemar_exact,
    mcnemar_gain,
    no_spread,
    paired_difference,
)
from finetune_trainer.shares import Interval, wilson


@pytest.mark.parametrize(
    ("successes", "items", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_intervals_of_newcombe_1998_table_1(successes: int, items: int, low: float, high: float) -> None:
    interval = wilson(successes, items)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_all_right_of_73_is_the_smallest_sample_that_shows_95_percent() -> None:
    assert wilson(73, 73).low >= 0.95 > wilson(72, 72).low


def test_paired_difference_gives_altman_2000_table_6_2() -> None:
    interval = paired_difference(PairedCounts(both=14, gained=5, lost=0, neither=22))
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.011, 0.226)


def test_paired_difference_gives_fagerland_2014_airway_data() -> None:
    interval = paired_difference(PairedCounts(both=1, gained=1, lost=7, neither=12))
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.507, -0.026)


def test_paired_difference_turns_around_with_the_order_of_the_models() -> None:
    there, back = (paired_difference(PairedCounts(20, gained, lost, 9)) for gained, lost in ((11, 3), (3, 11)))
    assert there.low == pytest.approx(-back.high)
    assert there.high == pytest.approx(-back.low)


def test_a_perfect_score_on_a_small_sample_keeps_its_doubt() -> None:
    assert paired_difference(PairedCounts(0, 40, 0, 0)).low == pytest.approx(0.876, abs=1e-3)
    assert paired_difference(PairedCounts(0, 0, 0, 40)).high == pytest.approx(0.0876, abs=1e-3)


def test_mcnemar_exact_of_the_airway_data_is_18_of_256() -> None:
    assert mcnemar_exact(PairedCounts(both=1, gained=1, lost=7, neither=12)) == 18 / 256


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 2**-5), (0, 5, 1.0), (3, 1, 5 / 16)])
def test_one_sided_mcnemar_counted_by_hand(gained: int, lost: int, p: float) -> None:
    assert mcnemar_gain(PairedCounts(10, gained, lost, 10)) == p


def test_mcnemar_holds_for_thousands_of_items() -> None:
    normal = 0.0967  # continuity-corrected normal approximation of Binomial(5900, 1/2) <= 2900
    assert mcnemar_gain(PairedCounts(0, 3000, 2900, 0)) == pytest.approx(normal, abs=3e-3)


SPATIAL_TEST_A = [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41]


def test_bca_gives_efron_and_tibshirani_1993_table_14_2() -> None:
    values = np.array(SPATIAL_TEST_A, dtype=float)
    columns = np.stack([values, values**2, np.ones_like(values)], axis=1)
    interval = bootstrap(columns, lambda s: s[..., 1] / s[..., 2] - (s[..., 0] / s[..., 2]) ** 2, seed=1, confidence=0.90)
    assert interval.low == pytest.approx(115.8, rel=0.02)
    assert interval.high == pytest.approx(259.6, rel=0.02)


def test_equal_seeds_give_equal_bootstrap_intervals() -> None:
    columns = np.random.default_rng(0).normal(size=(50, 1))
    one, two, other = (bootstrap(columns, lambda s: s[..., 0] / 50, seed=seed) for seed in (3, 3, 4))
    assert one == two != other


def test_without_any_spread_the_unseen_share_widens_the_interval() -> None:
    interval = no_spread(1.0, items=20, extent=Interval(-1.0, 1.0))
    assert interval.high == 1.0
    assert interval.low == pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 20)))
