"""Mode Merged by the real operator on a real API server: Jobs, two sets of servers, and the traffic between them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_testbed.calls import Call
from finetune_testbed.proxy import Moment, Proxy, Strike, kill
from finetune_trainer.contract import FailureClass
from tests.cluster import operator_process, serving_site
from tests.cluster.merged_site import ARGUMENTS, Kubelet, rollout
from tests.cluster.operator_process import until
from tests.cluster.rest import writes_at_rest, writes_since
from tests.cluster.serving_site import FAST, NAME, STEP, Site

SHORT: dict[str, Any] = {
    "strategy": {"canary": {"steps": [{"weight": 50, "bakeSeconds": 0, "analysis": []}]}},
    "rollback": {"keepStableLoadedSeconds": 0, "drainTimeoutSeconds": 1},
}


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path, servers=0) as here:
        yield here


@pytest.fixture
def kubelet(site: Site) -> Iterator[Kubelet]:
    here = Kubelet(site)
    yield here
    here.close()


def deployments(site: Site) -> set[str]:
    items = site.place.server.request("GET", site.place.path("deployments", group="apps/v1"))["items"]
    return {item["metadata"]["name"] for item in items if item["metadata"]["name"].startswith("server-")}


def named(adapter_digest: str) -> str:
    return f"server-{NAME}-{adapter_digest[7:19]}"


def test_five_steps_between_two_sets_of_servers_fail_no_request_and_cost_at_most_twenty_five_writes(
    site: Site, kubelet: Kubelet, tmp_path: Path
) -> None:
    first, second = site.publish(1), site.publish(2)
    steps = {"canary": {"steps": [{"weight": weight, **STEP, "analysis": []} for weight in (5, 20, 40, 60, 80)]}}
    log, arguments = AuditLog(site.place.bed), ("--namespace", site.place.namespace, *FAST, *ARGUMENTS, "--rollout-rest-seconds", "1")
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments) as operator:
        rollout(site, first, strategy=steps)
        site.wait_phase("Healthy")
        assert deployments(site) == {named(first.digest)}
        mark = log.mark()
        with site.traffic(name=NAME) as load:
            site.wait(lambda _: len(load.records) > 20, "traffic")
            rollout(site, second, strategy=steps)
            site.wait_phase("Retaining")
            answered = load.open + len(load.records)
            until(lambda: len(load.records) > answered + 20)
        assert not load.failures
        assert {record.version for record in load.records} == {first.name(NAME), second.name(NAME)}
        assert {record.version for record in load.records[answered:]} == {second.name(NAME)}
        written = writes_since(log, mark, site.place.namespace)
        print(f"five steps in mode Merged: {len(written)} writes\n{tally(written)}")
        assert len(written) <= 25, tally(written)
        assert len(kubelet.merges) == 2
        assert site.status()["selector"].endswith(f"finetune.dev/version={second.digest[7:19]}")

        rollout(site, second, **SHORT)
        third = site.publish(3)
        rollout(site, third, **SHORT)
        site.wait(lambda status: status["stable"]["digest"] == third.digest and not status.get("retained"), "the third alone")
        until(lambda: deployments(site) == {named(third.digest)})
        assert kubelet.most_at_once <= 3
        until(
            lambda: (
                at_rest(site, third.digest) and site.condition("TrafficApplied")["status"] == site.condition("Loaded")["status"] == "True"
            )
        )
        idle = writes_at_rest(site.place.bed, site.place.namespace, operator, 4)
        assert idle == [], tally(idle)


def test_files_that_are_not_those_that_were_merged_are_never_served(site: Site, kubelet: Kubelet, tmp_path: Path) -> None:
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, ("--namespace", site.place.namespace, *FAST, *ARGUMENTS)):
        first, second, third = site.publish(1), site.publish(2), site.publish(3)
        rollout(site, first, **SHORT)
        site.wait_phase("Healthy")
        kubelet.damaged = True
        rollout(site, second, **SHORT)
        status = site.wait_phase("Degraded")
        assert status["failedVersions"][0]["reason"] == "LoadFailed"
        assert "DigestMismatch" in site.condition("Ready")["message"]
        assert status["route"]["stable"] == first.name(NAME)
        kubelet.damaged, kubelet.outcome = False, FailureClass.MODEL
        rollout(site, third, **SHORT)
        status = site.wait(lambda status: len(status.get("failedVersions") or []) == 2, "refused by the merge")
        assert status["failedVersions"][0]["reason"] == "MergeFailed"
        assert "AdapterMisfit: weights without a place" in site.condition("Ready")["message"]
        until(lambda: deployments(site) == {named(first.digest)})


def test_without_servers_of_the_operators_own_it_says_what_to_do(site: Site, tmp_path: Path) -> None:
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, ("--namespace", site.place.namespace, *FAST)):
        rollout(site, site.publish(1))
        until(lambda: "start it with --inference-image" in site.condition("Ready").get("message", ""))
        assert site.condition("Ready")["reason"] == "Merging"


OF_THIS_MODE = {"Job created": ("create", "jobs"), "servers made": ("patch", "deployments"), "servers gone": ("delete", "deployments")}
"""Writes that adapters have not; every single one of both is a kill point of the simulated rollouts."""


@pytest.mark.timeout(600)
def test_a_merged_rollout_ends_the_same_when_the_operator_dies_after_a_write_of_this_mode(
    t1: Testbed, site: Site, kubelet: Kubelet, tmp_path: Path
) -> None:
    adapters = [site.publish(1), site.publish(2)]
    with Proxy(t1) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        arguments = ("--namespace", site.place.namespace, *FAST, *ARGUMENTS)
        operator = operator_process.start(kubeconfig, tmp_path, arguments)
        try:
            rollout(site, adapters[1], **SHORT)
            until(lambda: at_rest(site, adapters[1].digest))
            for number, (what, (verb, plural)) in enumerate(OF_THIS_MODE.items()):
                kubelet.forget_merges()
                adapter, begun = adapters[number % 2], len(kubelet.merges)
                its = partial(is_a, verb, plural)
                proxy.set_strike(Strike(1, kill(operator.pid), Moment.COMMITTED, its))
                rollout(site, adapter, **SHORT)
                until(lambda: proxy.has_struck)
                operator.process.wait()
                proxy.set_strike(None)
                operator = operator_process.start(kubeconfig, tmp_path, arguments)
                until(lambda adapter=adapter: at_rest(site, adapter.digest))
                status = site.status()
                assert len(kubelet.merges) == begun + 1, what
                assert status["history"][0]["outcome"] == "Promoted", what
                assert not status.get("failedVersions"), what
        finally:
            operator.stop()


def is_a(verb: str, plural: str, call: Call) -> bool:
    return (call.verb, call.resource) == (verb, plural)


def at_rest(site: Site, digest: str) -> bool:
    found = site.get()
    status = found.get("status") or {}
    if status.get("phase") != "Healthy" or status.get("observedGeneration") != found["metadata"]["generation"]:
        return False
    return bool(status["stable"]["digest"] == digest and not status.get("retained") and deployments(site) == {named(digest)})
