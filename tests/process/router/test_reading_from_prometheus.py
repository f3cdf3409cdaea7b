"""A real Prometheus scrapes a real router; what is read from it is what the router itself shows."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from finetune_inference.contract import Track
from finetune_operator.cluster.prometheus import Failure, NoMetrics, PrometheusClient, PrometheusServer
from finetune_operator.control.prometheus import PrometheusSource
from finetune_operator.domain.analysis.counters import Counts, Sample, Series, read_counts, since, take_baseline
from finetune_operator.domain.analysis.prometheus import LastScrapes
from tests.engines import processes
from tests.engines.load import Load
from tests.engines.ports import free_port
from tests.engines.processes import CANARY, STABLE, EngineProcess, RouterProcess, table_of
from tests.engines.prometheus import PrometheusProcess, job, prometheus

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (Debian package prometheus) is not installed")
UID = "uid-of-router-0"
FRESHNESS = 5
HERE = ("team", "dep")


@dataclass
class Watched:
    """A router and the Prometheus that scrapes it twice, as two replicas of a pair would."""

    folder: Path
    admin_port: int
    prometheus: PrometheusProcess


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, shared_engines: list[EngineProcess]) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    processes.write_table(folder, table_of(shared_engines, canary=CANARY, weight=40))
    port = free_port()
    pod = {"namespace": "team", "pod": "router-0"}
    jobs = [job("routers", port, pod | {"replica": "a"}), job("again", port, pod | {"replica": "b"}, honor_labels=True)]
    jobs.append(job("elsewhere", port, {"namespace": "other", "pod": "impostor"}))
    with prometheus(tmp_path_factory.mktemp("prometheus") / "server", jobs) as server:
        yield Watched(folder, port, server)


@pytest.fixture
def router(watched: Watched, engines: list[EngineProcess]) -> Iterator[RouterProcess]:
    processes.write_table(watched.folder, table_of(engines, canary=CANARY, weight=40))
    with processes.router(watched.folder, "--admin-port", str(watched.admin_port)) as router:
        yield router


@pytest.fixture
async def source(watched: Watched) -> AsyncIterator[PrometheusSource]:
    client = PrometheusClient(PrometheusServer(watched.prometheus.url, ca_file=watched.prometheus.ca))
    yield PrometheusSource(client, FRESHNESS)
    await client.close()


async def test_its_counters_are_those_of_a_direct_scrape(source: PrometheusSource, router: RouterProcess, engines: list[EngineProcess]):
    engines[0].change(fault="500", faulty=[CANARY])
    load = Load(router.url, rate=50, document={"synthetic_gap": 0.01})
    async with load.running():
        while len(load.records) < 100:  # noqa: ASYNC110  a list has no event
            await asyncio.sleep(0.05)
    direct = await asyncio.to_thread(_settled, router, len(load.records))
    process = router.acknowledged().process
    scrape = (await _scraped(source, process, datetime.now(UTC))).of(UID, process)
    assert (scrape.router, scrape.process) == (UID, process)
    assert scrape.samples is not None
    assert read_counts(scrape.samples, *HERE) == direct
    live = direct[CANARY, Track.LIVE]
    assert min(live.ok, live.failed, live.ttft.total, live.itl.total, direct[STABLE, Track.LIVE].ok) > 0


async def test_a_restarted_router_counts_from_zero(source: PrometheusSource, watched: Watched, engines: list[EngineProcess]):
    where = ("--admin-port", str(watched.admin_port))
    with processes.router(watched.folder, *where) as router:
        assert [_ask(router) for _ in range(10)] == [200] * 10
        before, _ = router.acknowledged().process, await asyncio.to_thread(_settled, router, 10)
        found = await _scraped(source, before, datetime.now(UTC))
        baseline = take_baseline([found.of(UID, before)], *HERE)
        assert baseline is not None
    with processes.router(watched.folder, *where) as router:
        after = router.acknowledged().process
        assert found.of(UID, after).samples is None, "what the former process counted is not the new one's"
        assert [_ask(router) for _ in range(3)] == [200] * 3
        await asyncio.to_thread(_settled, router, 3)
        found = await _scraped(source, after, datetime.now(UTC))
    totals = since(baseline, [found.of(UID, after)], *HERE)
    assert totals.unread == ()
    assert sum(totals.of(version, Track.LIVE).requests for version in (STABLE, CANARY)) == 3


async def test_a_router_that_prometheus_has_not_scraped_lately_is_unread(
    source: PrometheusSource, watched: Watched, engines: list[EngineProcess]
):
    with processes.router(watched.folder, "--admin-port", str(watched.admin_port)) as router:
        process = router.acknowledged().process
        found = await _scraped(source, process, datetime.now(UTC))
    ended = datetime.now(UTC)
    assert found.of(UID, process, not_before=ended + timedelta(seconds=1)).samples is None
    while (now := await source.read(*HERE)).of(UID, process).samples is not None:
        found = now
        assert datetime.now(UTC) < ended + timedelta(seconds=FRESHNESS + 10)
        await asyncio.sleep(0.2)
    last = max(scrape.scraped_at for scrape in found.processes if scrape.process == process)
    assert datetime.now(UTC) >= last + timedelta(seconds=FRESHNESS), "it was read for as long as it was fresh"
    assert since({}, [now.of(UID, process)], *HERE).unread == (UID,)


async def test_a_certificate_that_nobody_vouches_for_is_named(watched: Watched):
    client = PrometheusClient(PrometheusServer(watched.prometheus.url))
    with pytest.raises(NoMetrics, match="caFile") as caught:
        await PrometheusSource(client).read(*HERE)
    await client.close()
    assert caught.value.failure is Failure.CONFIGURATION


async def test_nobody_speaks_for_another_namespace(source: PrometheusSource, router: RouterProcess):
    """The impostor's own label says ``team``; Prometheus gave it ``other``, and so keeps what it said apart."""
    process = router.acknowledged().process
    await _scraped(source, process, datetime.now(UTC))
    assert (await source.read("other", "dep")).processes == ()


async def _scraped(source: PrometheusSource, process: str, after: datetime) -> LastScrapes:
    """The first answer with a scrape of this process later than ``after``."""
    deadline = after + timedelta(seconds=processes.PATIENCE)
    while (found := await source.read(*HERE)).of(UID, process, not_before=after).samples is None:
        assert datetime.now(UTC) < deadline, found
        await asyncio.sleep(0.1)
    return found


def _settled(router: RouterProcess, requests: int) -> dict[Series, Counts]:
    """What the router shows itself, once it has counted so many requests."""

    def total(counts: Iterable[Counts]) -> int:
        return sum(count.requests for count in counts)

    processes.until(lambda: total(_direct(router).values()) == requests)
    return _direct(router)


def _direct(router: RouterProcess) -> dict[Series, Counts]:
    families = text_string_to_metric_families(router.admin("/metrics")[1])
    return read_counts((Sample(s.name, s.labels, s.value) for family in families for s in family.samples), *HERE)


def _ask(router: RouterProcess) -> int:
    return processes.get(f"{router.url}/v1/chat/completions", {"model": processes.ALIAS, "messages": []})[0]
