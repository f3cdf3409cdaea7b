"""What a judge is shown, how its replies are read, when it is believed, and what its verdicts are worth."""

import random

import pytest

from finetune_trainer.contract import Improvement, JudgeSummary, Metric, Verdict
from finetune_trainer.evaluation.comparison import compare
from finetune_trainer.evaluation.gate import decide, summarize
from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.evaluation.judge.calibration import doubts, known_pairs, too_many_unread
from finetune_trainer.evaluation.judge.judging import Ruling, ruling_of
from finetune_trainer.evaluation.judge.prompt import PROMPT_DIGEST, question, read_verdict
from finetune_trainer.evaluation.judge.prompt import Verdict as Said
from finetune_trainer.evaluation.outcomes import Answered, ItemOutcome
from tests.unit.trainer.evaluation.judged import numbered

GATE = Improvement(metric=Metric.JUDGE, min_delta="0")


def outcomes(won: int, lost: int, tied: int) -> list[ItemOutcome]:
    shares = [1.0] * won + [0.0] * lost + [0.5] * tied
    return [ItemOutcome(row, Answered({Metric.JUDGE: 1 - share}), Answered({Metric.JUDGE: share})) for row, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("A", Said.FIRST),
        (" b.\n", Said.SECOND),
        ("**C**", Said.NEITHER),
        ("Answer: B", Said.SECOND),
        ("<think>A is wrong, so</think>\n\nB", Said.SECOND),
        ("A better one is B", Said.UNREAD),
        ("AB", Said.UNREAD),
        ("<think>A", Said.UNREAD),
        ("", Said.UNREAD),
        (None, Said.UNREAD),
    ],
)
def test_a_reply_of_one_letter_is_a_verdict_and_no_other(reply: str | None, verdict: Said) -> None:
    assert read_verdict(reply) is verdict


@pytest.mark.parametrize(
    ("there", "back", "ruling"),
    [
        ("A", "B", Ruling.FIRST),
        ("B", "A", Ruling.SECOND),
        ("A", "A", Ruling.FLIPPED),
        ("B", "B", Ruling.FLIPPED),
        ("C", "C", Ruling.EQUAL),
        ("A", "C", Ruling.EQUAL),
        ("C", "A", Ruling.EQUAL),
        ("A", "", Ruling.UNREAD),
        ("", "B", Ruling.UNREAD),
    ],
)
def test_only_what_both_orders_say_is_a_verdict(there: str, back: str, ruling: Ruling) -> None:
    assert ruling_of(Said(there), Said(back)) is ruling


def test_the_two_orders_differ_in_the_order_alone_and_marks_in_answers_stay_texts() -> None:
    prompt = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why {second}?"}]
    there, back = (question(prompt, *pair)[-1]["content"] for pair in (("{second}", "two"), ("two", "{second}")))
    assert "<answer-a>\n{second}\n</answer-a>\n\n<answer-b>\ntwo\n</answer-b>" in there
    assert "<answer-a>\ntwo\n</answer-a>\n\n<answer-b>\n{second}\n</answer-b>" in back
    assert "[system]\nbe brief\n\n[user]\nwhy {second}?" in there
    assert question("plain", "one", "two")[0] == question(prompt, "a", "b")[0]


def test_the_digest_of_the_prompt_is_known_so_that_a_change_of_it_is_seen() -> None:
    assert PROMPT_DIGEST == "sha256:0a26a3b71ccd57e7cf052f130b3b14e7fccd31cbf516d204ea964afebe1b4ff0"


def test_known_pairs_are_a_reference_and_another_one_that_differs() -> None:
    items = numbered(100)
    pairs = known_pairs(items)
    assert len(pairs) == 32
    right = {str(item.prompt): item.reference for item in items}
    assert all(pair.first == right[str(pair.prompt)] != pair.second for pair in pairs)
    assert all(pair.second in right.values() for pair in pairs)
    assert known_pairs(items) == pairs
    assert len(known_pairs(items[:7])) == 7


