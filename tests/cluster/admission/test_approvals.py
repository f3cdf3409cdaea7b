"""Approvals in governed namespaces: given by whoever asks, who may, to another's job, for the decision that stands."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE, RequestError
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
    CLINIC,
    CONTROLLERS,
    DIGEST,
    NAMESPACES,
    OPERATOR,
    SUBMITTED_BY,
    Refused,
    Site,
    approval,
    approvals,
    job,
    jobs,
)

OTHER = "sha256:" + "b" * 64
EVE, FRANK = "eve", "frank"
"""Eve may approve the training of one job, Frank may make Approvals and approve nothing."""


@pytest.fixture(scope="module")
def ward(site: Site) -> str:
    """With two jobs of alice's, of which one is decided."""
    there = site.namespace(CLINIC)
    for name in ("notes", "undecided"):
        site.ask(ALICE, "POST", jobs(there), job(name))
    _decide(site, there, "notes", DIGEST)
    make = {"apiGroups": ["finetune.dev"], "resources": ["approvals"], "verbs": ["create", "get"]}
    one = {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "resourceNames": ["notes"], "verbs": ["approve-train"]}
    site.allow(EVE, there, make, one)
    site.allow(FRANK, there, make)
    site.until_found(set(), EVE, "POST", f"{approvals(there)}?dryRun=All", approval("notes", EVE))
    return there


GIVEN: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("by another who may", BOB, {}, set()),
    ("by who may approve this one only", EVE, {}, set()),
    ("another stage than he may", EVE, {"stage": "Promote"}, {"NotAllowedToApprove"}),
    ("a waiver, who may not waive", EVE, {"stage": "Waive"}, {"NotAllowedToApprove"}),
    ("another job than he may", EVE, {"subject": "undecided"}, {"NotAllowedToApprove"}),
    ("by who may approve nothing", FRANK, {}, {"NotAllowedToApprove"}),
    ("in another's name", FRANK, {"approver": BOB}, {"ApproverMismatch"}),
    ("in another's name by who may approve himself", BOB, {"approver": EVE}, {"ApproverMismatch"}),
    ("by the submitter", ALICE, {}, {"SelfApproval"}),
    ("by the submitter in another's name", ALICE, {"approver": BOB}, {"ApproverMismatch"}),
    ("for another decision", BOB, {"digest": OTHER}, {"ApprovalOfAnotherDecision"}),
    ("for a decision that was not made yet", BOB, {"subject": "undecided"}, {"ApprovalOfAnotherDecision"}),
    ("by the submitter for another decision", ALICE, {"digest": OTHER}, {"SelfApproval", "ApprovalOfAnotherDecision"}),
    ("of a job that is not there, which no decision will ever have that digest of", BOB, {"subject": "absent"}, set()),
]


@pytest.mark.parametrize(("user", "changes", "rules"), [case[1:] for case in GIVEN], ids=[case[0] for case in GIVEN])
def test_an_approval(site: Site, ward: str, user: str, changes: dict[str, Any], rules: set[str]) -> None:
    document = approval(**{"subject": "notes", "approver": user, **changes})
    assert site.found(user, "POST", f"{approvals(ward)}?dryRun=All", document) == rules


BOT = "system:serviceaccount:{}:bot"


