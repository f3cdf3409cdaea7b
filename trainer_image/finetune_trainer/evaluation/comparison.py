"""Base against tuned on one metric: both values, the paired difference with its interval, and what a gate needs to decide."""

import math
from dataclasses import dataclass

import numpy as np

from finetune_trainer.contract import Metric, MetricResult, Verdict
from finetune_trainer.evaluation.intervals import (
    PairedCounts,
    bootstrap,
    mcnemar_exact,
    mcnemar_gain,
    no_spread,
    paired_difference,
)
from finetune_trainer.evaluation.metrics import BINARY
from finetune_trainer.evaluation.outcomes import Floats, ItemOutcome, nats_of, scores_of
from finetune_trainer.shares import Interval, wilson

TWO_SIDED = 0.95
ONE_SIDED = 0.90
"""The bounds of a two-sided 90 % interval are one-sided 95 % bounds: what a gate asks about has a direction."""

_MAXIMAL_NATS = 60.0
"""An item's mean loss beyond this counts as this: e^60 says "hopeless" well enough, and infinity has no place in a report."""
FEW_ITEMS = 30
"""Below this a bootstrap interval is too narrow to be believed alone: an exact sign test must agree that there is a gain."""


@dataclass(frozen=True)
class Gain:
    """How much better tuned is than base, higher being better: a difference of shares, or for Perplexity the relative reduction.

    ``bounds`` are one-sided 95 % bounds; ``p_no_gain`` is the exact one-sided p of "no gain": McNemar's for binary metrics, the sign test
    for graded ones on few items, None for graded ones on many. ``disagreement`` is the share of items on which base and tuned differ, or
    for graded metrics the variance of the paired differences.
    """

    value: float
    bounds: Interval
    p_no_gain: float | None
    disagreement: float


@dataclass(frozen=True)
class Comparison:
    """``interval`` is the two-sided 95 % interval of ``tuned - base``."""

    metric: Metric
    items: int
    base: float
    tuned: float
    interval: Interval
    gain: Gain
    method: str
    details: dict[str, float | list[float]]

    @property
    def delta(self) -> float:
        return self.tuned - self.base

    def result(self, verdict: Verdict) -> MetricResult:
        return MetricResult(
            name=self.metric,
            base=decimal(self.base),
            tuned=decimal(self.tuned),
            delta=decimal(self.delta),
            low=decimal(self.interval.low),
            high=decimal(self.interval.high),
            verdict=verdict,
        )


def compare(metric: Metric, outcomes: list[ItemOutcome], seed: int) -> Comparison:
    """Compare base and tuned over at least one item; ``seed`` fixes the resampling."""
    if metric is Metric.PERPLEXITY:
        return _compare_perplexity(*nats_of(outcomes), seed)
    base, tuned = scores_of(outcomes, metric)
    if metric is Metric.JUDGE:
        return _compare_judged(base, tuned)
    return _compare_binary(metric, base, tuned) if metric in BINARY else _compare_graded(metric, base, tuned, seed)


def _compare_binary(metric: Metric, base: Floats, tuned: Floats) -> Comparison:
    counts = PairedCounts.of(base, tuned)
    n = counts.items
    of_base, of_tuned = wilson(counts.both + counts.lost, n), wilson(counts.both + counts.gained, n)
    delta = (counts.gained - counts.lost) / n
    return Comparison(
        metric=metric,
        items=n,
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        interval=paired_difference(counts, TWO_SIDED),
        # one pseudo-item that changed: no disagreement in a sample does not mean none in the world
        gain=Gain(delta, paired_difference(counts, ONE_SIDED), mcnemar_gain(counts), (counts.discordant + 1) / (n + 2)),
        method="Newcombe 1998, method 10",
        details={
            "gained": counts.gained,
            "lost": counts.lost,
            "rightInBoth": counts.both,
            "wrongInBoth": counts.neither,
            "mcnemarExactP": mcnemar_exact(counts),
            "baseWilson95": [of_base.low, of_base.high],
            "tunedWilson95": [of_tuned.low, of_tuned.high],
        },
    )


def _compare_judged(base: Floats, tuned: Floats) -> Comparison:
    """``tuned`` is the win rate over base, a tie counting one half for each, and the difference the share won without that lost.

    How ties came about nobody knows, so nothing is made of them: the interval is that of items which base and tuned both get wrong.
    """
    n, won, lost = len(tuned), int(np.sum(tuned > base)), int(np.sum(tuned < base))
    counts = PairedCounts(both=0, gained=won, lost=lost, neither=n - won - lost)
    return Comparison(
        metric=Metric.JUDGE,
        items=n,
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        interval=paired_difference(counts, TWO_SIDED),
        gain=Gain((won - lost) / n, paired_difference(counts, ONE_SIDED), mcnemar_gain(counts), (won + lost + 1) / (n + 2)),
        method="Newcombe 1998, method 10, of pairs that both orders agree about",
        details={"won": won, "lost": lost, "tied": n - won - lost, "mcnemarExactP": mcnemar_exact(counts)},
    )


