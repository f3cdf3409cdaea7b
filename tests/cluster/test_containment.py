"""How the operator shuts a run in, on a real API server with fake nodes: network policy, nodes, and what the probe of egress said."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_testbed import outcomes
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.outcomes import PodOutcome
from tests.cluster import governed_site
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.test_operator_budget import BUDGET, rest, writes


def class_of(here: Place) -> str:
    """A label of nodes that no other test looks at."""
    return f"{here.namespace}.node-restriction.kubernetes.io/class"


@pytest.fixture
def operator(site: Site, tmp_path: Path) -> Iterator[OperatorProcess]:
    with governed_site.governing(site.here, tmp_path) as process:
        yield process


def label_node(here: Place, name: str, value: str | None) -> None:
    here.server.request("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"labels": {class_of(here): value}}}, "application/merge-patch+json")


@contextmanager
def labelled_node(here: Place) -> Iterator[str]:
    name = str(here.server.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"])
    label_node(here, name, "a")
    try:
        yield name
    finally:
        label_node(here, name, None)


def running(here: Place, job: str, step: str) -> Object:
    labels = {"finetune.dev/step": step}
    found: Object = until(
        lambda: next(
            (
                pod
                for pod in here.pods(job)
                if labels.items() <= pod["metadata"]["labels"].items()
                and pod["status"].get("phase") == "Running"
                and not pod["metadata"].get("deletionTimestamp")
            ),
            None,
        )
    )
    return found


def test_a_node_relabelled_after_binding_loses_the_pod_and_without_another_nothing_begins(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(nodeLabels=[{"key": class_of(here), "values": ["a"]}])
    site.submit("bound")
    assert "nodes" in here.wait_reason("bound", "NoCompliantNode")["message"]
    assert here.jobs("bound") == []
    holding = outcomes.played(
        here.bed, {"finetune.dev/step": "train"}, PodOutcome(hold=True), name=here.namespace, namespace=here.namespace
    )
    with holding, labelled_node(here) as node:  # in this order: what trains before the first is in force ends at once
        pod = running(here, "bound", "train")
        assert pod["spec"]["nodeName"] == node
        label_node(here, node, "stolen")
        assert here.wait_reason("bound", "NoCompliantNode")["status"] == "False"
        until(lambda: all(each["status"].get("phase") != "Running" for each in here.pods("bound")))
        assert here.status("bound")["currentRun"]["interruption"]["reason"] == "ResidencyViolation"
        here.wait_event("bound", "ResidencyViolation")
        label_node(here, node, "a")
        again = running(here, "bound", "train")
        assert again["metadata"]["labels"]["finetune.dev/attempt"] == "2"
        outcomes.release(here.bed, here.namespace, again["metadata"]["name"])
        assert here.wait_ended("bound") == "Succeeded"


NOT_CLOSED = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "TerminationMessage",
    "step": "preflight",
    "runKey": "",
    "outcome": "NotContained",
    "reason": "EgressNotEnforced",
    "message": "egress is not closed: 192.0.2.1:443 answered from inside the pod",
    "egress": {"result": "Open", "rounds": 9, "tried": [{"target": "192.0.2.1:443", "tries": 9, "answered": 9}]},
}


@pytest.fixture
def outside() -> Iterator[tuple[str, str]]:
    """What the operator is told about a target that answers it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield "--egress-probe-target", f"127.0.0.1:{listener.getsockname()[1]}"


def network_policies(here: Place) -> list[Object]:
    found: list[Object] = here.server.request("GET", here.path("networkpolicies", group="networking.k8s.io/v1"))["items"]
    return found


