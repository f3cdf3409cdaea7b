"""Ends and new starts of the operator while engines that a user runs himself are at work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process
from tests.cluster.operator_process import until
from tests.cluster.own_engines import OwnSite, arguments, own_site
from tests.cluster.rest import wait_idle, writes_at_rest, writes_since
from tests.engines.forked import request


@pytest.fixture
def own(t1: Testbed, tmp_path: Path) -> Iterator[OwnSite]:
    with own_site(t1, tmp_path) as here:
        yield here


def test_a_load_of_minutes_holds_up_nobody_else_nor_the_operators_end(own: OwnSite, tmp_path: Path) -> None:
    slow = own.add_engine("slow")
    slow.fault(load_seconds=3600.0)
    own.add_engine("quick")
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)) as operator:
        own.apply(own.site.publish(6), "slow")
        own.site.wait_phase("Loading", "slow")
        own.apply(own.site.publish(7), "quick")
        own.site.wait_phase("Healthy", "quick")
        assert own.site.status("slow")["phase"] == "Loading"
        assert operator.stop() == 0


def test_an_operator_that_is_killed_in_a_load_finds_it_done_and_loads_nothing_twice(own: OwnSite, tmp_path: Path) -> None:
    engine = own.add_engine("killed")
    engine.fault(load_seconds=2.0)
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)) as operator:
        version = own.apply(own.site.publish(8), "killed")
        until(lambda: engine.told()["counts"]["mostLoading"] == 1)
        operator.kill()
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)):
        own.site.wait_phase("Healthy", "killed")
        until(lambda: own.site.condition("TrafficApplied", "killed")["status"] == "True")  # the last word about it
    assert engine.log == [f"load {version}"]
    log = AuditLog(own.site.place.bed)
    mark = log.mark()
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)) as successor:
        wait_idle(successor, 3)
    written = writes_since(log, mark, own.site.place.namespace)
    assert written == [], f"a restart writes nothing about what is at rest: {tally(written)}"


def test_engines_at_rest_are_audited_and_nothing_is_written(own: OwnSite, tmp_path: Path) -> None:
    engines = [own.add_engine("rest"), own.add_engine("rest")]
    with operator_process.running(own.site.place.bed.kubeconfig, tmp_path, arguments(own)) as operator:
        version = own.apply(own.site.publish(9), "rest")
        own.site.wait_phase("Healthy", "rest")
        until(lambda: own.site.condition("TrafficApplied", "rest")["status"] == "True")
        written = writes_at_rest(own.site.place.bed, own.site.place.namespace, operator, 4)
        assert written == [], tally(written)
        assert [engine.log for engine in engines] == [[f"load {version}"]] * 2
        assert request("POST", f"{engines[1].url}/faults/drop", {"name": version})[0] == 200
        until(lambda: engines[1].log == [f"load {version}"] * 2)
