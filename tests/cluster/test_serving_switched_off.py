"""An operator that does not serve leaves AdapterDeployments as they are, and lets go of those that are deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from tests.cluster import operator_process, serving_site
from tests.cluster.operator_process import until
from tests.cluster.serving_site import FAST, NAME, Site

DRAIN = "finetune.dev/drain"
THEIRS = "example.org/other"


@pytest.fixture
def site(t1: Testbed, tmp_path: Path) -> Iterator[Site]:
    with serving_site.site(t1, tmp_path) as here:
        yield here


def test_once_serving_is_off_a_deployment_answers_as_before_and_can_be_deleted(site: Site, tmp_path: Path) -> None:
    here = ("--namespace", site.place.namespace)
    first = site.publish(1)
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, (*here, *FAST)):
        site.apply(first)
        site.wait_phase("Healthy")
    site.place.server.request("PATCH", site.path(NAME), {"metadata": {"finalizers": [THEIRS, DRAIN]}}, MERGE)
    before = site.get()
    log = AuditLog(site.place.bed)
    mark = log.mark()
    with operator_process.running(site.place.bed.kubeconfig, tmp_path, here) as operator:
        until(lambda: "1 AdapterDeployments are not looked after: serving is off" in operator.messages("warning"))
        with site.traffic() as load:
            until(lambda: len(load.records) > 20)
        assert {record.version for record in load.records} == {first.name(NAME)}
        assert not load.failures
        until(lambda: operator.metric('finetune_reconcile_total{kind="AdapterDeployment",result="idle"}') >= 1)
        assert site.get() == before
        site.delete()
        until(lambda: site.get()["metadata"]["finalizers"] == [THEIRS])
        operator.wait_metric('finetune_reconcile_total{kind="AdapterDeployment",result="ok"}', 1)
    written = [call for call in log.writes("finetune-operator", since=mark) if call.namespace == site.place.namespace and not call.is_lease]
    assert len(written) == 1, tally(written)


def test_one_that_was_deleted_while_no_operator_ran_goes_as_well(t1: Testbed, tmp_path: Path) -> None:
    with serving_site.site(t1, tmp_path, servers=0, routers=0) as site:
        site.apply(site.publish(1))
        site.place.server.request("PATCH", site.path(NAME), {"metadata": {"finalizers": [DRAIN]}}, MERGE)
        site.delete()
        assert not site.gone()
        with operator_process.running(t1.kubeconfig, tmp_path, ("--namespace", site.place.namespace)):
            until(site.gone)
