"""Prometheus' answers become scrapes, or say why not; what is odd, partial or somebody else's is never taken for a quiet canary."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_inference.contract import JUDGED_SERIES, PROCESS_INFO, CheckOutcome, Outcome, RouterMetric, Track
from finetune_operator.domain.analysis import prometheus
from finetune_operator.domain.analysis.counters import Sample, read_counts, since, take_baseline
from finetune_operator.domain.analysis.prometheus import LastScrapes, Unusable, last_scrapes
from finetune_operator.domain.analysis.promql import counters_query
from tests.unit.domain.analysis.samples import CANARY, STABLE, WHERE, lines

HERE = ("support", "bot")
AT = 1_764_000_000.0
POD = {"pod": "router-0", "instance": "10.0.0.1:9100"}
Entry = dict[str, Any]


def shown(version: str, outcomes: dict[Outcome, int] | None = None, **rest: Any) -> list[Sample]:
    """All that a router shows about a version."""
    made = lines(version, outcomes, **rest)
    labels = {**WHERE, "version": version, "track": rest.get("track", Track.LIVE).value}
    return [*made, *(Sample(f"{RouterMetric.ITL.value}_bucket", {**labels, "le": bound}, 0.0) for bound in ("0.1", "+Inf"))]


def entry(sample: Sample, at: float = AT, target: dict[str, str] = POD) -> Entry:
    return {"metric": {"__name__": sample.name, **target, **sample.labels}, "values": [[at, f"{sample.value:g}"]]}


def info(process: str = "p1", at: float = AT, target: dict[str, str] = POD) -> Entry:
    return entry(Sample(PROCESS_INFO, {"namespace": "support", "process": process}, 1.0), at, target)


def entries(*samples: list[Sample], process: str = "p1", at: float = AT, target: dict[str, str] = POD) -> list[Entry]:
    """One target's series as its last scrape left them."""
    return [info(process, at, target), *(entry(sample, at, target) for part in samples for sample in part)]


