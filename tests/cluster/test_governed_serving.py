"""Governance of serving on a real API server, by the real operator, routers and agents: both ways, in time, and killed at any write."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.audit import tally
from finetune_testbed.bed import Testbed
from finetune_testbed.calls import Call
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import governed_serving, operator_process
from tests.cluster.finetunejobs import Object
from tests.cluster.governed_serving import GovernedSite
from tests.cluster.operator_process import until
from tests.cluster.rest import writes_at_rest
from tests.engines.artifacts import Published

NAMES = ("tickets", "letters")
RESTLESS = ("--rollout-rest-seconds", "1")
"""So that looks which find nothing to do can be waited for."""


@pytest.fixture
def governed(t1: Testbed, tmp_path: Path) -> Iterator[GovernedSite]:
    with governed_serving.site(t1, tmp_path, servers=NAMES) as here:
        yield here


def updated(here: GovernedSite) -> dict[str, tuple[Published, Published]]:
    """Two deployments, each of whose second versions was made of the newer data."""
    site, made = here.site, {}
    here.people.register("older", uri="pvc://data/older.jsonl")
    here.people.register("newer", uri="pvc://data/newer.jsonl")
    for number, name in enumerate(NAMES):
        first, second = site.publish(10 * number + 1), site.publish(10 * number + 2)
        here.made_of(f"train-{name}", [(first, "older"), (second, "newer")])
        made[name] = first, second
        here.deploy(name, first)
    for name in NAMES:
        site.wait_phase("Healthy", name)
        here.deploy(name, made[name][1])
    for name, (_, second) in made.items():
        site.wait(lambda status, second=second: stable(status) == second.digest and not status.get("rollout"), "the second", name)
    return made


def applied(status: Object) -> bool:
    """Routers and agents have done what it says, and it says so."""
    told = {each["type"]: each["status"] for each in status.get("conditions") or []}
    return told.get("TrafficApplied") == told.get("Loaded") == "True"


def stable(status: Object) -> str:
    return str((status.get("stable") or {}).get("digest") or "")


def test_an_adapter_is_served_where_it_is_cleared_and_nowhere_else(governed: GovernedSite, tmp_path: Path) -> None:
    site = governed.site
    fine, high, unknown = site.publish(1), site.publish(2), site.publish(3)
    governed.made_of("train-fine", [(fine, "tickets")])
    governed.made_of("train-high", [(high, "tickets")], level="confidential")
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, governed.arguments(*RESTLESS)) as operator:
        governed.deploy("tickets", fine)
        status = site.wait_phase("Healthy")
        assert site.condition("Governed")["status"] == "True"
        assert status["governance"]["classification"]["level"] == "internal"
        for name, adapter, reason in (("letters", high, "AdapterNotCleared"), ("unknown", unknown, "AdapterNotCleared")):
            governed.deploy(name, adapter)
            refused = site.wait(lambda status: status.get("conditions"), "a decision", name)
            condition = site.condition("Governed", name)
            assert condition["status"] == "False"
            assert reason in condition["message"]
            assert "Serve it where it is cleared." in condition["message"]
            assert site.condition("Ready", name)["status"] == "False"
            assert "route" not in refused
            assert "desired" not in refused
        until(lambda: applied(site.status()))
        written = writes_at_rest(site.place.bed, site.place.namespace, operator, 4)
        assert not written, tally(written)


def test_a_clearance_that_is_taken_away_gives_grace_and_then_what_may_answers(governed: GovernedSite, tmp_path: Path) -> None:
    site = governed.site
    first, second = site.publish(1), site.publish(2)
    governed.people.demand(licences={"allow": ["*"]}, requireProofs=False, requireDigests=False)
    governed.people.label({"finetune.dev/clearance-level": "confidential"})
    governed.made_of("train-first", [(first, "older")])
    governed.made_of("train-second", [(second, "newer")], level="confidential")
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, governed.arguments("--governance-grace-seconds", "4")):
        governed.deploy("tickets", first)
        site.wait_phase("Healthy")
        governed.deploy("tickets", second, labels={**governed_serving.DECLARED, "finetune.dev/level": "confidential"})
        site.wait(lambda status: stable(status) == second.digest and not status.get("rollout"), "the second")
        governed.people.label({"finetune.dev/clearance-level": "internal"})
        status = site.wait(lambda status: (status.get("governance") or {}).get("grace"), "grace")
        assert stable(status) == second.digest, "in the grace period callers get what they got"
        status = site.wait(lambda status: stable(status) == first.digest, "taken back")
        assert [entry["outcome"] for entry in status["history"]][:2] == ["Promoted", "AdapterNotCleared"]
        assert site.condition("Ready")["status"] == "False"
        until(lambda: site.routers[0].generation("tickets") == site.status()["route"]["generation"])
        with site.traffic(name="tickets") as load:
            until(lambda: len(load.records) > 20)
        assert not load.failures
        assert {record.version for record in load.records} == {first.name("tickets")}


@pytest.mark.parametrize("down", [False, True], ids=["operator up", "operator down meanwhile"])
def test_withdrawn_data_take_out_every_adapter_of_every_deployment(governed: GovernedSite, tmp_path: Path, down: bool) -> None:
    site = governed.site
    bed = site.place.bed
    operator = operator_process.start(bed.kubeconfig, tmp_path, governed.arguments(*RESTLESS))
    try:
        made = updated(governed)
        if down:
            operator.stop()
        seen = len(site.watch.caught_up()) if down else 0  # what follows is the next operator's, however soon it comes
        governed.withdraw("newer")
        if down:
            operator = operator_process.start(bed.kubeconfig, tmp_path, governed.arguments(*RESTLESS))
        for name, (first, _) in made.items():
            site.wait(lambda status, first=first: stable(status) == first.digest, "taken back", name)
            condition = site.condition("Governed", name)
            assert condition["reason"] == "Revoked"
            assert f"TrainingDataset {site.place.namespace}/newer" in condition["message"]
            assert "consent revoked" in condition["message"]
        after = [each.route for each in site.watch.caught_up()[seen:]]
        for name, (first, second) in made.items():
            routes = [route for route in after if route.deployment == name]
            last = max(number for number, route in enumerate(routes) if route.stable == second.name(name)) if not down else -1
            assert routes[last + 1].stable == first.name(name), "the first route after the withdrawal names what answers instead"
        until(lambda: all(not site.status(name).get("retained") and applied(site.status(name)) for name in NAMES))
        written = writes_at_rest(bed, site.place.namespace, operator, 4)
        assert not written, tally(written)
        assert {site.condition("Governed", name)["reason"] for name in NAMES} == {"Revoked"}
    finally:
        operator.stop()


@pytest.mark.timeout(600)
def test_killed_at_any_write_of_a_withdrawal_it_ends_the_same(governed: GovernedSite, t1: Testbed, tmp_path: Path) -> None:
    site = governed.site
    with Proxy(t1) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        operator = operator_process.start(kubeconfig, tmp_path, governed.arguments())
        try:
            made = updated(governed)
            for number in range(1, 5):
                proxy.set_strike(Strike(1, kill(operator.pid), Moment.COMMITTED, is_status))
                if number == 1:
                    governed.withdraw("newer")
                if not struck(proxy, site, made):
                    break
                operator.process.wait()
                proxy.set_strike(None)
                operator = operator_process.start(kubeconfig, tmp_path, governed.arguments())
            proxy.set_strike(None)
            if not operator.running:  # it was slow to come to one write more
                operator = operator_process.start(kubeconfig, tmp_path, governed.arguments())
            for name, (first, _) in made.items():
                site.wait(lambda status, first=first: stable(status) == first.digest and not status.get("rollout"), "taken back", name)
                assert [each["reason"] for each in site.status(name)["failedVersions"]] == ["Revoked"]
                outcomes = [entry["outcome"] for entry in site.status(name)["history"]]
                assert outcomes.count("Revoked") == 1
        finally:
            operator.stop()


def is_status(call: Call) -> bool:
    return (call.verb, call.resource) == ("patch", "adapterdeployments")


def struck(proxy: Proxy, site: object, made: dict[str, tuple[Published, Published]]) -> bool:
    """Whether there was one write more at which the operator could die."""
    try:
        return bool(until(lambda: proxy.has_struck, seconds=15))
    except AssertionError:
        return False
