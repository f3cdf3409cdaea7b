"""Verdicts: what ends a canary at once, what waits, what passes, and what each says to the people who read it."""

from datetime import UTC, datetime, timedelta

import pytest

from finetune_operator.domain.analysis.counters import Counts
from finetune_operator.domain.analysis.criteria import CheckName, Criteria, Evidence, LatencyLimits, LowTraffic, ShareLimits
from finetune_operator.domain.analysis.eprocess import Window
from finetune_operator.domain.analysis.histogram import Histogram
from finetune_operator.domain.analysis.verdict import Bake, Insufficient, KeepBaking, Promote, Rollback, Verdict, judge
from tests.unit.domain.analysis.samples import BOUNDS, counts

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ERRORS = Criteria(min_requests=200, errors=ShareLimits(max_rate=0.02, max_delta=0.01))
ALL = Criteria(
    min_requests=200,
    min_answers=100,
    errors=ShareLimits(max_rate=0.02, max_delta=0.01),
    schema=ShareLimits(max_rate=0.02),
    ttft=LatencyLimits(0.95, max_seconds=0.9, max_ratio=1.3),
    itl=LatencyLimits(0.95, max_ratio=1.25),
)
GOOD = counts(4000, 8, answers=4000, invalid=4)


def look(
    canary: Counts,
    stable: Counts = GOOD,
    criteria: Criteria = ERRORS,
    *,
    minutes: float = 11,
    policy: LowTraffic = LowTraffic.PAUSE,
    unread: tuple[str, ...] = (),
    earlier: tuple[Window, ...] = (),
) -> Verdict:
    bake = Bake(NOON, bake_seconds=600, max_wait_seconds=3600, policy=policy)
    return judge(Evidence(canary, stable, earlier, unread=unread), criteria, bake, NOON + timedelta(minutes=minutes))


def test_a_canary_that_does_as_well_is_promoted_after_the_bake_and_not_before():
    canary = counts(400, 1, answers=300)
    assert isinstance(look(canary, criteria=ALL), Promote)
    early = look(canary, criteria=ALL, minutes=9.9)
    assert isinstance(early, KeepBaking)
    assert early.until == NOON + timedelta(minutes=10)


def test_many_failures_end_it_at_once_with_the_numbers():
    verdict = look(counts(60, 9), minutes=0.5)
    assert isinstance(verdict, Rollback)
    assert verdict.check is CheckName.ERRORS
    for part in ("Errors", "9 of 60 canary", "15%", "8 of 4000", "0.2%", "alarm is at 20"):
        assert part in verdict.message
    assert verdict.results[0].canary == pytest.approx(0.15)
    assert (verdict.results[0].canary_samples, verdict.results[0].stable_samples) == (60, 4000)


def test_one_failure_of_one_request_ends_nothing():
    assert isinstance(look(counts(1, 1), minutes=1), KeepBaking)


def test_evidence_of_earlier_steps_counts():
    barely, stable = counts(200, 4), counts(1800, 18)
    earlier = (Window(100, 4, 1900, 19), Window(300, 10, 900, 9))
    assert isinstance(look(barely, stable, minutes=5), KeepBaking)
    verdict = look(barely, stable, minutes=5, earlier=earlier)
    assert isinstance(verdict, Rollback)
    assert "with the steps before" in verdict.message


def test_wrong_answers_end_it_though_every_request_succeeds():
    verdict = look(counts(300, 0, answers=300, invalid=60), criteria=ALL, minutes=2)
    assert isinstance(verdict, Rollback)
    assert verdict.check is CheckName.SCHEMA
    assert "60 of 300 canary answers did not fit the output schema (20%)" in verdict.message
    assert "alarm is at 40" in verdict.message, "two checks share the probability of a false alarm"


def test_all_of_them_wrong_are_a_hundred_percent():
    verdict = look(counts(8, 0, answers=8, invalid=8), criteria=ALL, minutes=2)
    assert isinstance(verdict, Rollback)
    assert "8 of 8 canary answers did not fit the output schema (100%)" in verdict.message


def test_a_rate_beyond_its_ceiling_ends_it_though_stable_is_as_bad():
    verdict = look(counts(1000, 80), counts(4000, 320))
    assert isinstance(verdict, Rollback)
    assert "at most 0.02 is allowed" in verdict.message


