"""Tables, keys and acknowledgements of a real router."""

import json
import os
import signal
import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from finetune_inference.contract import Outcome, Track
from tests.engines import processes
from tests.engines.processes import ALIAS, CANARY, STABLE, EngineProcess, get, samples, table_of, until, write_table
from tests.process.router.conftest import Site, empty_table, next_generation
from tests.serving.api_client.odd_server import certificate

BODY = {"model": ALIAS, "messages": []}


def ask(site_or_router, headers: dict[str, str] | None = None) -> int:
    router = getattr(site_or_router, "router", site_or_router)
    return get(f"{router.url}/v1/chat/completions", BODY, headers)[0]


def test_a_generation_is_acknowledged_when_every_worker_applies_it(site: Site):
    stopped, _ = site.router.workers()
    before = site.router.generation()
    generation = next_generation()

    def adopted() -> int:
        return [line["message"] for line in site.router.logs].count("a route table is applied")

    earlier = until(adopted)
    os.kill(stopped, signal.SIGSTOP)
    try:
        write_table(site.router.folder, table_of(site.engines, generation, canary=CANARY, weight=7))
        until(lambda: adopted() > earlier)
        assert site.router.generation() == before
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: site.router.generation() == generation)
    (route,) = site.router.acknowledged().routes
    assert (route.weight, route.breaker_open) == (7, False)
    assert site.router.count("adapter_router_config_generation", deployment="dep") == generation


def test_a_scrape_says_which_process_counted(site: Site):
    process = site.router.acknowledged().process
    assert site.router.count("adapter_router_process_info", namespace="team", process=process) == 1


def test_a_bad_table_changes_nothing_and_is_said(site: Site):
    generation = site.router.generation()
    (site.router.folder / "table.bad").write_text(table_of(site.engines).to_json().replace('"weight":0', '"weight":101'))
    (site.router.folder / "table.bad").replace(site.router.folder / "table.json")
    assert "routes.0.weight" in str(until(lambda: site.router.acknowledged().table_problem))
    assert site.router.generation() == generation
    assert site.router.count("adapter_router_table_rejected") == 1
    assert ask(site) == 200
    site.apply(next_generation())
    until(lambda: site.router.acknowledged().table_problem is None)


def test_a_routed_version_has_all_its_series_at_zero_and_a_gone_one_has_none(site: Site):
    new = "tickets--cccccccccccc"
    for engine in site.engines:
        engine.change(versions=[STABLE, CANARY, new])
    site.apply(next_generation(), canary=new, weight=1, versions=[STABLE, new])
    found = samples(site.router.admin("/metrics")[1], "adapter_router_requests_total")
    mine = {(labels["track"], labels["outcome"]): value for labels, value in found if labels["version"] == new}
    assert mine == {(track.value, outcome.value): 0.0 for track in Track for outcome in Outcome}
    site.apply(next_generation())
    assert new not in site.router.admin("/metrics")[1]


def test_the_breaker_opens_for_all_workers_and_closes_with_a_new_generation(site: Site):
    for engine in site.engines:
        engine.change(fault="500", faulty=[CANARY])
    breaker = {"breaker": {"maxErrorRate": "0.5", "minRequests": 10}}
    site.apply(next_generation(), canary=CANARY, weight=100, **breaker)
    until(lambda: (ask(site), site.router.acknowledged().routes[0].breaker_open)[1])
    (route,) = site.router.acknowledged().routes
    assert route.weight == 0
    assert site.router.count("adapter_router_breaker_open") == 1
    assert {ask(site) for _ in range(20)} == {200}
    assert site.router.outcomes(CANARY)["error"] >= 10
    for engine in site.engines:
        engine.change(fault="")
    site.apply(next_generation(), canary=CANARY, weight=100, **breaker)
    assert not site.router.acknowledged().routes[0].breaker_open
    assert ask(site) == 200


def test_a_pod_counts_as_soon_as_its_list_has_the_version_and_no_longer(site: Site):
    for engine in site.engines:
        engine.change(listed=[CANARY])
    site.apply(next_generation())
    until(lambda: ask(site) == 503)
    site.engines[0].change(listed=[STABLE])
    until(lambda: ask(site) == 200)


def test_a_canary_that_was_just_loaded_is_looked_for_before_it_is_routed(site: Site):
    new = "tickets--dddddddddddd"
    for _ in range(3):
        for engine in site.engines:
            engine.change(versions=[STABLE, CANARY])
        site.apply(next_generation())
        until(lambda: new not in json.dumps([site.router.logs[-1]]))
        for engine in site.engines:
            engine.change(versions=[STABLE, new])
        site.apply(next_generation(), canary=new, weight=100, versions=[STABLE, new])
        assert {ask(site) for _ in range(10)} == {200}
        assert site.router.outcomes(new).keys() == {"ok"}


def test_open_requests_are_told_by_version(site: Site):
    for engine in site.engines:
        engine.change(first_token=600.0)
    address = urlsplit(site.router.url)
    body = json.dumps(BODY).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as asking:
        for _ in range(3):
            asking.enter_context(socket.create_connection((address.hostname, address.port))).sendall(head.encode() + body)
        until(lambda: site.router.acknowledged().routes[0].in_flight.get(STABLE) == 3)
    until(lambda: site.router.acknowledged().routes[0].in_flight == {})


