"""Egress on a real node: a plain network is found out before data are mounted, a closed one trains, and one that opens stops it."""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from demo.environment import Environment
from demo.kubectl import Kubectl, conditions
from finetune_testbed.bed import Testbed
from finetune_testbed.node import outside
from finetune_trainer.pod.tracker import END_SECONDS
from tests.e2e.governance.governed import CLEARANCE, DECLARED, addresses, operators, reason, told
from tests.e2e.tenant import NAMESPACE, Job, Tenant, manifest

POLICY = {
    "apiVersion": "finetune.dev/v1alpha1",
    "kind": "GovernancePolicy",
    "metadata": {"name": "egress-test"},
    "spec": {
        "match": {"namespaceLabels": {"kubernetes.io/metadata.name": NAMESPACE}, "minLevel": "internal"},
        "egress": "Closed",
    },
}

BUSY_SECONDS = 10
"""What a node under load may take for anything."""


def governed(name: str, **changes: Any) -> Job:
    job = manifest(name, evaluation={"metrics": ["Perplexity"], "maxItems": 2}, **changes)
    job["metadata"]["labels"] = DECLARED
    return job


@pytest.fixture(scope="module")
def governing(governing_release: Environment, kubectl: Kubectl, tenant: Tenant) -> Iterator[Tenant]:
    """A policy that concerns no other job."""
    kubectl.run("apply", "-f", "-", stdin=json.dumps(POLICY).encode())
    kubectl.run("label", "namespace", NAMESPACE, f"{CLEARANCE}=internal", "--overwrite")
    yield tenant
    kubectl.run("label", "namespace", NAMESPACE, f"{CLEARANCE}-")
    kubectl.run("delete", "governancepolicy", "egress-test", "--ignore-not-found")


@contextlib.contextmanager
def deleted(tenant: Tenant, *jobs: Job) -> Iterator[None]:
    tenant.start(*jobs)
    try:
        yield
    finally:
        for job in jobs:
            tenant.delete(str(job["metadata"]["name"]))


def test_without_a_positive_control_nothing_begins_and_on_a_plain_network_the_run_ends_before_data_are_mounted(
    governing: Tenant, t3: Testbed
) -> None:
    with deleted(governing, governed("plain-network")):
        found = governing.wait("plain-network", lambda job: reason(job) == "EgressProbeInconclusive")
        assert reason(found, "Governed") == "EgressProbeInconclusive"
        assert governing.batch_jobs("plain-network") == []
        with outside.listening(t3):
            found = governing.wait("plain-network", lambda job: reason(job) == "EgressNotEnforced")
        run = found["status"]["currentRun"]
        assert run["outcome"] == "Failed"
        assert f"{outside.ADDRESS}:{outside.PORT} answered" in conditions(found)["Ready"]["message"]
        (pod,) = governing.pods("plain-network")
        (trainer,) = pod["status"]["containerStatuses"]
        assert "waiting" in trainer["state"]
        assert not trainer.get("started")
        (preflight,) = pod["spec"]["initContainers"]
        data = {volume["name"] for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume}
        assert data.isdisjoint(mount["name"] for mount in preflight["volumeMounts"])


def test_closed_it_trains_with_the_probes_in_status_and_opened_while_it_trains_it_stops(
    governing: Tenant, kubectl: Kubectl, t3: Testbed
) -> None:
    untold = {"mlflow": {"uri": f"http://{outside.ADDRESS}:5000"}}  # no policy opens it
    closed, opened = governed("closed", tracking=untold), governed("opened", training={"maxSteps": 20_000})
    with outside.listening(t3), outside.closed(t3, addresses(operators(kubectl))), deleted(governing, closed):
        done = governing.wait_decided("closed")
        assert reason(done) == "RunSucceeded", conditions(done)["Ready"]
        said = {each["step"]: each for each in done["status"]["currentRun"]["egress"]}
        assert {step: each["result"] for step, each in said.items()} == dict.fromkeys(("prepare", "train", "publish"), "Closed")
        prepare = next(pod for pod in governing.pods("closed") if pod["metadata"]["labels"]["finetune.dev/step"] == "prepare")
        log = kubectl.run("logs", "-n", NAMESPACE, prepare["metadata"]["name"], "-c", "preflight")
        (report,) = told(log)
        assert report["digest"] == said["prepare"]["digest"]
        assert all(each["answered"] == 0 for each in report["tried"])
        assert_the_tracker_is_missed_and_nothing_waits_for_it(governing, done)
        with deleted(governing, opened):
            pod = governing.training_pod("opened")
            governing.follow_until(pod["metadata"]["name"], "progress")
            outside.open_again(t3)
            stopped = governing.wait("opened", lambda job: reason(job) == "EgressNotEnforced")
            run = stopped["status"]["currentRun"]
            assert run["lastSealedStep"] > 0
            train = next(each for each in run["egress"] if each["step"] == "train")
            assert train["result"] == "Open"
            assert train["watchDigest"].startswith("sha256:")


def assert_the_tracker_is_missed_and_nothing_waits_for_it(tenant: Tenant, job: Job) -> None:
    """Packets to it are dropped, which takes longer to find out than a refusal."""
    missed = conditions(job)["Tracked"]
    assert (missed["status"], missed["reason"]) == ("False", "TrackerUnreachable")
    assert "no answer in time; the training goes on without it" in missed["message"]
    assert "Look at spec.tracking.mlflow" in missed["message"]
    assert "network policy" in missed["message"]
    tenant.wait_event("closed", "TrackerUnreachable")
    assert job["status"]["currentRun"]["tracking"]["lost"] > 0
    (pod,) = [each for each in tenant.pods("closed") if each["metadata"]["labels"]["finetune.dev/step"] == "train"]
    lines = tenant.log(pod["metadata"]["name"]).splitlines()
    at = {told["event"]: datetime.fromisoformat(told["ts"]) for told in map(json.loads, filter(is_object, lines))}
    assert (at["end"] - at["evaluated"]).total_seconds() < END_SECONDS + BUSY_SECONDS


def is_object(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")
