"""The operator as a process: how it starts, who leads, what it survives, how it stops."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_testbed import faults
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from finetune_testbed.faults import Fault
from finetune_testbed.proxy import Proxy
from tests.cluster import finetunejobs, operator_process
from tests.cluster.crd import DEFINITIONS
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import PATIENCE, OperatorProcess, until

LEASE = "finetune-operator"


@pytest.fixture
def place(t1: Testbed) -> Iterator[Place]:
    """A namespace of an API server on which nothing acts but the operator."""
    with finetunejobs.place(t1, claims=()) as fresh:
        yield fresh


def elected(here: Place) -> tuple[str, ...]:
    return ("--namespace", here.namespace, "--leader-elect", "--lease-namespace", here.namespace)


def holder(here: Place) -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{here.namespace}/leases/{LEASE}"
    return str(here.server.request("GET", path)["spec"].get("holderIdentity") or "")


def starts_runs(here: Place, name: str) -> None:
    """Whether an operator is at work: a new FineTuneJob gets its first child."""
    here.apply(name)
    until(lambda: here.jobs(name))


def test_it_is_ready_healthy_and_measured(place: Place, tmp_path: Path) -> None:
    with operator_process.running(place.bed.kubeconfig, tmp_path, ("--namespace", place.namespace)) as operator:
        assert (operator.probe("/healthz"), operator.probe("/readyz")) == (200, 200)
        starts_runs(place, "seen")
        assert operator.metric("finetune_leader") == 1
        assert operator.metric('finetune_cache_objects{resource="finetunejobs"}') == 1
        operator.wait_metric('finetune_api_requests_total{code="201",resource="jobs",verb="create"}', 1)
        operator.wait_metric("finetune_queue_depth", 0)


def test_it_stops_within_its_grace_period_and_gives_the_lease_back(place: Place, tmp_path: Path) -> None:
    operator = operator_process.start(place.bed.kubeconfig, tmp_path, elected(place))
    assert holder(place)
    began = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - began < operator_process.STOP_SECONDS
    assert holder(place) == ""


@contextmanager
def leader_and_follower(here: Place, folder: Path) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Two processes, the second one ready and without the lease."""
    first = operator_process.start(here.bed.kubeconfig, folder, elected(here))
    second = operator_process.start(here.bed.kubeconfig, folder, elected(here), wait=False)
    try:
        until(lambda: second.probe("/readyz") == 200)
        yield first, second
    finally:
        second.stop()
        if first.running:
            first.kill()


def test_a_follower_is_ready_writes_nothing_and_takes_over_at_once_after_a_release(place: Place, tmp_path: Path) -> None:
    with leader_and_follower(place, tmp_path) as (first, second):
        assert (first.metric("finetune_leader"), second.metric("finetune_leader")) == (1, 0)
        starts_runs(place, "by-first")
        assert second.metric('finetune_api_requests_total{code="201",resource="jobs",verb="create"}') == 0
        first.stop()
        second.wait_in_sync()
        starts_runs(place, "by-second")


@pytest.mark.timeout(600)
def test_a_leader_that_is_frozen_is_replaced_and_ends_when_it_wakes(place: Place, tmp_path: Path) -> None:
    with leader_and_follower(place, tmp_path) as (first, second):
        first.signal(signal.SIGSTOP)
        second.wait_in_sync()
        place.apply("new")
        first.signal(signal.SIGCONT)
        assert first.process.wait(PATIENCE) == 1
        until(lambda: place.jobs("new"))
        assert len(place.jobs("new")) == 1
        assert any("does not hold lease" in message for message in first.messages("critical"))


@pytest.mark.timeout(600)
def test_a_leader_that_is_killed_is_replaced_when_its_lease_has_run_out(place: Place, tmp_path: Path) -> None:
    with leader_and_follower(place, tmp_path) as (first, second):
        starts_runs(place, "before")
        dead = holder(place)
        first.kill()
        place.apply("after")
        second.wait_in_sync()
        assert holder(place) not in ("", dead)
        until(lambda: place.jobs("after"))
        assert (len(place.jobs("before")), len(place.jobs("after"))) == (1, 1), "what the dead one began is not begun again"


def test_a_missing_definition_is_one_clear_sentence(t1: Testbed, tmp_path: Path) -> None:
    with ApiServer(t1) as server:
        for item in server.request("GET", DEFINITIONS)["items"]:
            server.request("DELETE", f"{DEFINITIONS}/{item['metadata']['name']}")
        until(lambda: not server.request("GET", DEFINITIONS)["items"])
    operator = operator_process.start(t1.kubeconfig, tmp_path, wait=False)
    assert operator.process.wait(PATIENCE) == 2
    (sentence,) = operator.messages("critical")
    assert "finetunejobs.finetune.dev" in sentence
    assert "install the custom resource definition" in sentence


