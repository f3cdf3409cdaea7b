"""Counters: at zero from birth, kept over a worker's restart, gone with their version."""

import json

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from finetune_inference.contract import Outcome, Route, RouteTable, Track
from finetune_inference.router import exposition
from finetune_inference.router.measures import Measures, routed
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