def test_where_every_answer_is_the_same_nothing_can_be_known() -> None:
    same = [EvaluationItem(row, "yes?", reference) for row, reference in enumerate(['{"a": 1}', '{"a":1.0}', " ", '{ "a":1}'])]
    assert known_pairs(same) == []
    assert known_pairs([]) == []
    assert "the items make 0 pairs" in doubts(0, 0, 0)


@pytest.mark.parametrize(
    ("right", "pairs", "believed"),
    [(4, 4, True), (3, 3, False), (5, 6, False), (7, 8, True), (26, 32, True), (25, 32, False), (0, 32, False)],
)
def test_a_judge_is_believed_that_was_right_about_four_of_five_beyond_chance(right: int, pairs: int, believed: bool) -> None:
    assert (doubts(right, pairs, 0) == "") is believed
    assert len(doubts(right, pairs, pairs)) <= 200


def test_many_verdicts_that_cannot_be_read_make_the_rest_worthless() -> None:
    assert too_many_unread(2, 10) == ""
    assert "of 10 pairs 3 have" in too_many_unread(3, 10)
    assert too_many_unread(0, 0) == ""


def test_the_win_rate_counts_ties_half_and_its_interval_holds_the_difference() -> None:
    found = compare(Metric.JUDGE, outcomes(30, 10, 20), seed=1)
    assert (found.base, found.tuned, found.delta) == pytest.approx((1 / 3, 2 / 3, 1 / 3))
    assert found.interval.low < found.gain.bounds.low < 1 / 3 < found.gain.bounds.high < found.interval.high
    assert (found.details["won"], found.details["lost"], found.details["tied"]) == (30, 10, 20)
    result = found.result(Verdict.PASS)
    assert (result.name, result.base, result.tuned) == (Metric.JUDGE, "0.333333", "0.666667")


@pytest.mark.parametrize(
    ("won", "lost", "tied", "verdict"),
    [
        (30, 10, 20, Verdict.PASS),
        (5, 0, 0, Verdict.PASS),
        (4, 0, 0, Verdict.INCONCLUSIVE),
        (12, 10, 20, Verdict.INCONCLUSIVE),
        (0, 0, 40, Verdict.INCONCLUSIVE),
        (10, 30, 20, Verdict.FAIL),
    ],
)
def test_the_gate_asks_whether_more_was_won_than_lost_beyond_chance(won: int, lost: int, tied: int, verdict: Verdict) -> None:
    assert decide(GATE, compare(Metric.JUDGE, outcomes(won, lost, tied), seed=1)).verdict is verdict


def test_a_judge_that_is_not_believed_decides_nothing_and_says_why() -> None:
    judge = JudgeSummary(usable=False, message=doubts(3, 32, 29), prompt_digest=PROMPT_DIGEST, calibration_pairs=32, calibration_right=3)
    gated, other = (summarize([], gate, 40, judge) for gate in (GATE, None))
    assert (gated.verdict, other.verdict) == (Verdict.INCONCLUSIVE, Verdict.NOT_GATED)
    assert "the judge is not usable: of 32 pairs" in gated.message
    assert gated.judge == other.judge == judge
    assert gated.metrics == []


def test_the_interval_holds_what_is_true_as_often_as_it_says() -> None:
    """Pairs of known shares, few and lopsided ones among them; coverage of a 95 % interval over 2,000 samples each."""
    draw = random.Random(3)
    for items, win, lose in ((10, 0.5, 0.5), (12, 0.3, 0.1), (20, 0.9, 0.05), (50, 0.4, 0.35), (50, 0.05, 0.0)):
        covered = 0
        known: dict[tuple[int, int], bool] = {}
        for _ in range(2000):
            drawn = [draw.random() for _ in range(items)]
            counts = sum(value < win for value in drawn), sum(win <= value < win + lose for value in drawn)
            if counts not in known:
                interval = compare(Metric.JUDGE, outcomes(*counts, items - sum(counts)), seed=1).interval
                known[counts] = interval.low <= win - lose <= interval.high
            covered += known[counts]
        assert covered / 2000 >= 0.93, (items, win, lose, covered)
