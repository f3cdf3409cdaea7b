"""A scrape counts once it is newer than what Prometheus had when the route was applied; what is missing is said."""

from datetime import UTC, datetime, timedelta

import pytest

from finetune_operator.cluster.prometheus import Failure, NoMetrics
from finetune_operator.control.rollout.scraped import Applied, Scraped
from finetune_operator.domain.analysis.counters import Sample
from finetune_operator.domain.analysis.prometheus import LastScrapes, ProcessScrape
from tests.unit.control.rollout.samples import KEY

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIRST, SECOND = (Sample("adapter_router_requests_total", {}, value) for value in (1.0, 2.0))


class Prometheus:
    """Answers with what is in ``scrapes``, or with ``failure``."""

    def __init__(self) -> None:
        self.scrapes: dict[str, ProcessScrape] = {}
        self.failure: NoMetrics | None = None
        self.asked = 0

    def scrape(self, second: float, sample: Sample | None, process: str = "p1", problem: str = "") -> None:
        at = NOON + timedelta(seconds=second)
        self.scrapes[process] = ProcessScrape(process, at, (sample,) if sample is not None else None, problem)

    async def read(self, namespace: str, deployment: str) -> LastScrapes:
        assert (namespace, deployment) == KEY
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return LastScrapes(tuple(self.scrapes.values()))


class Rig:
    def __init__(self) -> None:
        self.now = 100.0
        self.prometheus = Prometheus()
        self.results: list[str] = []
        self.scraped = Scraped(self.prometheus, read=self.results.append, clock=lambda: self.now)

    async def look(self, applied: Applied = Applied("p1", 1)) -> tuple[Sample, ...] | None:  # noqa: B008  a tuple
        self.now += 2
        await self.scraped.look(KEY, {"r1": applied}, max_age=1.0)
        return self.scraped.samples(KEY, "r1", applied)


async def test_a_scrape_counts_once_it_is_newer_than_what_there_was_when_the_route_was_applied() -> None:
    rig = Rig()
    rig.prometheus.scrape(0, FIRST)
    assert await rig.look() is None
    assert rig.scraped.trouble(KEY) == "", "the next scrape will do"
    rig.prometheus.scrape(0.001, FIRST)
    assert await rig.look() == (FIRST,)
    assert await rig.look() == (FIRST,), "it stays the last one"
    assert await rig.look(Applied("p1", 2)) is None, "another route"
    rig.prometheus.scrape(15, SECOND)
    assert await rig.look(Applied("p1", 2)) == (SECOND,)


async def test_the_first_scrape_of_a_process_counts() -> None:
    rig = Rig()
    assert await rig.look() is None
    rig.prometheus.scrape(0, FIRST)
    assert await rig.look() == (FIRST,)
    assert await rig.look(Applied("p2", 1)) is None, "what the former process counted is not the new one's"


async def test_it_is_asked_when_the_answer_is_old_or_older_than_what_a_router_has_applied() -> None:
    rig = Rig()
    rig.prometheus.scrape(0, FIRST)
    await rig.look()
    for applied, asked in ((Applied("p1", 1), 1), (Applied("p1", 2), 2), (Applied("p1", 2), 2)):
        await rig.scraped.look(KEY, {"r1": applied}, max_age=1.0)
        assert rig.prometheus.asked == asked
    rig.scraped.forget(KEY)
    assert rig.scraped.samples(KEY, "r1", Applied("p1", 2)) is None


async def test_a_failure_is_named_with_the_field_and_a_way_out_and_passes_with_its_cause() -> None:
    rig = Rig()
    rig.prometheus.scrape(0, FIRST)
    await rig.look()
    rig.prometheus.failure = NoMetrics(Failure.UNREACHABLE, "no answer: TimeoutError")
    assert await rig.look() is None
    assert rig.scraped.trouble(KEY) == (
        "spec.analysis.provider: Prometheus gives no counters, so nothing can pass: no answer: TimeoutError. "
        "Or set spec.analysis.provider to Routers"
    )
    rig.prometheus.failure = None
    rig.prometheus.scrape(15, SECOND)
    assert await rig.look() == (SECOND,), "what was known of the route is not lost meanwhile"
    assert rig.scraped.trouble(KEY) == ""
    assert rig.results == ["ok", "none", "ok"]


@pytest.mark.parametrize(
    ("process", "problem", "said"), [("p1", "series of x are missing", "series of x are missing"), ("p0", "", "no recent scrape")]
)
async def test_lost_series_and_routers_are_named(process: str, problem: str, said: str) -> None:
    rig = Rig()
    rig.prometheus.scrape(0, None, process, problem)
    assert await rig.look() is None
    assert said in rig.scraped.trouble(KEY)


async def test_an_operator_without_a_prometheus_says_so() -> None:
    scraped = Scraped()
    await scraped.look(KEY, {"r1": Applied("p1", 1)}, max_age=1.0)
    assert scraped.samples(KEY, "r1", Applied("p1", 1)) is None
    assert "serving.prometheus.url" in scraped.trouble(KEY)
