"""Intervals and tests for paired outcomes, chosen for small samples and for shares near 0 and 1, where a tuned model usually is.

Sources: R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10 · Q. McNemar, Psychometrika 12 (1947) 153-157,
in its exact conditional form · B. Efron, JASA 82 (1987) 171-185 (BCa).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from finetune_trainer.evaluation.outcomes import Floats
from finetune_trainer.shares import Interval, wilson

RESAMPLES = 10_000
_CHUNK_ELEMENTS = 4_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True)
class PairedCounts:
    """The 2 x 2 table of a binary metric: items right in both, gained by tuning, lost by tuning, wrong in both."""

    both: int
    gained: int
    lost: int
    neither: int

    @classmethod
    def of(cls, base: Floats, tuned: Floats) -> "PairedCounts":
        right, now_right = base > 0.5, tuned > 0.5
        return cls(
            both=int(np.sum(right & now_right)),
            gained=int(np.sum(~right & now_right)),
            lost=int(np.sum(right & ~now_right)),
            neither=int(np.sum(~right & ~now_right)),
        )

    @property
    def items(self) -> int:
        return self.both + self.gained + self.lost + self.neither

    @property
    def discordant(self) -> int:
        return self.gained + self.lost


def paired_difference(counts: PairedCounts, confidence: float = 0.95) -> Interval:
    """Interval of (tuned share - base share): Wilson intervals of both shares, squared and added with their correlation (method 10)."""
    n = counts.items
    tuned, base = (counts.both + counts.gained) / n, (counts.both + counts.lost) / n
    of_tuned, of_base = (wilson(counts.both + x, n, confidence) for x in (counts.gained, counts.lost))
    phi = _correlation(counts)
    down, up_base = tuned - of_tuned.low, of_base.high - base
    up, down_base = of_tuned.high - tuned, base - of_base.low
    low = math.sqrt(max(0.0, down**2 - 2 * phi * down * up_base + up_base**2))
    high = math.sqrt(max(0.0, up**2 - 2 * phi * up * down_base + down_base**2))
    difference = tuned - base
    return Interval(difference - low, difference + high).clipped(-1.0, 1.0)


def _correlation(counts: PairedCounts) -> float:
    """Newcombe's phi: continuity-corrected where positive, 0 where a margin is empty."""
    a, b, c, d = counts.both, counts.gained, counts.lost, counts.neither
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    cross = float(a * d - b * c)
    if cross > 0:
        cross = max(0.0, cross - counts.items / 2)
    return cross / math.sqrt(margins)


def mcnemar_exact(counts: PairedCounts) -> float:
    """Two-sided p of "tuning changes nothing": of the discordant items each direction is equally likely."""
    m, fewer = counts.discordant, min(counts.gained, counts.lost)
    return min(1.0, 2 * _binomial_tail(m, fewer))


def mcnemar_gain(counts: PairedCounts) -> float:
    """One-sided p of "tuning gains nothing"."""
    return _binomial_tail(counts.discordant, counts.lost)


def _binomial_tail(trials: int, at_most: int) -> float:
    """P(X ≤ at_most) for X ~ Binomial(trials, 1/2), in whole numbers."""
    term, total = 1, 0
    for k in range(at_most + 1):
        total += term
        term = term * (trials - k) // (k + 1)
    return total / 2**trials if trials < 1000 else float(math.exp(math.log(total) - trials * math.log(2)))


def bootstrap(
    columns: Floats, statistic: Callable[[Floats], Floats], seed: int, *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """BCa interval of a statistic of column sums, resampling items.

    ``columns`` has shape (items, k); ``statistic`` maps sums of shape (..., k) to (...). Equal seeds give equal intervals.
    A sample in which every item says the same has no spread to resample: see ``no_spread``.
    """
    draws = statistic(_resampled_sums(columns, seed, resamples))
    estimate = float(statistic(columns.sum(axis=0)))
    if np.ptp(draws) == 0:
        return Interval(estimate, estimate)
    left_out = statistic(columns.sum(axis=0) - columns)
    spread = left_out.mean() - left_out
    denominator = 6 * float(np.sum(spread**2)) ** 1.5
    acceleration = float(np.sum(spread**3)) / denominator if denominator > 0 else 0.0
    below = (float(np.sum(draws < estimate)) + 0.5 * float(np.sum(draws == estimate))) / resamples
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (resamples + 1)), resamples / (resamples + 1)))
    levels = [_adjusted(level, bias, acceleration) for level in ((1 - confidence) / 2, (1 + confidence) / 2)]
    low, high = np.quantile(draws, levels)
    return Interval(float(low), float(high))


def _adjusted(level: float, bias: float, acceleration: float) -> float:
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))


def _resampled_sums(columns: Floats, seed: int, resamples: int) -> Floats:
    """Column sums of ``resamples`` samples drawn with replacement; shape (resamples, k)."""
    items = len(columns)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // items)
    parts = []
    for start in range(0, resamples, chunk):
        weights = generator.multinomial(items, np.full(items, 1 / items), size=min(chunk, resamples - start))
        parts.append(weights @ columns)
    return np.concatenate(parts)


def no_spread(value: float, items: int, extent: Interval, confidence: float = 0.95) -> Interval:
    """Interval of a mean when all ``items`` observations equal ``value``.

    A share of the population that the sample never met may differ by as much as ``extent`` allows (Clopper and Pearson with no event).
    """
    unseen = 1 - ((1 - confidence) / 2) ** (1 / items)
    return Interval(value - unseen * (value - extent.low), value + unseen * (extent.high - value))