def _compare_graded(metric: Metric, base: Floats, tuned: Floats, seed: int) -> Comparison:
    differences = tuned - base
    delta = float(differences.mean())
    two_sided, one_sided = (_mean_interval(differences, seed, confidence) for confidence in (TWO_SIDED, ONE_SIDED))
    p_no_gain = _sign_test(differences)
    return Comparison(
        metric=metric,
        items=len(differences),
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        interval=two_sided,
        gain=Gain(delta, one_sided, p_no_gain, max(float(differences.var()), 1 / len(differences))),
        method="paired bootstrap over items, BCa, 10,000 resamples",
        details={"seed": seed, **_told(p_no_gain)},
    )


def _sign_test(gains: Floats) -> float | None:
    """One-sided p of "an item is as likely to get worse as to get better"; None where there are items enough for the bootstrap.

    Items that do not change count for neither side: it is the exact McNemar test of the signs.
    """
    if len(gains) >= FEW_ITEMS:
        return None
    gained, lost = int(np.sum(gains > 0)), int(np.sum(gains < 0))
    return mcnemar_gain(PairedCounts(both=0, gained=gained, lost=lost, neither=len(gains) - gained - lost))


def _told(p_no_gain: float | None) -> dict[str, float | list[float]]:
    return {} if p_no_gain is None else {"signTestP": p_no_gain}


def _mean_interval(differences: Floats, seed: int, confidence: float) -> Interval:
    extent = Interval(-1.0, 1.0)
    if np.ptp(differences) == 0:
        return no_spread(float(differences[0]), len(differences), extent, confidence)
    columns = np.stack([differences, np.ones_like(differences)], axis=1)
    return bootstrap(columns, lambda sums: sums[..., 0] / sums[..., 1], seed, confidence=confidence).clipped(extent.low, extent.high)


def _compare_perplexity(base_nats: Floats, tuned_nats: Floats, tokens: Floats, seed: int) -> Comparison:
    base_nats, tuned_nats = (np.minimum(np.nan_to_num(nats, nan=np.inf), _MAXIMAL_NATS * tokens) for nats in (base_nats, tuned_nats))
    base, tuned = (float(_perplexity(nats.sum() / tokens.sum())) for nats in (base_nats, tuned_nats))
    per_token = (tuned_nats - base_nats) / tokens
    p_no_gain = _sign_test(-per_token)
    if np.ptp(base_nats / tokens) == 0 == np.ptp(tuned_nats / tokens):
        interval, bounds = _perplexity_without_spread(base, tuned, len(tokens))
    else:
        columns = np.stack([base_nats, tuned_nats, tokens], axis=1)
        interval = bootstrap(columns, lambda s: _perplexity(s[..., 1] / s[..., 2]) - _perplexity(s[..., 0] / s[..., 2]), seed)
        bounds = bootstrap(columns, lambda s: 1 - _perplexity((s[..., 1] - s[..., 0]) / s[..., 2]), seed, confidence=ONE_SIDED)
    value = 1 - tuned / base
    return Comparison(
        metric=Metric.PERPLEXITY,
        items=len(tokens),
        base=base,
        tuned=tuned,
        interval=interval,
        gain=Gain(value, bounds, p_no_gain, max(float(per_token.var()), 1 / len(tokens))),
        method="paired bootstrap over items, BCa, 10,000 resamples",
        details={"seed": seed, "referenceTokens": float(tokens.sum()), "relativeReduction": value, **_told(p_no_gain)},
    )


def _perplexity_without_spread(base: float, tuned: float, items: int) -> tuple[Interval, Interval]:
    """Of the difference and of the relative reduction, when all items say the same; one item always does.

    Items that the sample never met may lose their perplexity altogether or see it doubled, or multiplied as much as the ones it met.
    """
    value = 1 - tuned / base
    extent = Interval(min(-1.0, value), 1.0)
    reduction, bounds = (no_spread(value, items, extent, confidence) for confidence in (TWO_SIDED, ONE_SIDED))
    return Interval(-base * reduction.high, -base * reduction.low), bounds


def _perplexity(nats_per_token: Floats) -> Floats:
    return np.exp(nats_per_token)


def decimal(value: float) -> str:
    """A number as the contract spells it: six significant digits, no plus sign."""
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: {value}")
    text = format(value, ".6g").replace("e+", "e")
    return "0" if float(text) == 0 else text