def test_nobody_approves_by_an_account_that_he_makes(site: Site, ward: str) -> None:
    """Alice has every right in the namespace, so that she can make the account, give it the verb and get its token."""
    bot = BOT.format(ward)
    subject = [{"kind": "ServiceAccount", "name": "bot", "namespace": ward}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": "puppet"}, "roleRef": role, "subjects": subject}
    site.ask(ALICE, "POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ward}/rolebindings", binding)
    site.until_found({"ApproverMismatch"}, bot, "POST", f"{approvals(ward)}?dryRun=All", approval("notes", BOB))
    document = {**approval("notes", bot), "metadata": {"name": "puppets"}}
    with pytest.raises(Refused, match="a service account is whoever can have its token"):
        site.ask(bot, "POST", f"{approvals(ward)}?dryRun=All", document)


def test_nobody_approves_what_he_submitted_by_an_account_that_he_can_be(site: Site) -> None:
    there = site.namespace(CLINIC)
    bot = BOT.format(there)
    site.allow(bot, there, {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": ["create"]})
    approve = {"apiGroups": ["finetune.dev"], "resources": ["finetunejobs"], "verbs": ["approve-train"]}
    make = {"apiGroups": ["finetune.dev"], "resources": ["approvals"], "verbs": ["create", "get"]}
    site.allow(EVE, there, make, approve)
    site.allow(FRANK, there, make, approve, {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]})
    site.until_found(set(), bot, "POST", f"{jobs(there)}?dryRun=All", job("piped", submitter=bot))
    site.ask(bot, "POST", jobs(there), job("piped", submitter=bot))
    governance = {"decision": "NeedsApproval", "digest": DIGEST, "classification": {"level": "confidential"}}
    site.ask(OPERATOR, "PATCH", f"{jobs(there, 'piped')}/status", {"status": {"governance": governance}}, MERGE)
    where = f"{approvals(there)}?dryRun=All"
    site.until_found({"ApprovalOfAnotherDecision"}, EVE, "POST", where, approval("piped", EVE, OTHER))
    site.until_found({"ApprovalOfAnotherDecision"}, FRANK, "POST", where, approval("piped", FRANK, OTHER))
    for user in (BOB, FRANK):
        with pytest.raises(Refused, match=f"'{user}' can act as who has submitted 'piped'"):
            site.ask(user, "POST", where, approval("piped", user))
    assert site.found(EVE, "POST", where, approval("piped", EVE)) == set()


def test_what_is_wrong_is_told_with_the_names(site: Site, ward: str) -> None:
    with pytest.raises(Refused, match=r"spec.subjectDigest: of 'notes' the decision is sha256:a{64}"):
        site.ask(BOB, "POST", f"{approvals(ward)}?dryRun=All", approval("notes", BOB, OTHER))
    with pytest.raises(Refused, match="'frank' may not approve-train finetunejobs/notes"):
        site.ask(FRANK, "POST", f"{approvals(ward)}?dryRun=All", approval("notes", FRANK))


def test_a_job_that_nobody_is_known_to_have_submitted_is_approved_by_nobody(site: Site) -> None:
    there = site.namespace({})
    document = job("older", {}, None)
    site.ask(ALICE, "POST", jobs(there), document)
    site.relabel(there, CLINIC)
    request = "POST", f"{approvals(there)}?dryRun=All", approval("older", BOB)
    site.until_found({"SelfApproval", "ApprovalOfAnotherDecision"}, BOB, *request)
    with pytest.raises(Refused, match=r"nobody is known to have submitted"):
        site.ask(BOB, *request)
    assert SUBMITTED_BY not in site.admin.request("GET", jobs(there, "older"))["metadata"].get("annotations", {})


def test_it_is_taken_back_by_who_gave_it_and_goes_with_its_namespace(site: Site, ward: str) -> None:
    site.ask(BOB, "POST", approvals(ward), approval("notes", BOB))
    where = approvals(ward, "notes-bob")
    for user in (ALICE, ""):
        assert site.found(user, "DELETE", f"{where}?dryRun=All") == {"WithdrawnByAnother"}
        assert site.found(user, "DELETE", f"{approvals(ward)}?dryRun=All") == {"WithdrawnByAnother"}
    for user in (OPERATOR, BOB, f"{CONTROLLERS}namespace-controller", f"{CONTROLLERS}generic-garbage-collector"):
        assert site.found(user, "DELETE", f"{where}?dryRun=All") == set()


@pytest.mark.parametrize(
    "change", [{"approver": ALICE}, {"subjectDigest": OTHER}, {"stage": "Waive"}, {"subjectRef": {"name": "other"}}], ids=str
)
def test_it_is_never_changed(site: Site, ward: str, change: dict[str, Any]) -> None:
    document = approval("notes", BOB)
    document["metadata"]["name"] = "kept"
    if not any(item["metadata"]["name"] == "kept" for item in site.admin.request("GET", approvals(ward))["items"]):
        site.ask(BOB, "POST", approvals(ward), document)
    for user in (BOB, ""):
        with pytest.raises(RequestError, match="an Approval is create-only"):
            site.ask(user, "PATCH", f"{approvals(ward, 'kept')}?dryRun=All", {"spec": change}, MERGE)


def test_elsewhere_nobody_asks(site: Site) -> None:
    assert site.found(ALICE, "POST", f"{approvals(site.free)}?dryRun=All", approval("notes", BOB)) == set()


def _decide(site: Site, namespace: str, name: str, digest: str) -> None:
    """As the operator does; until admission has heard of it."""
    governance = {"decision": "NeedsApproval", "digest": digest, "classification": {"level": "confidential"}}
    site.ask(OPERATOR, "PATCH", f"{jobs(namespace, name)}/status", {"status": {"governance": governance}}, MERGE)
    assert site.admin.request("GET", f"{NAMESPACES}/{namespace}")
    site.until_found(set(), BOB, "POST", f"{approvals(namespace)}?dryRun=All", approval(name, BOB, digest))
    site.until_found({"ApprovalOfAnotherDecision"}, BOB, "POST", f"{approvals(namespace)}?dryRun=All", approval("undecided", BOB))
