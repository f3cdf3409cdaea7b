"""Ends and new starts of the operator while engines that a user runs himself are at work."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.audit import AuditLog
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process
from tests.cluster.operator_process import until
from tests.cluster.own_engines import WRITER, OwnSite, arguments, own_site


@pytest.fixture
def own(t1: Testbed, tmp_path: Path) -> Iterator[OwnSite]:
    with own_site(t1, tmp_path) as here:
        yield here


def test_a_load_of_minutes_holds_up_nobody_else_nor_the_operators_end(own: OwnSite, tmp_path: Path) -> None:
    slow = own.add_engine("slow")
    slow.fault(load_seconds=3600.0)
    own.add_engine("quick")
    operator = operator_process.start(own.site.place.bed.kubeconfig, tmp_path, arguments(own))
    own.apply(own.site.publish(6), "slow")
    own.site.wait_phase("Loading", "slow")
    own.apply(own.site.publish(7), "quick")
    own.site.wait_phase("Healthy", "quick")
    assert own.site.status("slow")["phase"] == "Loading"
    assert operator.stop() == 0


def test_an_operator_that_is_killed_in_a_load_finds_it_done_and_loads_nothing_twice(own: OwnSite, tmp_path: Path) -> None:
    engine = own.add_engine("killed")
    engine.fault(load_seconds=2.0)
    operator = operator_process.start(own.site.place.bed.kubeconfig, tmp_path, arguments(own))
    version = own.apply(own.site.publish(8), "killed")
    until(lambda: engine.told()["counts"]["mostLoading"] == 1)
    operator.signal(signal.SIGKILL)
    operator.process.wait()
    log = AuditLog(own.site.place.bed)
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)):
        own.site.wait_phase("Healthy", "killed")
    assert engine.log == [f"load {version}"]
    mark = log.mark()
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)) as successor:
        name = 'finetune_reconcile_total{kind="AdapterDeployment",result="idle"}'
        before = successor.metric(name)
        until(lambda: successor.metric(name) >= before + 3)
    written = [call for call in log.writes(WRITER, since=mark) if call.name == "killed"]
    assert written == [], "a restart writes nothing about what is at rest"