def test_a_closed_run_is_shut_in_first_probed_at_every_step_and_costs_one_write_more(
    site: Site, tmp_path: Path, outside: tuple[str, str]
) -> None:
    here = site.here
    site.demand(egress="Closed", network={"allow": [{"cidr": "10.9.0.0/24", "ports": [5000]}], "dns": "None"}, trackerHosts=["10.20.0.7"])
    log = AuditLog(here.bed)
    start = log.mark()
    with governed_site.governing(here, tmp_path, *outside):
        site.submit("closed", tracking__mlflow={"uri": "http://10.20.0.7"})
        assert here.wait_ended("closed") == "Succeeded"
        here.wait_event("closed", "RunSucceeded")
        rest()
        cost = writes(log, start, here)
    (policy,) = network_policies(here)
    run = here.status("closed")["currentRun"]
    assert policy["metadata"]["name"] == run["name"]
    assert policy["metadata"]["ownerReferences"][0]["kind"] == "FineTuneJob"
    assert policy["spec"]["egress"] == [  # what the policy leaves open, and the tracker that it names
        {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"port": port, "protocol": "TCP"}]}
        for cidr, port in (("10.9.0.0/24", 5000), ("10.20.0.7/32", 80))
    ]
    assert [call.resource for call in cost].count("networkpolicies") == 1
    assert len(cost) <= BUDGET + 3, tally(cost)
    assert [(each["step"], each["result"]) for each in run["egress"]] == [("prepare", "Closed"), ("train", "Closed"), ("publish", "Closed")]
    made = {policy["metadata"]["creationTimestamp"]} | {job["metadata"]["creationTimestamp"] for job in here.jobs("closed")}
    assert min(made) == policy["metadata"]["creationTimestamp"]


def test_a_network_policy_that_somebody_takes_away_under_a_pod_is_put_back(site: Site, tmp_path: Path, outside: tuple[str, str]) -> None:
    here = site.here
    site.demand(egress="Closed")
    holding = PodOutcome(hold=True)
    with (
        governed_site.governing(here, tmp_path, *outside),
        outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, holding, name=here.namespace, namespace=here.namespace),
    ):
        site.submit("kept")
        pod = running(here, "kept", "prepare")
        (policy,) = network_policies(here)
        path = here.path("networkpolicies", policy["metadata"]["name"], group="networking.k8s.io/v1")
        here.server.request("DELETE", path)
        until(lambda: [each for each in network_policies(here) if each["metadata"]["uid"] != policy["metadata"]["uid"]])
        opened = {"spec": {"egress": [{}]}}
        here.server.request("PATCH", path, opened, "application/merge-patch+json")
        until(lambda: all("egress" not in each["spec"] for each in network_policies(here)) and network_policies(here))
        outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
        assert here.wait_ended("kept") == "Succeeded"


def test_a_way_outside_ends_the_run_before_its_data_are_mounted(site: Site, tmp_path: Path, outside: tuple[str, str]) -> None:
    here = site.here
    site.demand(egress="Closed")
    found = PodOutcome(init_exit_code=77, init_message=json.dumps(NOT_CLOSED))
    with (
        governed_site.governing(here, tmp_path, *outside),
        outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, found, name=here.namespace, namespace=here.namespace),
    ):
        site.submit("open")
        assert here.wait_ended("open") == "Failed"
        told = here.wait_reason("open", "EgressNotEnforced")
        assert "192.0.2.1:443 answered" in told["message"]
        assert here.condition("open", "Governed")["reason"] == "EgressNotEnforced"
        (pod,) = here.pods("open")
        assert "waiting" in pod["status"]["containerStatuses"][0]["state"]


def test_without_a_positive_control_nothing_begins(site: Site, tmp_path: Path) -> None:
    here = site.here
    site.demand(egress="Closed")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # nobody listens
        target = f"127.0.0.1:{holder.getsockname()[1]}"
        with governed_site.governing(here, tmp_path, "--egress-probe-target", target) as operator:
            site.submit("unproven")
            here.wait_reason("unproven", "EgressProbeInconclusive")
            assert here.condition("unproven", "Stalled")["status"] == "True"
            assert here.jobs("unproven") == []
            assert network_policies(here) == []
            assert any("does not answer" in message for message in operator.messages("WARNING") + operator.messages("warning"))
            holder.listen()
            assert here.wait_ended("unproven") == "Succeeded"