def test_a_rate_above_its_ceiling_by_chance_needs_more_requests():
    verdict = look(counts(250, 6), counts(4000, 96))
    assert isinstance(verdict, KeepBaking)
    assert verdict.until == NOON + timedelta(hours=1)
    assert "more are needed" in verdict.message


def test_a_difference_to_stable_beyond_doubt_ends_it():
    lenient = Criteria(min_requests=200, errors=ShareLimits(max_rate=0.5, max_delta=0.01))
    verdict = look(counts(3000, 300), counts(3000, 210), lenient)
    assert isinstance(verdict, Rollback)
    assert isinstance(look(counts(300, 6), counts(3000, 27), lenient), KeepBaking), "1.1 points above, but by chance perhaps"


@pytest.mark.parametrize(
    ("seconds", "criteria", "words"),
    [
        (5.0, Criteria(200, ttft=LatencyLimits(0.95, max_seconds=0.9)), "TTFT: p95 of the canary is"),
        (0.9, Criteria(200, ttft=LatencyLimits(0.95, max_ratio=1.3)), "more than 1.3 times as long"),
        (0.9, Criteria(200, itl=LatencyLimits(0.5, max_ratio=1.3)), "ITL: p50"),
    ],
)
def test_a_slow_canary_ends(seconds: float, criteria: Criteria, words: str):
    verdict = look(counts(400, seconds=seconds), criteria=criteria, minutes=3)
    assert isinstance(verdict, Rollback)
    assert words in verdict.message


def test_a_ratio_needs_requests_of_stable_too():
    criteria = Criteria(200, ttft=LatencyLimits(0.95, max_ratio=1.3))
    verdict = look(counts(400, seconds=0.9), counts(199), criteria)
    assert isinstance(verdict, KeepBaking)
    assert "200 requests of stable are needed" in verdict.message


def test_many_gaps_of_few_streams_are_few_samples():
    gaps = Histogram(BOUNDS, (0, 5000, 0, 0))
    few = Counts(100, 0, itl=gaps)
    verdict = look(few, Counts(400, 0, itl=gaps), Criteria(200, itl=LatencyLimits(0.95, max_ratio=1.2)))
    assert isinstance(verdict, KeepBaking)
    assert "in 100 requests" in verdict.message


def test_where_nobody_streams_the_gaps_between_tokens_hold_nothing_up():
    silent = Counts(400, 0)
    assert isinstance(look(silent, silent, Criteria(200, itl=LatencyLimits(0.95, max_ratio=1.2))), Promote)


@pytest.mark.parametrize("policy", LowTraffic)
def test_too_few_requests_until_the_end_are_what_the_policy_says(policy: LowTraffic):
    assert isinstance(look(counts(199), minutes=59, policy=policy), KeepBaking)
    verdict = look(counts(199), minutes=60, policy=policy)
    assert isinstance(verdict, Insufficient)
    assert verdict.policy is policy
    assert "0 of 199" in verdict.message
    assert "200 are needed" in verdict.message


def test_no_requests_at_all_never_pass():
    verdict = look(Counts(), Counts(), ALL, minutes=600, policy=LowTraffic.FAIL)
    assert isinstance(verdict, Insufficient)


def test_a_router_that_cannot_be_read_never_passes_and_is_not_held_against_the_canary():
    fine = counts(4000)
    waiting = look(fine, unread=("router-2",))
    assert isinstance(waiting, KeepBaking)
    assert "router router-2 cannot be read" in waiting.message
    given_up = look(fine, unread=("router-2", "router-3"), minutes=61, policy=LowTraffic.FAIL)
    assert isinstance(given_up, Insufficient)
    assert given_up.policy is LowTraffic.PAUSE


def test_what_the_other_routers_saw_still_ends_a_bad_canary():
    assert isinstance(look(counts(60, 9), unread=("router-2",)), Rollback)


def test_without_checks_the_bake_alone_decides():
    assert isinstance(look(Counts(), Counts(), Criteria(0)), Promote)
    assert isinstance(look(Counts(), Counts(), Criteria(0), minutes=1), KeepBaking)
