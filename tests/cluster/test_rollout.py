"""Rollouts by the real operator on a real API server, with real routers and agents and the traffic of real clients."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.rest import wait_idle, writes_since
from tests.cluster.serving.chronicle import Chronicle
from tests.cluster.serving.evidence import assert_prompt
from tests.cluster.serving_site import FAST, NAME, STEP, Site


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        yield here


@pytest.fixture
def operator(site: Site, tmp_path: Path) -> Iterator[OperatorProcess]:
    arguments = ("--namespace", site.place.namespace, *FAST)
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments) as process:
        yield process


def test_the_first_version_comes_to_answer_all_callers(site: Site, operator: OperatorProcess) -> None:
    first = site.publish(1)
    site.apply(first)
    status = site.wait_phase("Healthy")
    assert status["stable"]["version"] == first.name(NAME)
    assert status["loaded"] == "1/1"
    with site.traffic() as load:
        site.wait(lambda _: len(load.records) > 20, "traffic")
    assert not load.failures
    assert {record.version for record in load.records} == {first.name(NAME)}


def test_an_update_goes_step_by_step_until_it_answers_all_callers(site: Site, operator: OperatorProcess) -> None:
    first, second = site.publish(1), site.publish(2)
    canary = {"canary": {"steps": [{"weight": 20, **STEP}, {"weight": 60, **STEP}]}}
    site.apply(first, strategy=canary)
    site.wait_phase("Healthy")
    with site.traffic() as load:
        site.apply(second, strategy=canary)
        status = site.wait_phase("Retaining")
    assert site.watch.weights() == [20, 60]
    assert status["stable"]["version"] == second.name(NAME)
    assert status["history"][0]["outcome"] == "Promoted"
    assert not load.failures
    operator.wait_metric(f'finetune_rollouts_total{{namespace="{site.place.namespace}",outcome="Promoted"}}', 2)


def test_a_bad_canary_is_taken_back_with_its_numbers_and_routers_follow_within_two_seconds(t1: Testbed, tmp_path: Path) -> None:
    log = AuditLog(t1)
    mark = log.mark()
    with serving_site.site(t1, tmp_path, routers=2) as site:
        arguments = ("--namespace", site.place.namespace, *FAST)
        with operator_process.running(t1.kubeconfig, tmp_path, arguments) as operator:
            first, second = site.publish(1), site.publish(2)
            canary, stable = second.name(NAME), first.name(NAME)
            site.apply(first)
            site.wait_phase("Healthy")
            site.servers[0].fault(error_share={canary: 0.3})
            with site.traffic() as load:
                site.apply(second)
                status = site.wait_phase("Degraded")
                after = load.open + len(load.records)
                until(lambda: len(load.records) > after + 30)
                assert {record.version for record in load.records[after:]} == {stable}
            verdicts = Chronicle(site).verdicts(operator, log, mark)
            assert [verdict.version for verdict in verdicts] == [canary]
            print(assert_prompt(verdicts, load.records))
        failed = status["failedVersions"][0]
        assert failed["digest"] == second.digest
        assert failed["reason"] == "RolledBack"
        assert re.search(r"[0-9]+ of [0-9]+", failed["message"]), failed["message"]
        assert site.condition("Ready")["message"].startswith(failed["message"].rstrip(". ")[:100])


def test_a_rollout_of_five_steps_costs_at_most_twenty_five_writes_and_rest_none(site: Site, tmp_path: Path) -> None:
    first, second = site.publish(1), site.publish(2)
    strategy = {"canary": {"steps": [{"weight": weight, "bakeSeconds": 1, "analysis": []} for weight in (5, 20, 40, 60, 80)]}}
    arguments = ("--namespace", site.place.namespace, *FAST, "--rollout-rest-seconds", "1")
    log = AuditLog(site.place.bed)
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments) as operator:
        site.apply(first, strategy=strategy, rollback={"keepStableLoadedSeconds": 600, "drainTimeoutSeconds": 2})
        site.wait_phase("Healthy")
        mark = log.mark()
        site.apply(second, strategy=strategy)
        site.wait_phase("Retaining")
        rounds = wait_idle(operator, 2)
        cost = writes_since(log, mark, site.place.namespace)
        assert len(cost) <= 25, tally(cost)
        mark = log.mark()
        reads = operator.metric('finetune_rollout_pod_reads_total{result="ok",role="router"}')
        assert wait_idle(operator, 8) >= rounds
        assert writes_since(log, mark, site.place.namespace) == []
        assert operator.metric('finetune_rollout_pod_reads_total{result="ok",role="router"}') > reads
    mark = log.mark()
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments) as successor:
        wait_idle(successor, 3)
    assert writes_since(log, mark, site.place.namespace) == [], "a restart writes nothing about what is at rest"


def test_deleting_ends_though_no_router_answers(site: Site, operator: OperatorProcess) -> None:
    site.apply(site.publish(1))
    status = site.wait_phase("Healthy")
    assert status["loaded"] == "1/1"
    site.routers[0].process.send_signal(signal.SIGSTOP)
    try:
        site.delete()
        site.wait_phase("Draining")
        until(site.gone)
    finally:
        site.routers[0].process.send_signal(signal.SIGCONT)


def test_deleting_waits_until_routers_have_closed_the_alias_and_pods_have_unloaded(site: Site, tmp_path: Path) -> None:
    first = site.publish(1)
    patient = ("--namespace", site.place.namespace, *FAST, "--rollout-unload-seconds", "120")  # a busy machine's agent takes its time
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, patient) as operator:
        site.apply(first, rollback={"drainTimeoutSeconds": 600})
        generation = site.wait_phase("Healthy")["route"]["generation"]
        until(lambda: site.routers[0].generation(NAME) == generation)
        site.routers[0].process.send_signal(signal.SIGSTOP)
        try:
            site.delete()
            site.wait_phase("Draining")
            wait_idle(operator, 3)
            assert not site.gone()
            assert first.name(NAME) in site.servers[0].held(), "the router may still send requests there"
        finally:
            site.routers[0].process.send_signal(signal.SIGCONT)
        until(site.gone, every=0.01)
        assert first.name(NAME) not in site.servers[0].held()
    assert site.routers[0].generation(NAME) in (generation + 1, 0), "it has closed the alias, or knows it no more"


def test_an_empty_list_in_the_route_is_kept_and_can_change(site: Site, operator: OperatorProcess) -> None:
    first = site.publish(1)
    site.apply(first, stickiness={"fallback": []})
    site.wait_phase("Healthy")
    for fallback in ([], ["User"], []):
        site.apply(first, stickiness={"fallback": fallback})
        site.wait(lambda status, fallback=fallback: status["route"]["stickiness"] == {"fallback": fallback}, f"fallback {fallback}")
        site.wait_phase("Healthy")


def test_where_users_send_nothing_the_operators_own_requests_decide(site: Site, tmp_path: Path) -> None:
    arguments = ("--namespace", site.place.namespace, *FAST, "--rollout-pin-token-file", str(tmp_path / "pin-token"))
    analysis = {"minRequests": 30, "maxWaitSeconds": 10, "onInsufficientData": "Probe"}
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, arguments) as operator:
        first, second = site.publish(1), site.publish(2)
        site.apply(first, analysis=analysis)
        site.wait_phase("Healthy")
        site.apply(second, analysis=analysis)
        status = site.wait_phase("Retaining")
        assert status["stable"]["version"] == second.name(NAME)
        assert operator.metric('finetune_rollout_probes_total{result="ok"}') >= 60
        assert operator.metric('finetune_rollout_probes_total{result="failed"}') == 0
    for version in (first.name(NAME), second.name(NAME)):
        assert sum(site.routers[0].outcomes(version, "probe").values()) >= 30
        assert site.routers[0].outcomes(version) == {}
