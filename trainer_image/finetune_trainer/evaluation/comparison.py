"""Base against tuned on one metric: both values, the paired difference with its interval, and what a gate needs to decide."""

import math
from dataclasses import dataclass

import numpy as np

from finetune_trainer.contract import Metric, MetricResult, Verdict
from finetune_trainer.evaluation.intervals import (
    Interval,
    PairedCounts,
    bootstrap,
    mcnemar_exact,
    mcnemar_gain,
    no_spread,
    paired_difference,
    wilson,
)
from finetune_trainer.evaluation.metrics import BINARY
from finetune_trainer.evaluation.outcomes import Floats, ItemOutcome, nats_of, scores_of

TWO_SIDED = 0.95
ONE_SIDED = 0.90
"""The bounds of a two-sided 90 % interval are one-sided 95 % bounds: what a gate asks about has a direction."""

_MAXIMAL_NATS = 60.0
"""An item's mean loss beyond this counts as this: e^60 says "hopeless" well enough, and infinity has no place in a report."""


@dataclass(frozen=True)
class Gain:
    """How much better tuned is than base, higher being better: a difference of shares, or for Perplexity the relative reduction.

    ``bounds`` are one-sided 95 % bounds; ``p_no_gain`` is the exact one-sided p of "no gain" for binary metrics; ``disagreement`` is the
    share of items on which base and tuned differ, or for graded metrics the variance of the paired differences.
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


def _compare_graded(metric: Metric, base: Floats, tuned: Floats, seed: int) -> Comparison:
    differences = tuned - base
    delta = float(differences.mean())
    two_sided, one_sided = (_mean_interval(differences, seed, confidence) for confidence in (TWO_SIDED, ONE_SIDED))
    return Comparison(
        metric=metric,
        items=len(differences),
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        interval=two_sided,
        gain=Gain(delta, one_sided, None, max(float(differences.var()), 1 / len(differences))),
        method="paired bootstrap over items, BCa, 10,000 resamples",
        details={"seed": seed},
    )


def _mean_interval(differences: Floats, seed: int, confidence: float) -> Interval:
    extent = Interval(-1.0, 1.0)
    if np.ptp(differences) == 0:
        return no_spread(float(differences[0]), len(differences), extent, confidence)
    columns = np.stack([differences, np.ones_like(differences)], axis=1)
    return bootstrap(columns, lambda sums: sums[..., 0] / sums[..., 1], seed, confidence=confidence).clipped(extent.low, extent.high)


def _compare_perplexity(base_nats: Floats, tuned_nats: Floats, tokens: Floats, seed: int) -> Comparison:
    base_nats, tuned_nats = (np.minimum(np.nan_to_num(nats, nan=np.inf), _MAXIMAL_NATS * tokens) for nats in (base_nats, tuned_nats))
    columns = np.stack([base_nats, tuned_nats, tokens], axis=1)
    base, tuned = (_perplexity(nats.sum() / tokens.sum()) for nats in (base_nats, tuned_nats))
    value = 1 - float(tuned) / float(base)
    per_token = (tuned_nats - base_nats) / tokens
    return Comparison(
        metric=Metric.PERPLEXITY,
        items=len(tokens),
        base=float(base),
        tuned=float(tuned),
        interval=bootstrap(columns, lambda s: _perplexity(s[..., 1] / s[..., 2]) - _perplexity(s[..., 0] / s[..., 2]), seed),
        gain=Gain(
            value,
            bootstrap(
                columns, lambda s: 1 - _perplexity(s[..., 1] / s[..., 2]) / _perplexity(s[..., 0] / s[..., 2]), seed, confidence=ONE_SIDED
            ),
            None,
            max(float(per_token.var()), 1 / len(tokens)),
        ),
        method="paired bootstrap over items, BCa, 10,000 resamples",
        details={"seed": seed, "referenceTokens": float(tokens.sum()), "relativeReduction": value},
    )


def _perplexity(nats_per_token: Floats) -> Floats:
    return np.exp(nats_per_token)


def decimal(value: float) -> str:
    """A number as the contract spells it: six significant digits, no plus sign."""
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: {value}")
    text = format(value, ".6g").replace("e+", "e")
    return "0" if float(text) == 0 else text
