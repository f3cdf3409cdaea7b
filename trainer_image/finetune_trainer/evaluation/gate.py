"""Whether the tuned model is better enough: three answers, because a small sample often cannot tell.

Pass: the measured gain reaches ``minDelta`` and chance alone is an unlikely reason for it (one-sided 95 % lower bound above zero, and an
exact test agrees: McNemar's for binary metrics, the sign test for graded ones on few items; so four items can never pass). Fail: even the
one-sided 95 % upper bound misses ``minDelta``, or the model got worse beyond chance. Everything else is Inconclusive, with the number of
items that would probably settle it (80 % power; M. Miller, arXiv 2411.00640).
"""

import math
from dataclasses import dataclass

from finetune_trainer.contract import EvaluationSummary, Improvement, JudgeSummary, Metric, Verdict
from finetune_trainer.evaluation.comparison import Comparison, Gain, decimal

_ALPHA = 0.05
_POWER_FACTOR = 6.2
"""(z_0.95 + z_0.80)², for 80 % power at a one-sided level of 5 %."""
_FEWEST_ITEMS, _MOST_ITEMS = 5, 1_000_000
"""Four items that all got better still have a chance of 1 in 16 to do so by themselves."""


@dataclass(frozen=True)
class GateDecision:
    verdict: Verdict
    message: str
    items_to_decide: int | None = None


def decide(improvement: Improvement | None, comparison: Comparison | None, judge: JudgeSummary | None = None) -> GateDecision:
    """The verdict on the gating metric; ``comparison`` is None where there were no items, or where the judge is not to be believed."""
    if improvement is None:
        return GateDecision(Verdict.NOT_GATED, "no gate: spec.evaluation.gates.improvement is not set")
    if comparison is None:
        return _nothing_to_decide_by(improvement, judge)
    gain, wanted = comparison.gain, float(improvement.min_delta)
    numbers = _numbers(comparison, wanted)
    if gain.value >= wanted and _is_real(gain):
        return GateDecision(Verdict.PASS, f"{numbers}: reached, and the gain is not chance")
    if gain.bounds.high < wanted:
        return GateDecision(Verdict.FAIL, f"{numbers}: missed even at the upper bound")
    if gain.bounds.high < 0:
        return GateDecision(Verdict.FAIL, f"{numbers}: the model got worse")
    needed = _items_to_decide(gain, wanted, comparison.items)
    why = "reached, but the gain may be chance" if gain.value >= wanted else "missed, but it may be chance"
    return GateDecision(Verdict.INCONCLUSIVE, f"{numbers}: {why}", needed)


def _nothing_to_decide_by(improvement: Improvement, judge: JudgeSummary | None) -> GateDecision:
    if improvement.metric is Metric.JUDGE and judge is not None:
        return GateDecision(Verdict.INCONCLUSIVE, f"the judge is not usable: {judge.message}")
    return GateDecision(Verdict.INCONCLUSIVE, f"{improvement.metric}: there are no held-out items to compare on", 50)


def _is_real(gain: Gain) -> bool:
    return gain.bounds.low > 0 and (gain.p_no_gain is None or gain.p_no_gain < _ALPHA)


def _items_to_decide(gain: Gain, wanted: float, items: int) -> int | None:
    """How many items would probably settle it; None where the estimate lies on the line itself.

    ``6.2 · d / δ²`` with δ the distance of the estimate from the line that could not be excluded.
    """
    distance = abs(gain.value) if gain.value >= wanted else wanted - gain.value
    if distance <= 0:
        return None
    return min(_MOST_ITEMS, max(items + 1, _FEWEST_ITEMS, math.ceil(_POWER_FACTOR * gain.disagreement / distance**2)))


def _numbers(comparison: Comparison, wanted: float) -> str:
    gain = comparison.gain
    if comparison.metric is Metric.PERPLEXITY:
        change = f"Perplexity {decimal(comparison.base)} -> {decimal(comparison.tuned)}, reduced by {gain.value:.1%}"
    else:
        change = f"{comparison.metric} {comparison.base:.1%} -> {comparison.tuned:.1%}, gain {100 * gain.value:+.1f} points"
    bounds = f"one-sided 95 % bounds {100 * gain.bounds.low:+.1f} and {100 * gain.bounds.high:+.1f}"
    return f"{change} ({bounds}, {comparison.items} items); wanted {100 * wanted:+.1f}"


def summarize(
    comparisons: list[Comparison], improvement: Improvement | None, items: int, judge: JudgeSummary | None = None
) -> EvaluationSummary:
    """The bounded summary; only the gating metric carries the verdict."""
    gated = next((c for c in comparisons if improvement and c.metric is improvement.metric), None)
    decision = decide(improvement, gated, judge)
    return EvaluationSummary(
        verdict=decision.verdict,
        items=items,
        metrics=[c.result(decision.verdict if c is gated else Verdict.NOT_GATED) for c in comparisons],
        message=decision.message,
        items_to_decide=decision.items_to_decide,
        judge=judge,
    )
