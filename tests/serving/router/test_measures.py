"""Counters: at zero from birth, kept over a worker's restart, gone with their version."""

import json

import prometheus_client.values
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from finetune_inference.contract import Outcome, Route, RouteTable, Track
from finetune_inference.router import exposition
from finetune_inference.router.counterfiles import CounterFiles
from finetune_inference.router.measures import RETIRED_KEPT, Measures, routed
from tests.engines.processes import samples

OLD, NEW = "a--aaaaaaaaaaaa", "a--bbbbbbbbbbbb"
TABLE = RouteTable(namespace="team", routes=[Route(deployment="dep", alias="a", generation=1, stable=NEW, versions=[NEW])])


def test_every_label_combination_of_a_routed_version_is_there_at_zero():
    registry = CollectorRegistry()
    Measures(registry).follow(TABLE)
    text = generate_latest(registry).decode()
    requests = samples(text, "adapter_router_requests_total")
    assert {(labels["track"], labels["outcome"]) for labels, _ in requests} == {(track, outcome) for track in Track for outcome in Outcome}
    assert all(labels["version"] == NEW and value == 0 for labels, value in requests)
    for name in ("ttft_seconds_count", "itl_seconds_count", "e2e_seconds_count", "output_tokens_total"):
        assert [value for _, value in samples(text, f"adapter_router_{name}")] == [0.0] * len(Track), name
    assert {labels["outcome"] for labels, _ in samples(text, "adapter_router_checks_total")} == {"valid", "invalid"}


def write(folder, slot, version, value):
    file = MmapedDict(str(folder / f"counter_{slot}.db"))
    labels = {"namespace": "team", "deployment": "dep", "version": version, "track": "live", "outcome": "ok"}
    file.write_value(mmap_key("requests", "requests_total", list(labels), list(labels.values()), "help"), value, 0.0)
    file.write_value(mmap_key("retries", "retries_total", ["cause"], ["unavailable"], "help"), value, 0.0)
    file.close()


def test_workers_are_summed_and_versions_that_no_table_routes_are_left_out(tmp_path):
    for slot in (0, 1):
        write(tmp_path, slot, OLD, 5.0)
        write(tmp_path, slot, NEW, 7.0)
    text = exposition.rendered(exposition.WorkerCounters(tmp_path, set(routed(TABLE)))).decode()
    assert [(labels["version"], value) for labels, value in samples(text, "requests_total")] == [(NEW, 14.0)]
    assert [value for _, value in samples(text, "retries_total")] == [14.0]


def test_a_restarted_worker_goes_on_counting_what_still_lives(tmp_path):
    write(tmp_path, 0, OLD, 5.0)
    write(tmp_path, 0, NEW, 7.0)
    exposition.prepare(tmp_path, 0, set(routed(TABLE)))
    found = {
        json.loads(key)[2].get("version"): value for key, value, *_ in MmapedDict.read_all_values_from_file(str(tmp_path / "counter_0.db"))
    }
    assert found == {NEW: 7.0, None: 7.0}


def test_counters_of_an_earlier_process_are_removed(tmp_path):
    write(tmp_path, 0, OLD, 5.0)
    exposition.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_spoilt_file_costs_its_counts_and_not_the_router(tmp_path, caplog):
    (tmp_path / "counter_0.db").write_bytes(b"\xff\xff\xff\x7f" + b"\xff" * 100)
    exposition.prepare(tmp_path, 0, set())
    assert "begin at zero" in caplog.text
    assert exposition.rendered(exposition.WorkerCounters(tmp_path, set())) == b""


def tables(count: int) -> list[RouteTable]:
    versions = [f"a--{number:012x}" for number in range(count)]
    return [
        RouteTable(namespace="team", routes=[Route(deployment="dep", alias="a", generation=1, stable=v, versions=[v])]) for v in versions
    ]


@pytest.fixture
def files(tmp_path, monkeypatch) -> CounterFiles:
    made = CounterFiles(tmp_path, 0)
    monkeypatch.setattr(prometheus_client.values, "ValueClass", made.value)
    return made


def shown(folder, table: RouteTable, outcome: str = "ok") -> dict[str, float]:
    text = exposition.rendered(exposition.WorkerCounters(folder, set(routed(table)))).decode()
    found = samples(text, "adapter_router_requests_total")
    return {labels["version"]: value for labels, value in found if labels["track"] == "live" and labels["outcome"] == outcome}


def test_files_of_a_worker_do_not_grow_with_the_versions_it_has_seen(tmp_path, files):
    measures = Measures(compact=files.compact)
    sizes = []
    for table in tables(300):
        measures.follow(table)
        (version,) = table.routes[0].versions
        measures.arm("team", "dep", version, Track.LIVE).outcomes[Outcome.OK].inc()
        if len(sizes) % 50 == 0:
            assert shown(tmp_path, table) == {version: 1.0}
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert max(sizes[100:]) <= max(sizes[:100])


def test_a_version_that_comes_back_soon_goes_on_counting(tmp_path, files):
    measures = Measures(compact=files.compact)
    first, second = tables(2)
    for table in (first, second, first):
        measures.follow(table)
        (version,) = table.routes[0].versions
        measures.arm("team", "dep", version, Track.LIVE).outcomes[Outcome.OK].inc()
    assert shown(tmp_path, first) == {first.routes[0].versions[0]: 2.0}


def test_counts_survive_the_worker_and_the_forgetting_of_others(tmp_path, files, monkeypatch):
    measures = Measures(compact=files.compact)
    many = tables(RETIRED_KEPT + 3)
    for table in many:
        measures.follow(table)
    (version,) = many[-1].routes[0].versions
    held = measures.arm("team", "dep", version, Track.LIVE)
    held.outcomes[Outcome.OK].inc(4)
    files.compact()
    held.outcomes[Outcome.OK].inc()
    monkeypatch.setattr(prometheus_client.values, "ValueClass", CounterFiles(tmp_path, 0).value)
    anew = Measures()
    anew.arm("team", "dep", version, Track.LIVE).outcomes[Outcome.OK].inc()
    assert shown(tmp_path, many[-1]) == {version: 6.0}


def test_an_answer_under_way_when_its_version_is_forgotten_harms_nothing(tmp_path, files):
    measures = Measures(compact=files.compact)
    first, *others = tables(RETIRED_KEPT + 3)
    measures.follow(first)
    held = measures.arm("team", "dep", first.routes[0].versions[0], Track.LIVE)
    for table in others:
        measures.follow(table)
    held.outcomes[Outcome.OK].inc()
    held.first_token.observe(0.1)
    assert shown(tmp_path, others[-1]) == {others[-1].routes[0].versions[0]: 0.0}
