"""A typed uri, by the real operator on a real API server: its files are read once, by a Job, before any server hears of the version."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_testbed.calls import Call
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from tests.cluster import operator_process, serving_site
from tests.cluster.checked_site import Checker, checker
from tests.cluster.operator_process import until
from tests.cluster.serving_site import FAST, Site
from tests.engines.artifacts import Published

WRITER = "finetune-operator"
ARGUMENTS = (*FAST, "--inference-image", "registry.invalid/finetune-inference:test")
SERVER: dict[str, Any] = {"managed": {"engine": "Transformers", "replicas": 1}}
SHORT: dict[str, Any] = {
    "server": SERVER,
    "strategy": {"canary": {"steps": [{"weight": 50, "bakeSeconds": 0, "analysis": []}]}},
    "rollback": {"keepStableLoadedSeconds": 0, "drainTimeoutSeconds": 1},
}


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        yield here


@pytest.fixture
def checks(site: Site) -> Iterator[Checker]:
    with checker(site) as here:
        yield here


def of_site(site: Site) -> tuple[str, ...]:
    return ("--namespace", site.place.namespace, *ARGUMENTS)


def at_rest(site: Site, adapter: Published) -> bool:
    found = site.get()
    status = found.get("status") or {}
    if status.get("phase") != "Healthy" or status.get("observedGeneration") != found["metadata"]["generation"]:
        return False
    return bool(status["stable"]["digest"] == adapter.digest and not status.get("retained"))


def test_five_steps_with_the_check_cost_at_most_twenty_five_writes_and_nothing_is_read_twice(
    site: Site, checks: Checker, tmp_path: Path
) -> None:
    first, second = site.publish(1), site.publish(2)
    steps = {"canary": {"steps": [{"weight": weight, "bakeSeconds": 1, "analysis": []} for weight in (5, 20, 40, 60, 80)]}}
    changes = {**SHORT, "strategy": steps}
    log = AuditLog(site.place.bed)
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, of_site(site)):
        site.apply(first, **changes)
        site.wait_phase("Healthy")
        mark = log.mark()
        site.apply(second, **changes)
        until(lambda: at_rest(site, second))
        written = [call for call in log.writes(WRITER, since=mark) if call.namespace == site.place.namespace and not call.is_lease]
        print(f"five steps with a check: {len(written)} writes\n{tally(written)}")
        assert len(written) <= 25, tally(written)
        assert list(checks.codes.values()) == [0, 0]
        assert [known["digest"] for known in site.status()["checked"]] == [second.digest, first.digest]
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, of_site(site)):
        site.apply(first, **SHORT)
        until(lambda: at_rest(site, first))
    assert len(checks.ran) == 2, "neither a restart nor another rollout reads the same files again"


OF_THIS_STAGE = {
    "policy applied": ("patch", "networkpolicies", 1),
    "stage written": ("patch", "adapterdeployments", 1),
    "Job created": ("create", "jobs", 1),
    "verdict written": ("patch", "adapterdeployments", 2),
}
"""Writes that a rollout without a check has not; every single one of both is a kill point of the simulated rollouts."""


@pytest.mark.timeout(600)
def test_a_checked_rollout_ends_the_same_when_the_operator_dies_after_a_write_of_this_stage(
    t1: Testbed, site: Site, checks: Checker, tmp_path: Path
) -> None:
    with Proxy(t1) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        operator = operator_process.start(kubeconfig, tmp_path, of_site(site))
        try:
            for number, (what, (verb, plural, after)) in enumerate(OF_THIS_STAGE.items(), start=1):
                adapter = site.publish(number)
                proxy.set_strike(Strike(after, kill(operator.pid), Moment.COMMITTED, lambda call, its=(verb, plural): is_a(its, call)))
                site.apply(adapter, **SHORT)
                until(lambda: proxy.has_struck)
                operator.process.wait()
                proxy.set_strike(None)
                operator = operator_process.start(kubeconfig, tmp_path, of_site(site))
                until(lambda adapter=adapter: at_rest(site, adapter))
                status = site.status()
                assert len(checks.ran) == number, what
                assert status["history"][0]["outcome"] == "Promoted", what
                assert not status.get("failedVersions"), what
        finally:
            operator.stop()


def is_a(its: tuple[str, str], call: Call) -> bool:
    return (call.verb, call.resource) == its


def test_a_server_of_ones_own_is_not_asked_for_files_that_were_refused_and_a_correction_is_read_by_itself(
    site: Site, checks: Checker, tmp_path: Path
) -> None:
    good = site.publish(1)
    bad = site.publish(2, extra={"adapter_model.bin": b"x"})
    labels = {"app": "mine"}
    site.add_pod("mine", site.address(90), labels)
    server = {"external": {"matchLabels": labels, "port": 8100, "adapterMountPath": "/adapters"}}
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, of_site(site)):
        site.apply(bad, server=server)
        site.wait(lambda _: site.condition("Ready").get("reason") == "ArtifactRefused", "refused")
        assert "PickleRefused: adapter_model.bin" in site.condition("Ready")["message"]
        assert "desired" not in site.status()
        site.apply(good, server=server)
        site.wait(lambda status: (status.get("rollout") or {}).get("stage") == "Loading", "loading")
        assert list(checks.codes.values()) == [3, 0]
        assert site.condition("Accepted")["status"] == "True"
