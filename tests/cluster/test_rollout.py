"""Rollouts by the real operator on a real API server, with real routers and agents and the traffic of real clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.serving_site import FAST, STEP, Site


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
    assert status["stable"]["version"] == first.name("tickets")
    assert status["loaded"] == "1/1"
    with site.traffic() as load:
        site.wait(lambda _: len(load.records) > 20, "traffic")
    assert not load.failures
    assert {record.version for record in load.records} == {first.name("tickets")}


def test_an_update_goes_step_by_step_until_it_answers_all_callers(site: Site, operator: OperatorProcess) -> None:
    first, second = site.publish(1), site.publish(2)
    canary = {"canary": {"steps": [{"weight": 20, **STEP}, {"weight": 60, **STEP}]}}
    site.apply(first, strategy=canary)
    site.wait_phase("Healthy")
    with site.traffic() as load:
        site.apply(second, strategy=canary)
        site.wait(lambda status: (status.get("step") or {}).get("text") == "1/2", "step 1")
        site.wait(lambda status: (status.get("step") or {}).get("text") == "2/2", "step 2")
        status = site.wait_phase("Retaining")
    assert status["stable"]["version"] == second.name("tickets")
    assert status["history"][0]["outcome"] == "Promoted"
    assert not load.failures
    assert operator.metric(f'finetune_rollouts_total{{namespace="{site.place.namespace}",outcome="Promoted"}}') == 2
