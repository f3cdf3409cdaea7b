"""Bounds for shares and quantiles, wide enough to be looked at every few seconds.

Sources: E. B. Wilson, JASA 22 (1927) 209-212 · R. G. Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
"""

import math
from dataclasses import dataclass

from finetune_operator.domain.analysis.histogram import Histogram

SIGMAS = 3.9
"""One-sided 1 in 20,000 at a single look, because there are hundreds of looks: also with true values right on two limits, looked at all
through a rollout, false alarms stay well below 1 in 20 (tests/performance/canary_detection.py)."""


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def wilson(hits: int, trials: int, sigmas: float = SIGMAS) -> Interval:
    """Score interval of a share; ``trials`` ≥ 1."""
    return _score_interval(hits / trials, trials, sigmas)


def difference_low(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """Lower bound of the first share minus the other; both ``trials`` ≥ 1."""
    share, other = hits / trials, other_hits / other_trials
    below, above = share - wilson(hits, trials).low, wilson(other_hits, other_trials).high - other
    return share - other - math.sqrt(below * below + above * above)


def quantile_interval(histogram: Histogram, share: float, independent: int) -> Interval:
    """Interval of a quantile: those quantiles between which the share's own score interval lies, whatever the distribution.

    ``independent`` counts the observations that are not repetitions of each other, at least 1; ``high`` is ``inf`` above the last bound.
    """
    of_share = _score_interval(share, independent, SIGMAS)
    high = math.inf if histogram.overflows(of_share.high) else histogram.quantile(of_share.high)
    return Interval(histogram.quantile(of_share.low), high)


def _score_interval(share: float, trials: int, sigmas: float) -> Interval:
    spread = sigmas * sigmas / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread * spread / 4) / (1 + spread)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))
