"""Row 18 of the decision table with a real operator: who has agreed to this very decision, and what does not count."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from finetune_operator.api.crd import APPROVAL
from finetune_testbed.apiserver import RequestError
from finetune_testbed.bed import Testbed
from tests.cluster import crd, finetunejobs, governed_site
from tests.cluster.governed_site import DECLARED, SUBMITTED, Site
from tests.cluster.operator_process import OperatorProcess, until

OTHER = "sha256:" + "0" * 64
THEIRS = "Everything"
"""A stage that our definition does not know."""


@pytest.fixture(scope="module")
def desk(t2: Testbed, operator: OperatorProcess) -> Iterator[Site]:
    """Two others must agree before anything trains."""
    with governed_site.site(t2) as made:
        made.demand(approvals=[{"stage": "Train", "count": 2, "validForSeconds": 3600}])
        yield made


def waits(site: Site, name: str, *texts: str) -> str:
    """The digest that it waits with, once its message says all this; nothing trains meanwhile."""
    told = until(lambda: found if all(text in (found := site.here.condition(name)).get("message", "") for text in texts) else {})
    assert told["reason"] == "AwaitingApproval"
    assert [job for job in site.here.jobs(name) if "train" in job["metadata"]["name"]] == []
    return site.digest(name)


def test_row_18_without_approvals_it_waits_and_shows_the_plan(desk: Site) -> None:
    desk.submit("alone", justification="the router answers too slowly")
    waits(desk, "alone", "ApprovalPending", "0 of 2", "Plan:", "900 examples", "justification: 'the router answers too slowly'")


def test_row_18_two_others_agree_and_it_trains(desk: Site) -> None:
    desk.submit("agreed")
    digest = waits(desk, "agreed", "0 of 2")
    for approver in ("bob", "eve"):
        desk.approve("agreed", approver, digest)
    assert desk.here.wait_ended("agreed") == "Succeeded"


FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "by-the-submitter": ({"approver": "ann"}, "is submitter or author"),
    "for-another-digest": ({"digest": OTHER}, "is for another decision"),
    "expired": ({"expires_at": "2026-01-01T00:00:00Z"}, "has expired"),
    "for-another-stage": ({"stage": "Promote"}, "1 of 2"),
}


@pytest.mark.parametrize(("flaw", "told"), FLAWS.values(), ids=FLAWS)
def test_row_18_one_that_does_not_count_is_named(desk: Site, request: pytest.FixtureRequest, flaw: dict[str, Any], told: str) -> None:
    name = request.node.callspec.id
    desk.submit(name)
    digest = waits(desk, name, "0 of 2")
    desk.approve(name, "bob", digest)
    desk.approve(name, **{"approver": "eve", "digest": digest, **flaw})
    waits(desk, name, "1 of 2", told)


def test_row_18_one_that_is_withdrawn_before_the_start_counts_no_more(desk: Site) -> None:
    desk.submit("withdrawn")
    digest = waits(desk, "withdrawn", "0 of 2")
    desk.approve("withdrawn", "bob", digest)
    waits(desk, "withdrawn", "1 of 2")
    desk.withdraw("withdrawn", "bob")
    waits(desk, "withdrawn", "0 of 2")
    desk.approve("withdrawn", "eve", digest)
    waits(desk, "withdrawn", "1 of 2")
    desk.approve("withdrawn", "bob", digest)
    assert desk.here.wait_ended("withdrawn") == "Succeeded"


@contextmanager
def another_version(site: Site) -> Iterator[None]:
    """The definition of Approvals as another version has it, with one stage more; until the API server goes by it, and by ours again."""
    server, path = site.here.server, f"{crd.DEFINITIONS}/{APPROVAL.name}"
    theirs = copy.deepcopy(APPROVAL.to_manifest())
    spec = theirs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["stage"]["enum"].append(THEIRS)

    def takes_it() -> bool | None:
        try:
            site.approve("probe", "bob", OTHER, stage=THEIRS, dry_run=True)
        except RequestError as error:
            if error.status in (404, 429):  # a definition that changes may not be served for a moment
                return None
            if error.status != 422:
                raise
            return False
        return True

    server.apply(path, theirs)
    try:
        until(takes_it)
        yield
    finally:
        server.apply(path, APPROVAL.to_manifest())
        until(lambda: takes_it() is False)


def test_row_18_one_that_another_version_of_its_definition_stored_is_told_and_never_counts(operator: OperatorProcess, desk: Site) -> None:
    counted = 'finetune_governance_findings_total{effect="told",rule="ApprovalUnreadable"}'
    before = operator.metric(counted)
    desk.submit("unread")
    digest = waits(desk, "unread", "0 of 2")
    with another_version(desk):
        desk.approve("unread", "bob", digest, stage=THEIRS)
    waits(desk, "unread", "0 of 2", "ApprovalUnreadable: approvals: Approval 'unread-bob-everything' cannot be read", "given again")
    desk.here.wait_event("unread", "ApprovalUnreadable")
    assert [event["reason"] for event in desk.here.events("unread")].count("ApprovalUnreadable") == 1
    operator.wait_metric(counted, before + 1)
    for approver in ("carol", "eve"):
        desk.approve("unread", approver, digest)
    assert desk.here.wait_ended("unread") == "Succeeded"


def test_row_18_a_shortfall_needs_as_many_waivers_as_the_policy_says(operator: OperatorProcess, site: Site) -> None:
    site.demand(quality={"minExamples": 5000, "waivable": True}, waiverApprovals=2)
    site.submit("few")
    digest = waits(site, "few", "TooFewExamples", "approve-waive")
    site.approve("few", "bob", digest, stage="Waive")
    site.approve("few", "ann", digest, stage="Waive")
    until(lambda: site.here.condition("few")["reason"] == "AwaitingApproval")
    waits(site, "few", "TooFewExamples")
    site.approve("few", "eve", digest, stage="Waive")
    assert site.here.wait_ended("few") == "Succeeded"


def test_row_18_a_reason_can_be_asked_for_and_is_the_submitters_to_give(operator: OperatorProcess, site: Site) -> None:
    site.demand(requireJustification=True)
    site.submit("silent")
    assert "spec.justification" in site.here.wait_reason("silent", "JustificationMissing")["message"]
    assert site.here.jobs("silent") == []
    site.submit("silent", justification="the router answers too slowly")
    assert site.here.wait_ended("silent") == "Succeeded"


def test_a_field_manager_is_the_name_of_a_program_and_makes_nobody_an_author(desk: Site) -> None:
    """Whoever writes chooses it, and an entry names no user: so an approver whose name it is counts like any other."""
    document = finetunejobs.manifest("managed", desk.here.namespace)
    document["metadata"] |= {"labels": DECLARED, "annotations": SUBMITTED}
    path = f"{desk.here.job_path('managed')}?fieldManager=bob&force=true"
    stored = desk.here.server.request("PATCH", path, document, "application/apply-patch+yaml")
    (entry,) = stored["metadata"]["managedFields"]
    assert set(entry) == {"apiVersion", "fieldsType", "fieldsV1", "manager", "operation", "time"}
    assert entry["manager"] == "bob"
    digest = waits(desk, "managed", "0 of 2")
    desk.approve("managed", "bob", digest)
    waits(desk, "managed", "1 of 2")
