"""Policies, labels and approvals that change under jobs that wait, run or have ended: each is decided anew, and nothing fails open."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from finetune_operator.api.crd import GOVERNANCEPOLICY
from finetune_testbed import outcomes
from finetune_testbed.outcomes import PodOutcome
from tests.cluster import crd
from tests.cluster.finetunejobs import Object
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until

OPEN = {"zones": ["*"], "licences": {"allow": ["*"]}, "egress": "Open", "requireDigests": False, "requireEvaluation": False}


@pytest.fixture(autouse=True)
def _looking(operator: OperatorProcess) -> None:
    """Every test here has the operator."""


@contextmanager
def held_training(site: Site) -> Iterator[None]:
    holding = PodOutcome(hold=True, term_exit_code=143)
    name = site.here.namespace
    with outcomes.played(site.here.bed, {"finetune.dev/step": "train"}, holding, name=name, namespace=name):
        yield


def training(site: Site, name: str) -> Object:
    """The pod that trains, once it runs."""

    def look() -> list[Object]:
        pods = [pod for pod in site.here.pods(name) if pod["metadata"]["labels"]["finetune.dev/step"] == "train"]
        return [pod for pod in pods if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")]

    found: Object = until(look)[0]
    return found


def events(site: Site, name: str, reason: str) -> list[Object]:
    return [event for event in site.here.events(name) if event["reason"] == reason]


def drop(site: Site, name: str = "house") -> None:
    site.here.server.request("DELETE", f"{crd.path_of(GOVERNANCEPOLICY)}/{site.here.namespace}-{name}")


def test_a_running_step_goes_on_and_the_next_one_does_not_begin(site: Site) -> None:
    here = site.here
    site.demand(dataSources=["pvc://data"])
    with held_training(site):
        site.submit("running")
        pod = training(site, "running")
        site.demand(dataSources=["pvc://elsewhere"])
        assert "ResidencyViolation" in here.wait_reason("running", "PolicyDrift", "Governed")["message"]
        assert here.wait_event("running", "PolicyDrift")
        assert not training(site, "running")["metadata"].get("deletionTimestamp")
        outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
        assert here.wait_reason("running", "ResidencyViolation")["status"] == "False"
    assert [job for job in here.jobs("running") if "publish" in job["metadata"]["name"]] == []
    assert len(events(site, "running", "PolicyDrift")) == 1
    site.demand(dataSources=["pvc://data"])
    assert here.wait_ended("running") == "Succeeded"


def test_at_restricted_it_seals_and_stops_at_once_and_goes_on_when_the_policy_is_put_right(site: Site) -> None:
    here = site.here
    labels = {"finetune.dev/level": "restricted", "finetune.dev/residency": "any"}
    site.demand(dataSources=["pvc://data"], **OPEN)
    site.register("secret", level="restricted")
    with held_training(site):
        site.submit("secret", labels, dataset__ref={"name": "secret"})
        first = training(site, "secret")["metadata"]["name"]
        site.demand(dataSources=["pvc://elsewhere"], **OPEN)
        assert here.wait_reason("secret", "ResidencyViolation")["status"] == "False"
        assert any("stopped by governance" in event["note"] for event in here.wait_event("secret", "PolicyDrift"))
        until(lambda: first not in [pod["metadata"]["name"] for pod in here.pods("secret")])
        site.demand(dataSources=["pvc://data"], **OPEN)
        second = training(site, "secret")["metadata"]["name"]
        assert second != first
        outcomes.release(here.bed, here.namespace, second)
        assert here.wait_ended("secret") == "Succeeded"


def test_a_policy_that_is_deleted_while_a_confidential_job_waits_lets_nothing_begin(site: Site) -> None:
    here = site.here
    labels = {"finetune.dev/level": "confidential", "finetune.dev/residency": "any"}
    site.demand(approvals=[{"stage": "Train", "count": 1}], dataSources=["*"], **OPEN)
    site.register("notes", level="confidential")
    site.submit("notes", labels, dataset__ref={"name": "notes"})
    here.wait_reason("notes", "AwaitingApproval")
    digest = site.digest("notes")
    drop(site)
    assert here.wait_reason("notes", "NoMatchingPolicy")["status"] == "False"
    site.approve("notes", "bob", digest)
    until(lambda: site.here.status("notes")["governance"]["digest"] != digest)
    assert here.condition("notes")["reason"] == "NoMatchingPolicy"
    assert [job for job in here.jobs("notes") if "train" in job["metadata"]["name"]] == []


def test_a_policy_that_is_deleted_while_an_internal_job_waits_lets_it_not_go_on(site: Site) -> None:
    """Although another one applies: nobody would ask any more for the approval that it waits for."""
    here, asking = site.here, {"approvals": [{"stage": "Train", "count": 1}]}
    site.demand(**asking)
    site.demand("other")
    for name in ("waits", "again"):
        site.submit(name)
        here.wait_reason(name, "AwaitingApproval")
    digest = site.digest("waits")
    drop(site)
    told = here.wait_reason("waits", "PolicyGone")
    assert f"'{here.namespace}-house', under which it was accepted, is no more" in told["message"]
    assert here.condition("waits", "Stalled")["status"] == "True"
    here.wait_event("waits", "PolicyGone")
    here.wait_reason("again", "PolicyGone")
    site.demand(match={"namespaceLabels": {"team": "red"}}, **asking)
    until(lambda: "no longer matches it" in here.condition("waits")["message"])
    here.delete("again")
    site.submit("again")
    assert here.wait_ended("again") == "Succeeded"
    assert [job for job in here.jobs("waits") if "train" in job["metadata"]["name"]] == []
    site.demand(**asking)
    here.wait_reason("waits", "AwaitingApproval")
    site.approve("waits", "bob", digest)
    assert "ApprovalStale" in until(lambda: found if "bob" in (found := here.condition("waits")["message"]) else "")


def test_a_policy_that_is_changed_makes_approvals_stale_before_the_start(site: Site) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train", "count": 2}])
    site.submit("sealed")
    here.wait_reason("sealed", "AwaitingApproval")
    digest = site.digest("sealed")
    site.approve("sealed", "bob", digest)
    until(lambda: "1 of 2" in here.condition("sealed")["message"])
    site.demand(approvals=[{"stage": "Train", "count": 1}])
    told = until(lambda: found if "ApprovalStale" in (found := here.condition("sealed"))["message"] else {})
    assert "is for another decision" in told["message"]
    assert site.digest("sealed") != digest
    assert [job for job in here.jobs("sealed") if "train" in job["metadata"]["name"]] == []


def test_a_namespace_that_is_governed_no_more_or_cleared_for_less_stays_judged(site: Site) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train", "count": 1}])
    with held_training(site):
        for name in ("waits", "runs"):
            site.submit(name)
            here.wait_reason(name, "AwaitingApproval")
        site.approve("runs", "bob", site.digest("runs"))
        pod = training(site, "runs")
        site.label({"finetune.dev/governed": None})
        until(lambda: "governed" not in str(here.server.request("GET", f"/api/v1/namespaces/{here.namespace}")["metadata"]["labels"]))
        site.label({"finetune.dev/clearance-level": "public"})
        assert "cleared to public" in here.wait_reason("runs", "PolicyDrift", "Governed")["message"]
        assert here.wait_reason("waits", "NamespaceNotCleared")["status"] == "False"
        outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
        assert here.wait_reason("runs", "NamespaceNotCleared")["status"] == "False"
        site.label({"finetune.dev/clearance-level": "internal"})
        assert here.wait_ended("runs") == "Succeeded"
        assert here.wait_reason("waits", "AwaitingApproval")["status"] == "False"


def test_approvals_that_are_withdrawn_under_a_running_step_are_drift(site: Site) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train", "count": 1}])
    with held_training(site):
        site.submit("regretted")
        here.wait_reason("regretted", "AwaitingApproval")
        site.approve("regretted", "bob", site.digest("regretted"))
        training(site, "regretted")
        site.withdraw("regretted", "bob")
        assert "ApprovalPending" in here.wait_reason("regretted", "PolicyDrift", "Governed")["message"]
        training(site, "regretted")


def test_audit_records_blocks_nothing_tells_once_and_enforced_it_is_decided_anew(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    counted = 'finetune_governance_findings_total{effect="audit",rule="ResidencyViolation"}'
    before = operator.metric(counted)
    site.demand("trial", mode="Audit", dataSources=["pvc://elsewhere"], approvals=[{"stage": "Train", "count": 2}])
    with held_training(site):
        site.submit("ended", rerun="first")
        pod = training(site, "ended")
        outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
        assert here.wait_ended("ended") == "Succeeded"
        site.submit("running")
        pod = training(site, "running")
        site.submit("queued", suspend=True)
        here.wait_reason("queued", "Suspended")
        found = here.status("ended")["governance"]
        assert found["decision"] == "Allow"
        assert {finding["blocks"] for finding in found["findings"]} == {False}
        assert "(audit only)" in found["findings"][0]["message"]
        assert "audit only" in here.condition("ended", "Governed")["message"]
        here.wait_event("ended", "AuditFinding")
        told = [event for event in events(site, "ended", "AuditFinding") if "ResidencyViolation" in event["note"]]
        assert len(told) == 1
        operator.wait_metric(counted, before + 3)
        until(lambda: operator.metric("finetune_governance_audit_findings") >= 3)
        assert operator.metric('finetune_governance_decisions_total{outcome="Allow",stage="Accept"}') >= 3

        site.demand("trial", mode="Enforce", dataSources=["pvc://elsewhere"])
        assert here.wait_reason("ended", "ResidencyViolation")["status"] == "False"
        here.wait_reason("running", "PolicyDrift", "Governed")
        here.wait_reason("queued", "ResidencyViolation", "Governed")
        here.patch("queued", {"suspend": False})
        here.wait_reason("queued", "ResidencyViolation")
        assert here.jobs("queued") == []
        outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
        here.wait_reason("running", "ResidencyViolation")
        assert here.wait_event("ended", "ResidencyViolation")
        site.demand("trial", mode="Audit", dataSources=["pvc://elsewhere"])
        for name in ("ended", "running", "queued"):
            here.wait_reason(name, "Allowed", "Governed")