def test_missing_rights_are_named_before_anything_starts(place: Place, tmp_path: Path) -> None:
    account = place.server.request("POST", place.path("serviceaccounts"), {"metadata": {"name": "poor"}})
    token = place.server.request(
        "POST", place.path("serviceaccounts", "poor") + "/token", {"spec": {"audiences": [], "expirationSeconds": 3600}}
    )["status"]["token"]
    role = {"metadata": {"name": "poor"}, "rules": [{"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": ["list"]}]}
    place.server.request("POST", place.path("roles", group="rbac.authorization.k8s.io/v1"), role)
    binding = {
        "metadata": {"name": "poor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "poor"},
        "subjects": [{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": place.namespace}],
    }
    place.server.request("POST", place.path("rolebindings", group="rbac.authorization.k8s.io/v1"), binding)
    with Proxy(place.bed) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "poor.kubeconfig", token)
        operator = operator_process.start(kubeconfig, tmp_path, ("--namespace", place.namespace), wait=False)
        assert operator.process.wait(PATIENCE) == 2
    (sentence,) = operator.messages("critical")
    for right in ("create jobs.batch", "patch finetunejobs.finetune.dev/status", "list pods", "create events.events.k8s.io"):
        assert right in sentence


def test_cut_and_silent_watches_and_an_api_server_that_is_away_are_survived(place: Place, tmp_path: Path) -> None:
    with Proxy(place.bed) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        with operator_process.running(kubeconfig, tmp_path, ("--namespace", place.namespace)) as operator:
            starts_runs(place, "before")
            proxy.cut_watches()
            starts_runs(place, "after-cut")
            proxy.set_rule(lambda _call: Fault.RESET)
            proxy.cut_watches()
            place.apply("meanwhile")
            until(lambda: "finetune_watch_restarts_total" in operator.metrics())
            proxy.set_rule(faults.never)
            until(lambda: place.jobs("meanwhile"))
            starts_runs(place, "after-outage")
            assert operator.messages("critical") == []


def test_refusals_and_lost_answers_cost_no_child_twice(place: Place, tmp_path: Path) -> None:
    chances = {Fault.CONFLICT: 0.1, Fault.THROTTLED: 0.05, Fault.INTERNAL: 0.1, Fault.LOST_RESPONSE: 0.15, Fault.RESET: 0.1}
    with Proxy(place.bed) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "faulty.kubeconfig")
        with operator_process.running(kubeconfig, tmp_path, ("--namespace", place.namespace)) as operator:
            proxy.set_rule(faults.randomly(chances, seed=11, among=lambda call: call.is_write))
            names = [f"faulty-{number}" for number in range(12)]
            for name in names:
                place.apply(name)
            until(lambda: all(place.status(name).get("currentRun") for name in names))
            proxy.set_rule(faults.never)
            until(lambda: all(place.jobs(name) for name in names))
            assert [len(place.jobs(name)) for name in names] == [1] * len(names)
            assert [len(place.config_maps(name)) for name in names] == [1] * len(names)
            assert operator.messages("error") == []


@pytest.fixture
def alone(place: Place, tmp_path: Path) -> Iterator[OperatorProcess]:
    with operator_process.running(place.bed.kubeconfig, tmp_path, ("--namespace", place.namespace)) as operator:
        yield operator


def test_a_hot_object_is_coalesced(alone: OperatorProcess, place: Place) -> None:
    """Fifty changes while the operator cannot look, as on a machine that gives it no time."""
    applied = 'finetune_api_requests_total{code="200",resource="finetunejobs",verb="apply"}'
    starts_runs(place, "hot")
    until(lambda: place.status("hot").get("observedGeneration"))
    before = until(lambda: alone.metric(applied))
    alone.signal(signal.SIGSTOP)
    try:
        for number in range(50):
            place.patch("hot", {"runPolicy": {"failedRunsHistoryLimit": 1 + number % 10}})
    finally:
        alone.signal(signal.SIGCONT)
    generation = place.get("hot")["metadata"]["generation"]
    until(lambda: place.status("hot")["observedGeneration"] == generation)
    until(lambda: alone.metric(applied) > before)
    assert alone.metric(applied) - before <= 5, "writes for fifty changes"
    assert alone.messages("error") == []
