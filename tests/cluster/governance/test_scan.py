"""Rows 10 to 12 of the decision table with a real operator: what prepare has found in the rows decides whether they are trained on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune_testbed import outcomes
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import ScanSummary
from tests.cluster import governed_site
from tests.cluster.governed_site import DECLARED, Site
from tests.cluster.operator_process import OperatorProcess
from tests.unit.domain.samples import words

DIGEST = "sha256:" + "5c" * 32
PREPARE = {"finetune.dev/step": "prepare"}
OPEN = {"zones": ["*"], "licences": {"allow": ["*"]}, "egress": "Open", "requireDigests": False, "requireEvaluation": False}


@pytest.fixture
def site(t2: Testbed) -> Iterator[Site]:
    with governed_site.site(t2) as made:
        made.label({"finetune.dev/clearance.pii": "true", "finetune.dev/clearance.phi": "true"})
        yield made


@pytest.fixture
def operator(site: Site, tmp_path: Path) -> Iterator[OperatorProcess]:
    with governed_site.governing(site.here, tmp_path) as process:
        yield process


@contextmanager
def finding(site: Site, *, entire: bool = True, profile: str = "Identifiers", **found: tuple[int, int]) -> Iterator[None]:
    """Prepare pods find these kinds, in so many rows and validated in so many of them."""
    scan = ScanSummary(profile=profile, entire=entire, rows=264, report_digest=DIGEST, found=found)
    ending = PodOutcome(termination_message=words("prepare", "", scan=scan))
    with outcomes.played(site.here.bed, PREPARE, ending, name=site.here.namespace, namespace=site.here.namespace):
        yield


def steps(site: Site, name: str) -> set[str]:
    return {job["metadata"]["labels"]["finetune.dev/step"] for job in site.here.jobs(name)}


def test_undeclared_identifiers_are_refused_before_training_and_declared_ones_go_on(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(scan="Identifiers")
    site.register("declared", uri="pvc://data/declared.jsonl", regimes=["pii"])
    with finding(site, ssn=(3, 2), email=(40, 0)):
        site.submit("undeclared")
        refused = here.wait_reason("undeclared", "UndeclaredRegime")
        site.submit("labelled", {**DECLARED, "finetune.dev/regime.pii": "true"})
        site.submit("recorded", dataset__ref={"name": "declared"})
        assert here.wait_ended("labelled") == "Succeeded"
        assert here.wait_ended("recorded") == "Succeeded"
    assert "scan.ssn" in refused["message"]
    assert "scan.email" not in refused["message"]
    assert here.condition("undeclared", "Stalled")["status"] == "True"
    assert steps(site, "undeclared") == {"prepare"}
    found = here.status("undeclared")["dataset"]["scan"]["found"]
    assert found == [{"entity": "email", "rows": 40, "validatedRows": 0}, {"entity": "ssn", "rows": 3, "validatedRows": 2}]
    assert here.status("recorded")["artifact"]["classification"]["regimes"] == ["pii"]


def test_a_claim_of_safe_harbor_is_refuted_or_doubted_and_holds_for_data_without_a_finding(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.register("clean", regimes=["phi"], claimsSafeHarbor=True)
    site.register("plain", uri="pvc://data/plain.jsonl", regimes=["phi"])
    with finding(site, ssn=(2, 1)):
        site.submit("refuted", dataset__ref={"name": "clean"})
        here.wait_reason("refuted", "DeidentificationRefuted")
        site.submit("unclaimed", dataset__ref={"name": "plain"})
        assert here.wait_ended("unclaimed") == "Succeeded"
    with finding(site, date=(7, 0)):
        site.submit("doubted", dataset__ref={"name": "clean"})
        waiting = here.wait_reason("doubted", "AwaitingApproval")
        assert "DeidentificationDoubtful" in waiting["message"]
        for approver in ("bob", "eve"):
            site.approve("doubted", approver, site.digest("doubted"), "Waive")
        assert here.wait_ended("doubted") == "Succeeded"
    with finding(site):
        site.submit("held", dataset__ref={"name": "clean"})
        assert here.wait_ended("held") == "Succeeded"
    assert steps(site, "refuted") == {"prepare"}


def test_a_scan_that_the_policy_asks_for_must_have_been_of_all_rows(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(scan="Identifiers")
    with finding(site, entire=False):
        site.submit("cut")
        assert "not every row was scanned" in here.wait_reason("cut", "AwaitingApproval")["message"]
    with finding(site):
        site.submit("whole")
        assert here.wait_ended("whole") == "Succeeded"
    assert steps(site, "cut") == {"prepare"}


def test_a_policy_that_asks_for_names_at_restricted_is_content_with_who_sees_them_alone(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    labels = {"finetune.dev/level": "restricted", "finetune.dev/residency": "any"}
    site.demand(scan="IdentifiersAndNames", dataSources=["*"], **OPEN)
    site.register("notes", level="restricted")
    with finding(site):
        site.submit("blind", labels, dataset__ref={"name": "notes"})
        told = here.wait_reason("blind", "AwaitingApproval")["message"]
    assert "the trainer image needs a model that finds names" in told
    with finding(site, profile="IdentifiersAndNames", person=(30, 0)):
        site.submit("seeing", labels, dataset__ref={"name": "notes"})
        assert here.wait_ended("seeing") == "Succeeded"
    assert steps(site, "blind") == {"prepare"}


def test_a_secret_in_the_rows_waits_for_a_waiver_and_clean_rows_do_not(operator: OperatorProcess, site: Site) -> None:
    here = site.here
    site.demand(scan="Identifiers")
    with finding(site, secret=(2, 0)):
        site.submit("secret")
        assert "SecretInData" in here.wait_reason("secret", "AwaitingApproval")["message"]
        for approver in ("bob", "eve"):
            site.approve("secret", approver, site.digest("secret"), "Waive")
        assert here.wait_ended("secret") == "Succeeded"
    with finding(site):
        site.submit("plain")
        assert here.wait_ended("plain") == "Succeeded"
