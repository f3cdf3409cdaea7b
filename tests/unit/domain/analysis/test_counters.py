"""From scrapes to counts since a baseline: new processes, unread routers, tracks, and numbers that no counter can say."""

import math

import pytest

from finetune_inference.contract import CheckOutcome, Outcome, Track
from finetune_operator.domain.analysis.counters import Counts, Sample, Scrape, since, take_baseline
from finetune_operator.domain.analysis.histogram import Histogram
from tests.unit.domain.analysis.samples import BOUNDS, CANARY, STABLE, WHERE, lines, scrape

HERE = ("support", "bot")


def test_an_error_and_a_fallback_are_failures_and_what_the_caller_did_is_nobodys():
    outcomes = {Outcome.OK: 7, Outcome.ERROR: 2, Outcome.FALLBACK: 1, Outcome.CLIENT_ERROR: 40, Outcome.ABORTED: 30}
    answers = {CheckOutcome.VALID: 5, CheckOutcome.INVALID: 1}
    totals = since({}, [scrape(lines(CANARY, outcomes, answers=answers, ttft=(1, 3, 6, 7)))], *HERE)
    assert totals.of(CANARY, Track.LIVE) == Counts(7, 3, 5, 1, Histogram(BOUNDS, (1, 2, 3, 1)))
    assert totals.unread == ()


def test_only_what_came_after_the_baseline_counts():
    baseline = take_baseline([scrape(lines(STABLE, {Outcome.OK: 100}))], *HERE)
    assert baseline is not None
    totals = since(baseline, [scrape(lines(STABLE, {Outcome.OK: 130, Outcome.ERROR: 1}))], *HERE)
    assert (totals.of(STABLE, Track.LIVE).ok, totals.of(STABLE, Track.LIVE).failed) == (30, 1)


def test_a_new_process_counts_from_zero_and_routers_add_up():
    baseline = take_baseline([scrape(lines(STABLE, {Outcome.OK: 100})), scrape(lines(STABLE, {Outcome.OK: 7}), router="router-2")], *HERE)
    assert baseline is not None
    now = [scrape(lines(STABLE, {Outcome.OK: 3}), process="p2"), scrape(lines(STABLE, {Outcome.OK: 9}), router="router-2")]
    assert since(baseline, now, *HERE).of(STABLE, Track.LIVE).ok == 3 + 2


def test_a_version_that_is_routed_only_after_the_baseline_counts_from_zero():
    baseline = take_baseline([scrape(lines(STABLE, {Outcome.OK: 1}))], *HERE)
    assert baseline is not None
    now = scrape(lines(STABLE, {Outcome.OK: 2}), lines(CANARY, {Outcome.OK: 4}))
    assert since(baseline, [now], *HERE).of(CANARY, Track.LIVE).ok == 4


def test_there_is_no_baseline_while_a_router_cannot_be_read():
    assert take_baseline([scrape(lines(STABLE)), Scrape("router-2")], *HERE) is None


SPOILED = {
    "silent": None,
    "not a number": math.nan,
    "below zero": -1.0,
    "endless": math.inf,
    "beyond counting": 1e300,
    "going backwards": 5.0,
}


@pytest.mark.parametrize("value", SPOILED.values(), ids=SPOILED)
def test_a_router_that_cannot_be_read_is_named_and_left_out(value: float | None):
    baseline = take_baseline([scrape(lines(STABLE, {Outcome.OK: 10}), router="router-2")], *HERE)
    assert baseline is not None
    labels = {**WHERE, "version": STABLE, "track": "live", "outcome": "ok"}
    spoiled = Scrape("router-2", "p1", None if value is None else (Sample("adapter_router_requests_total", labels, value),))
    totals = since(baseline, [scrape(lines(STABLE, {Outcome.OK: 4})), spoiled], *HERE)
    assert totals.unread == ("router-2",)
    assert totals.of(STABLE, Track.LIVE).ok == 4


def test_a_series_that_vanished_from_a_running_process_makes_it_unread():
    baseline = take_baseline([scrape(lines(STABLE), lines(CANARY))], *HERE)
    assert baseline is not None
    assert since(baseline, [scrape(lines(STABLE))], *HERE).unread == ("router-1",)


def test_tracks_are_told_apart_and_summed_on_demand():
    now = scrape(lines(CANARY, {Outcome.OK: 4}), lines(CANARY, {Outcome.OK: 50}, track=Track.PROBE), lines(CANARY, track=Track.SHADOW))
    totals = since({}, [now], *HERE)
    assert totals.of(CANARY, Track.LIVE).ok == 4
    assert totals.of(CANARY, Track.LIVE, Track.PROBE).ok == 54
    assert totals.of(CANARY, Track.SHADOW).ok == 0


def test_other_deployments_and_unknown_series_are_ignored():
    foreign = [
        Sample("adapter_router_requests_total", {**WHERE, "deployment": "other", "version": STABLE, "outcome": "ok"}, 9.0),
        Sample("adapter_router_requests_total", {**WHERE, "version": STABLE, "track": "mirror", "outcome": "ok"}, 9.0),
        Sample("process_cpu_seconds_total", {}, 1.5),
    ]
    assert since({}, [scrape(foreign)], *HERE).counts == {}