def answer(*made: list[Entry]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": [one for part in made for one in part]}}


def read(*made: list[Entry]) -> LastScrapes:
    return last_scrapes(answer(*made), *HERE)


def test_the_query_asks_for_raw_samples_of_one_deployment_and_for_the_processes():
    assert counters_query("support", "bot.v2", 60) == (
        '{__name__=~"adapter_router_requests_total|adapter_router_checks_total|adapter_router_ttft_seconds_bucket'
        '|adapter_router_itl_seconds_bucket|adapter_router_process_info",namespace="support",deployment=~"bot\\\\.v2|"}[60s]'
    )


def test_no_name_gets_out_of_its_quotes():
    query = counters_query('a"} or up{x="', "b", 60)
    assert 'namespace="a\\"} or up{x=\\""' in query


def test_the_counters_are_the_same_as_those_of_a_direct_scrape():
    direct = shown(CANARY, {Outcome.OK: 7, Outcome.ERROR: 2}, answers={CheckOutcome.INVALID: 1}, ttft=(1, 3, 6, 7))
    direct += shown(STABLE, {Outcome.OK: 9}, track=Track.PROBE)
    found = read(entries(direct))
    (scrape,) = found.processes
    assert (scrape.process, scrape.scraped_at, scrape.problem) == ("p1", datetime.fromtimestamp(AT, UTC), "")
    assert scrape.samples is not None
    assert read_counts(scrape.samples, *HERE) == read_counts(direct, *HERE)
    assert found.nameless == ()


def test_what_was_not_asked_for_is_not_kept():
    other = [Sample(sample.name, {**sample.labels, "deployment": "other"}, sample.value) for sample in shown(STABLE, {Outcome.OK: 9})]
    foreign = [Sample("process_cpu_seconds_total", {**WHERE, "version": STABLE, "track": "live"}, 1.5)]
    assert read(entries(other, foreign)).of("uid", "p1").samples == ()


def test_a_router_without_the_deployment_has_been_read_and_has_nothing():
    assert read(entries()).of("uid", "p1").samples == ()


def test_of_several_samples_the_newest_counts():
    made = entries(shown(STABLE, {Outcome.OK: 9}))
    for one in made:
        one["values"].insert(0, [AT - 15, "3"])
    assert _ok(read(made)) == 9


def test_a_series_that_the_last_scrape_had_no_more_is_not_in_it():
    gone, kept = shown(CANARY, {Outcome.OK: 4}), shown(STABLE, {Outcome.OK: 9})
    found = read([*entries(kept), *(entry(sample, AT - 15) for sample in gone)])
    samples = found.of("uid", "p1").samples
    assert samples is not None
    assert {version for version, _ in read_counts(samples, *HERE)} == {STABLE}


def test_a_restart_between_two_scrapes_belongs_to_the_new_process_alone():
    """Prometheus goes on with the same counter series; the series that names the process is another one."""
    made = [*entries(shown(STABLE, {Outcome.OK: 2}), process="p2"), info("p1", AT - 15)]
    for one in made[1:-1]:
        one["values"].insert(0, [AT - 15, "100"])
    found = read(made)
    assert [scrape.process for scrape in found.processes] == ["p2"]
    assert found.of("uid", "p1").samples is None
    baseline = take_baseline([read(entries(shown(STABLE, {Outcome.OK: 100}))).of("uid", "p1")], *HERE)
    assert baseline is not None
    assert since(baseline, [found.of("uid", "p2")], *HERE).of(STABLE, Track.LIVE).ok == 2


def test_two_replicas_of_prometheus_count_once_and_the_later_one_counts():
    other = POD | {"prometheus_replica": "b"}
    made = [entries(shown(STABLE, {Outcome.OK: 9})), entries(shown(STABLE, {Outcome.OK: 11}), at=AT + 5, target=other)]
    assert _ok(read(*made)) == _ok(read(*reversed(made))) == 11


def test_a_scrape_before_the_acknowledgement_makes_no_baseline():
    found, at = read(entries(shown(STABLE))), datetime.fromtimestamp(AT, UTC)
    assert found.of("uid", "p1", not_before=at).samples is not None
    assert found.of("uid", "p1", not_before=datetime.fromtimestamp(AT + 0.5, UTC)).samples is None


def test_a_router_of_which_nothing_is_known_is_unread():
    found = read()
    assert found == LastScrapes()
    assert since({}, [found.of("uid", "p1"), found.of("other", "")], *HERE).unread == ("other", "uid")


def test_a_target_that_does_not_say_its_process_is_named_and_left_out():
    found = read(entries(shown(STABLE))[1:], entries(shown(STABLE), process="", target={"instance": "10.0.0.2:9100"}))
    assert (found.processes, found.nameless) == ((), ("10.0.0.2:9100", "router-0"))


def test_a_target_with_two_processes_at_once_is_left_out():
    assert read([info("p1"), info("p2")]).processes == ()


def test_a_target_that_speaks_for_another_namespace_than_its_own_is_left_out():
    made = entries(shown(STABLE, {Outcome.OK: 9}))
    honest = [{**one, "metric": one["metric"] | {"exported_namespace": "support"}} for one in made]
    impostor = [{**one, "metric": one["metric"] | {"exported_namespace": "finance"}} for one in made]
    assert _ok(read(honest)) == 9
    assert read(impostor) == LastScrapes()


DROPPED: dict[str, Callable[[dict[str, str]], bool]] = {
    **{name: (lambda metric, name=name: metric["__name__"] == name) for name in JUDGED_SERIES},
    "requests that failed": lambda metric: metric.get("outcome") == "error",
    "answers that did not fit": lambda metric: metric.get("outcome") == "invalid",
    "the last bucket": lambda metric: metric.get("le") == "+Inf",
}


@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_a_router_whose_series_were_dropped_on_the_way_is_unread(dropped: Callable[[dict[str, str]], bool]):
    made = [one for one in entries(shown(CANARY, {Outcome.OK: 900}), shown(STABLE)) if not dropped(one["metric"])]
    (scrape,) = read(made).processes
    assert scrape.samples is None
    assert "missing" in scrape.problem
    assert since({}, [read(made).of("uid", "p1")], *HERE).unread == ("uid",)


SPOILED = {"NaN": "NaN", "below zero": "-1", "endless": "+Inf", "beyond counting": "1e300"}


@pytest.mark.parametrize("value", SPOILED.values(), ids=SPOILED)
def test_a_router_with_a_number_that_no_counter_can_say_is_unread(value: str):
    made = entries(shown(CANARY, {Outcome.OK: 900}))
    made[1]["values"] = [[AT, value]]
    assert since({}, [read(made).of("uid", "p1")], *HERE).unread == ("uid",)


def _with(**change: Any) -> list[Entry]:
    made = entries(shown(CANARY))
    made[3] = {**made[3], **change}
    return made


ODD: dict[str, object] = {
    "nothing": None,
    "a list": [],
    "an error": {"status": "error", "errorType": "execution", "error": "too many samples"},
    "no data": {"status": "success"},
    "a vector": {"status": "success", "data": {"resultType": "vector", "result": []}},
    "a scalar": {"status": "success", "data": {"resultType": "scalar", "result": [AT, "1"]}},
    "a result that is no list": {"status": "success", "data": {"resultType": "matrix", "result": {}}},
    "warnings": answer(entries()) | {"warnings": ["store a timed out"]},
    "a part": answer(entries()) | {"isPartial": True},
    "a series that is no object": answer(entries(), ["x"]),  # type: ignore[list-item]
    "no labels": answer(_with(metric=None)),
    "a label that is no text": answer(_with(metric={"__name__": 1})),
    "no samples": answer(_with(values=[])),
    "a histogram": answer([{"metric": {"__name__": "x"}, "histograms": [[AT, {"count": "1"}]]}]),
    "a sample that is no pair": answer(_with(values=[[AT]])),
    "a time that is text": answer(_with(values=[["now", "1"]])),
    "a time that is a truth value": answer(_with(values=[[True, "1"]])),
    "a time beyond all time": answer(_with(values=[[1e300, "1"]])),
    "a value that is a number": answer(_with(values=[[AT, 1]])),
    "a value with an underscore": answer(_with(values=[[AT, "1_0"]])),
    "a value that is long": answer(_with(values=[[AT, "1" * 401]])),
    "a series twice": answer(entries(shown(CANARY)), [info()]),
    "a label of the routers that the configuration took": answer(
        _with(metric={"__name__": "x", "version": "1", "exported_version": CANARY})
    ),
}


@pytest.mark.parametrize("document", ODD.values(), ids=ODD)
def test_an_answer_that_is_none_says_so(document: object):
    with pytest.raises(Unusable):
        last_scrapes(document, *HERE)


def test_too_many_series_are_no_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prometheus, "SERIES_LIMIT", 10)
    with pytest.raises(Unusable, match="more than 10 series"):
        read(entries(shown(CANARY)))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["NaN", "+Inf", "-1", "7", "1e999"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["__name__", "metric", "values", "le", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
_SERIES = st.fixed_dictionaries(
    {
        "metric": st.dictionaries(
            st.sampled_from(["__name__", "namespace", "deployment", "version", "track", "outcome", "check", "le", "process", "pod"]),
            st.sampled_from(
                [*JUDGED_SERIES, PROCESS_INFO, "support", "bot", CANARY, "live", "ok", "valid", "schema", "+Inf", "x", "p1", ""]
            ),
        ),
        "values": st.lists(
            st.tuples(st.sampled_from([AT, AT + 1]), st.sampled_from(["0", "7", "NaN", "-3", "1e15"])).map(list), min_size=1
        ),
    }
)


@given(st.lists(_SERIES | _JSON, max_size=8))
def test_whatever_comes_is_read_or_refused(result: list[Any]):
    """Never anything else, and what was read can be summed."""
    try:
        found = last_scrapes({"status": "success", "data": {"resultType": "matrix", "result": result}}, *HERE)
    except Unusable:
        return
    totals = since({}, [found.of("uid", scrape.process) for scrape in found.processes], *HERE)
    assert all(count.requests >= 0 for count in totals.counts.values())
    assert all(math.isfinite(scrape.scraped_at.timestamp()) for scrape in found.processes)


def _ok(found: LastScrapes) -> int:
    (scrape,) = found.processes
    assert scrape.samples is not None
    return read_counts(scrape.samples, *HERE)[STABLE, Track.LIVE].ok
