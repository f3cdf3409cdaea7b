"""The gate as a specification, and how often it errs in simulated worlds whose truth is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from finetune_trainer.contract import Improvement, Metric, Verdict
from finetune_trainer.evaluation.comparison import Comparison, compare, decimal
from finetune_trainer.evaluation.gate import GateDecision, decide, summarize
from finetune_trainer.evaluation.outcomes import Answered, ItemOutcome


def outcomes(pairs: list[tuple[float, float]], metric: Metric = Metric.EXACT_MATCH) -> list[ItemOutcome]:
    return [ItemOutcome(row, Answered({metric: base}), Answered({metric: tuned})) for row, (base, tuned) in enumerate(pairs)]


def counted(both: int, gained: int, lost: int, neither: int, metric: Metric = Metric.EXACT_MATCH) -> Comparison:
    right, won, gone, wrong = outcomes([(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)], metric)
    return compare(metric, [right] * both + [won] * gained + [gone] * lost + [wrong] * neither, seed=1)


def gate(comparison: Comparison | None, min_delta: str = "0.05") -> GateDecision:
    return decide(Improvement(metric=comparison.metric if comparison else Metric.EXACT_MATCH, min_delta=min_delta), comparison)


def test_a_clear_gain_passes_and_the_message_carries_the_numbers() -> None:
    decision = gate(counted(0, 38, 0, 2))
    assert decision.verdict is Verdict.PASS
    assert "0.0% -> 95.0%" in decision.message
    assert "40 items" in decision.message


def test_a_gain_whose_upper_bound_misses_the_wanted_one_fails() -> None:
    assert gate(counted(0, 0, 0, 60), "0.5").verdict is Verdict.FAIL


def test_a_loss_beyond_chance_fails_even_where_any_gain_would_do() -> None:
    assert gate(counted(10, 1, 20, 10), "0").verdict is Verdict.FAIL


def test_a_gain_that_may_be_chance_is_inconclusive_and_names_the_items_that_would_decide_it() -> None:
    decision = gate(counted(20, 4, 1, 15))
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.items_to_decide == math.ceil(6.2 * (6 / 42) / 0.075**2)


def test_a_miss_that_may_be_chance_is_inconclusive() -> None:
    decision = gate(counted(20, 2, 1, 20), "0.08")
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.items_to_decide is not None
    assert decision.items_to_decide > 43


def test_four_of_four_gained_is_not_yet_evidence() -> None:
    """The interval alone would pass it; the exact test says p = 1/16."""
    comparison = counted(0, 4, 0, 0)
    assert comparison.gain.bounds.low > 0
    assert gate(comparison).verdict is Verdict.INCONCLUSIVE


def perplexities(pairs: list[tuple[float, float]]) -> Comparison:
    """Ten tokens an item, at so many nats per token for base and tuned."""
    items = [
        ItemOutcome(row, Answered({}, nats=10 * base, tokens=10), Answered({}, nats=10 * tuned, tokens=10))
        for row, (base, tuned) in enumerate(pairs)
    ]
    return compare(Metric.PERPLEXITY, items, seed=1)


def completeness(pairs: list[tuple[float, float]]) -> Comparison:
    return compare(Metric.FIELD_COMPLETENESS, outcomes(pairs, Metric.FIELD_COMPLETENESS), seed=1)


GRADED = pytest.mark.parametrize(
    ("measured", "pairs"),
    [
        (perplexities, [(3.0 + row / 10, 1.0) for row in range(6)]),
        (perplexities, [(3.0, 1.0)] * 6),
        (completeness, [(row / 20, 1.0) for row in range(6)]),
        (completeness, [(0.0, 1.0)] * 6),
    ],
    ids=["perplexity", "perplexity, all alike", "completeness", "completeness, all alike"],
)


@GRADED
@pytest.mark.parametrize(
    ("items", "verdict"),
    [
        (1, Verdict.INCONCLUSIVE),
        (2, Verdict.INCONCLUSIVE),
        (3, Verdict.INCONCLUSIVE),
        (4, Verdict.INCONCLUSIVE),
        (5, Verdict.PASS),
        (6, Verdict.PASS),
    ],
)
def test_fewer_than_five_items_never_pass(
    measured: Callable[[list[tuple[float, float]]], Comparison], pairs: list[tuple[float, float]], items: int, verdict: Verdict
) -> None:
    comparison = measured(pairs[:items])
    assert comparison.gain.p_no_gain == 2**-items
    decision = gate(comparison)
    assert decision.verdict is verdict
    assert len(decision.message) <= 256
    if verdict is Verdict.INCONCLUSIVE:
        assert decision.items_to_decide is not None
        assert decision.items_to_decide >= 5


@pytest.mark.parametrize(
    ("gained", "lost", "unchanged", "p"), [(5, 1, 9, 7 / 64), (6, 0, 20, 1 / 64), (0, 0, 8, 1.0), (1, 6, 0, 127 / 128)]
)
def test_the_sign_test_counts_only_items_that_change(gained: int, lost: int, unchanged: int, p: float) -> None:
    better, worse, same = (0.2, 0.9), (0.9, 0.5), (0.5, 0.5)
    comparison = completeness([better] * gained + [worse] * lost + [same] * unchanged)
    assert comparison.gain.p_no_gain == p
    assert comparison.details["signTestP"] == p


def test_many_items_need_no_sign_test() -> None:
    comparison = completeness([(0.2, 0.9)] * 30)
    assert comparison.gain.p_no_gain is None
    assert "signTestP" not in comparison.details


def test_one_item_leaves_perplexity_a_wide_interval() -> None:
    comparison = perplexities([(3.0, 1.0)])
    assert comparison.interval.low < comparison.delta < 0 < comparison.interval.high
    assert comparison.gain.bounds.low < 0


def test_no_items_decide_nothing() -> None:
    assert gate(None).verdict is Verdict.INCONCLUSIVE


def test_without_a_gate_nothing_is_judged() -> None:
    summary = summarize([counted(0, 5, 0, 5)], None, 10)
    assert summary.verdict is Verdict.NOT_GATED
    assert summary.metrics[0].verdict is Verdict.NOT_GATED


def test_only_the_metric_of_the_gate_carries_the_verdict() -> None:
    comparisons = [counted(0, 40, 0, 0, Metric.JSON_VALIDITY), counted(0, 40, 0, 0, Metric.EXACT_MATCH)]
    summary = summarize(comparisons, Improvement(metric=Metric.EXACT_MATCH, min_delta="0.3"), 40)
    assert [metric.verdict for metric in summary.metrics] == [Verdict.NOT_GATED, Verdict.PASS]
    assert len(summary.message) <= 256


def test_perplexity_gains_by_falling_and_is_judged_by_its_relative_reduction() -> None:
    rng = np.random.default_rng(5)
    tokens = rng.integers(20, 40, size=80)
    items = [
        ItemOutcome(
            row,
            Answered({}, nats=float(2.0 * n + rng.normal()), tokens=int(n)),
            Answered({}, nats=float(1.5 * n + rng.normal()), tokens=int(n)),
        )
        for row, n in enumerate(tokens)
    ]
    comparison = compare(Metric.PERPLEXITY, items, seed=1)
    assert comparison.base == pytest.approx(math.exp(2.0), rel=0.02)
    assert comparison.gain.value == pytest.approx(1 - math.exp(-0.5), rel=0.02)
    assert comparison.interval.high < 0
    assert gate(comparison, "0.30").verdict is Verdict.PASS
    assert gate(comparison, "0.50").verdict is Verdict.FAIL


def test_hopeless_perplexity_is_reported_as_a_number() -> None:
    items = [ItemOutcome(row, Answered({}, nats=30.0, tokens=10), Answered({}, nats=math.inf, tokens=10)) for row in range(5)]
    result = compare(Metric.PERPLEXITY, items, seed=1).result(Verdict.FAIL)
    assert float(result.tuned) == pytest.approx(math.exp(60), rel=1e-5)


def test_graded_metrics_without_spread_keep_their_doubt() -> None:
    comparison = compare(Metric.FIELD_COMPLETENESS, outcomes([(0.0, 1.0)] * 8, Metric.FIELD_COMPLETENESS), seed=1)
    assert comparison.interval.high == 1.0
    assert comparison.interval.low < 0.5


@pytest.mark.parametrize(("value", "text"), [(0.05, "0.05"), (-0.0, "0"), (1e30, "1e30"), (1 / 3, "0.333333"), (1e-9, "1e-09")])
def test_decimals_are_spelled_as_the_contract_wants(value: float, text: str) -> None:
    assert decimal(value) == text


def simulated(items: int, gain: float, rng: np.random.Generator, disagreement: float = 0.3) -> Comparison:
    """Base right on 70 % of items; ``disagreement`` of the items change, by ``gain`` more for the better."""
    kinds = rng.choice(
        4,
        size=items,
        p=[0.7 - (disagreement - gain) / 2, (disagreement + gain) / 2, (disagreement - gain) / 2, 0.3 - (disagreement + gain) / 2],
    )
    both, gained, lost, neither = (int(count) for count in np.bincount(kinds, minlength=4))
    return counted(both, gained, lost, neither)


@pytest.mark.parametrize(
    ("items", "gain", "verdict", "at_least", "at_most"),
    [
        (100, 0.00, Verdict.PASS, 0.0, 0.08),  # a false promotion
        (200, 0.00, Verdict.PASS, 0.0, 0.08),
        (400, 0.10, Verdict.PASS, 0.9, 1.0),  # a real gain is found
        (200, 0.10, Verdict.FAIL, 0.0, 0.04),  # and hardly ever refused
        (800, 0.00, Verdict.FAIL, 0.7, 1.0),  # enough items tell that there is nothing
    ],
)
def test_how_often_the_gate_errs(items: int, gain: float, verdict: Verdict, at_least: float, at_most: float) -> None:
    rng = np.random.default_rng(11)
    share = np.mean([gate(simulated(items, gain, rng)).verdict is verdict for _ in range(300)])
    assert at_least <= share <= at_most
