"""Governance with a real operator on a real API server: refused at once, approved by others, decided anew when anything changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_testbed import outcomes
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from tests.cluster import finetunejobs, governed_site
from tests.cluster.finetunejobs import Place
from tests.cluster.governed_site import DECLARED, Site
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.test_operator_budget import BUDGET, rest, writes

ADDED = 3
"""Writes that governance may add to a run."""


@pytest.fixture
def operator(site: Site, tmp_path: Path) -> Iterator[OperatorProcess]:
    with governed_site.governing(site.here, tmp_path) as process:
        yield process


def relabel(here: Place, name: str, labels: dict[str, Any]) -> None:
    here.server.request("PATCH", here.job_path(name), {"metadata": {"labels": labels}}, "application/merge-patch+json")


def test_a_job_that_breaks_three_rules_is_told_all_three_starts_nothing_and_begins_once_corrected(
    operator: OperatorProcess, site: Site
) -> None:
    here = site.here
    site.demand(dataSources=["pvc://data"])
    site.submit("broken", {"finetune.dev/level": "secret"}, dataset__inline__uri="pvc://models/rows")
    message = here.wait_reason("broken", "LabelInvalid")["message"]
    for rule in ("finetune.dev/level", "finetune.dev/residency", "ResidencyViolation"):
        assert rule in message
    assert here.condition("broken", "Governed")["status"] == "False"
    assert here.condition("broken", "Stalled")["status"] == "True"
    assert here.jobs("broken") == []
    site.submit("broken", dataset__inline__uri="pvc://data/tickets.jsonl")
    assert here.wait_ended("broken") == "Succeeded"
    assert here.condition("broken", "Governed")["reason"] == "Allowed"


def test_registered_data_train_after_two_others_have_approved_and_everything_says_what_they_are(
    operator: OperatorProcess, site: Site
) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train", "count": 2}])
    site.register(level="internal", regimes=[])
    until(lambda: site.registered().get("conditions"))
    log, start = AuditLog(here.bed), AuditLog(here.bed).mark()
    site.submit("tickets", dataset__ref={"name": "tickets"})
    waiting = here.wait_reason("tickets", "AwaitingApproval")
    digest = site.digest("tickets")
    for word in (digest, "approve-train", "finetunejobs/tickets", "ann"):
        assert word in waiting["message"]
    site.approve("tickets", "ann", digest)
    until(lambda: "is submitter" in here.condition("tickets")["message"])
    for approver in ("bob", "eve"):
        site.approve("tickets", approver, digest)
    assert here.wait_ended("tickets") == "Succeeded"
    here.wait_event("tickets", "RunSucceeded")
    made = here.jobs("tickets")
    assert len(made) == 3
    for child in (*made, *here.pods("tickets")):
        assert child["metadata"]["labels"]["finetune.dev/level"] == "internal"
    assert here.status("tickets")["artifact"]["classification"]["level"] == "internal"
    cost = writes(log, start, here)
    assert len(cost) <= BUDGET + ADDED, tally(cost)


def test_the_operator_may_be_killed_while_it_waits_and_hears_of_what_was_approved_meanwhile(site: Site, tmp_path: Path) -> None:
    here = site.here
    site.demand(approvals=[{"stage": "Train"}])
    with governed_site.governing(here, tmp_path) as first:
        site.submit("waiting")
        here.wait_reason("waiting", "AwaitingApproval")
        digest = site.digest("waiting")
        first.kill()
    site.approve("waiting", "bob", digest)
    with governed_site.governing(here, tmp_path):
        assert here.wait_ended("waiting") == "Succeeded"
    assert here.status("waiting")["governance"]["digest"] == digest


def test_an_auditing_policy_blocks_nothing_and_enforced_it_takes_ready_back(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(mode="Audit", dataSources=["pvc://elsewhere"])
    site.submit("audited")
    assert here.wait_ended("audited") == "Succeeded"
    assert "ResidencyViolation" in here.condition("audited", "Governed")["message"]
    assert here.condition("audited")["status"] == "True"
    site.demand(mode="Enforce", dataSources=["pvc://elsewhere"])
    assert here.wait_reason("audited", "ResidencyViolation")["status"] == "False"
    site.demand(mode="Enforce", dataSources=["pvc://data"])
    assert here.wait_reason("audited", "RunSucceeded")["status"] == "True"


def test_a_label_lowered_or_a_clearance_withdrawn_under_a_running_step_is_drift(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    holding = PodOutcome(hold=True)
    with outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, holding, name=here.namespace, namespace=here.namespace):
        site.submit("drifting")
        pod = until(lambda: [p for p in here.pods("drifting") if p["status"].get("phase") == "Running"])[0]
        assert here.wait_reason("drifting", "Allowed", "Governed")["status"] == "True"
        relabel(here, "drifting", {"finetune.dev/level": "public"})
        assert "ClassificationDowngrade" in here.wait_reason("drifting", "PolicyDrift", "Governed")["message"]
        relabel(here, "drifting", DECLARED)
        here.wait_reason("drifting", "Allowed", "Governed")
        site.label({"finetune.dev/clearance-level": None})
        here.wait_reason("drifting", "PolicyDrift", "Governed")
    outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
    assert "is not cleared" in here.wait_reason("drifting", "NamespaceNotCleared")["message"]
    assert [job["metadata"]["labels"]["finetune.dev/step"] for job in here.jobs("drifting")] == ["prepare"]


def test_a_namespace_without_governance_is_left_as_it_was(t2: Testbed, tmp_path: Path) -> None:
    """That not one write is added is held exactly in tests/unit/domain/test_governance.py, where no clock decides."""
    with finetunejobs.place(t2) as here, governed_site.governing(here, tmp_path):
        log = AuditLog(t2)
        start = log.mark()
        here.apply("plain")
        assert here.wait_ended("plain") == "Succeeded"
        here.wait_event("plain", "RunSucceeded")
        rest()
        cost = writes(log, start, here)
        assert len(cost) <= BUDGET, tally(cost)
        assert "governance" not in here.status("plain")
        assert here.condition("plain", "Governed") == {}