def test_admin_and_traffic_do_not_meet(site: Site):
    for path in ("/metrics", "/routes"):
        assert get(site.router.url + path)[0] == 404
    assert site.router.admin("/v1/models")[0] == 404
    assert site.router.admin("/healthz")[0] == 200


@pytest.fixture
def keyed(tmp_path, engines: list[EngineProcess]):
    """A router with keys, a pin token and a key for the engine."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "alice").write_text("key-a")
    (tmp_path / "pin").write_text("pin-a")
    (tmp_path / "engine").write_text("engine-a")
    write_table(tmp_path, table_of(engines))
    options = ("--api-keys", tmp_path / "keys", "--pin-token-file", tmp_path / "pin", "--engine-key-file", tmp_path / "engine")
    with processes.router(tmp_path, *map(str, options), workers=1) as router:
        yield router


def test_keys_are_read_again_when_they_change(keyed, engines):
    alice, bob = ({"Authorization": f"Bearer {key}"} for key in ("key-a", "key-b"))
    assert [ask(keyed, alice), ask(keyed, bob), ask(keyed)] == [200, 401, 401]
    (keyed.folder / "keys" / "bob").write_text("key-b")
    (keyed.folder / "keys" / "alice").unlink()
    until(lambda: ask(keyed, bob) == 200)
    until(lambda: ask(keyed, alice) == 401)
    pinned = {"x-adapter-version": CANARY, "x-adapter-pin-token": "pin-a"}
    assert [ask(keyed, pinned), ask(keyed, pinned | {"x-adapter-pin-token": "no"})] == [200, 403]
    assert {headers.get("Authorization") for engine in engines for headers in engine.told()["headers"]} >= {"Bearer engine-a"}
    (keyed.folder / "pin").unlink()
    assert ask(keyed, bob) == 200
    log = (keyed.folder / "log").read_text()
    assert not any(secret in log for secret in ("key-a", "key-b", "pin-a", "engine-a"))


def test_keys_of_an_optional_secret_count_from_the_moment_it_is_there(tmp_path, engines):
    (tmp_path / "keys").mkdir()
    write_table(tmp_path, table_of(engines))
    with processes.router(tmp_path, "--api-keys", str(tmp_path / "keys"), "--without-keys", "admit", workers=1) as router:
        until(lambda: ask(router) == 200)
        (tmp_path / "keys" / "alice").write_text("key-a")
        until(lambda: ask(router) == 401)
        assert ask(router, {"Authorization": "Bearer key-a"}) == 200


def test_the_last_good_table_is_served_when_the_source_is_away(tmp_path, engines, site: Site):
    (tmp_path / "state").mkdir()
    kept = (site.router.folder / "state" / "last-good-table.json").read_bytes()
    (tmp_path / "state" / "last-good-table.json").write_bytes(kept)
    (tmp_path / "table.json").write_text("{")
    with processes.router(tmp_path, workers=1) as router:
        assert ask(router) == 200
        assert router.generation() == site.router.generation()
        assert router.acknowledged().table_problem
    assert router.process.returncode == 0


def test_by_the_last_good_table_a_router_is_ready_once_its_source_has_spoken_or_had_its_time(tmp_path, engines, site: Site):
    (tmp_path / "state").mkdir()
    kept = (site.router.folder / "state" / "last-good-table.json").read_bytes()
    (tmp_path / "state" / "last-good-table.json").write_bytes(kept)
    (tmp_path / "token").write_text("token")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = ("--watch-namespace", "team", "--kube-api-url", f"https://127.0.0.1:{silent.getsockname()[1]}")
        source += ("--kube-token-file", str(tmp_path / "token"), "--kube-ca-file", str(certificate(tmp_path)))
        with processes.router(tmp_path, workers=1, ready=False, source=source) as router:
            status, reasons = router.admin("/readyz")
            assert status == 503
            assert "the table is the last good one, and there may be a newer one" in reasons
            until(lambda: router.admin("/readyz")[0] == 200)
            assert ask(router) == 200


def test_without_any_table_the_router_is_not_ready_and_takes_nobody(tmp_path, engines):
    with processes.router(tmp_path, workers=1, ready=False) as router:
        status, reasons = router.admin("/readyz")
        assert status == 503
        assert "table.json" in reasons
        write_table(tmp_path, empty_table())
        until(lambda: router.admin("/readyz")[0] == 200)
        assert ask(router) == 404


def test_a_port_that_is_taken_is_said(tmp_path, engines):
    import subprocess
    import sys

    write_table(tmp_path, table_of(engines))
    command = [sys.executable, "-m", "tests.engines.route", "--table", str(tmp_path / "table.json"), "--state-dir", str(tmp_path / "state")]
    flags = ["--address", "127.0.0.1", "--port", str(engines[0].port), "--admin-port", "0"]
    ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "in use" in ended.stderr


def test_a_mistake_in_an_option_is_said(capfd):
    from finetune_inference.cli.main import main

    assert main(["route", "--table", "t", "--state-dir", "s", "--workers", "0"]) == 2
    assert "--workers" in capfd.readouterr().err
