"""Where the API server can change requests: names of submitter and approver are filled in, kept, and never in the way of a tool."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetune_operator.manifests.admission import FILLING
from finetune_testbed import binaries
from finetune_testbed.apiserver import MERGE, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
    CLINIC,
    LABELS,
    OPERATOR,
    REGISTRATION,
    SUBMITTED_BY,
    VALUES,
    Object,
    Site,
    approval,
    approvals,
    job,
    jobs,
)
from tests.cluster.chart import Helm
from tests.cluster.operator_process import until

CAPABLE = ("--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
KINDS = {"MutatingAdmissionPolicy": "mutatingadmissionpolicies", "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings"}
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ward(site: Site, t1: Testbed) -> Iterator[str]:
    """A clinic on an API server with the chart's policies that fill in; they go again, because other tests name people themselves."""
    rendered = Helm(t1).template(*VALUES, *CAPABLE, "--show-only", "templates/admission.yaml")
    documents = [document for document in rendered if document["kind"] in KINDS]
    there = site.namespace(CLINIC)
    paths = [f"{REGISTRATION}/{KINDS[document['kind']]}/{document['metadata']['name']}" for document in documents]
    for path, document in zip(paths, documents, strict=True):
        site.admin.apply(path, document)
    site.until_found(set(), ALICE, "POST", f"{jobs(there)}?dryRun=All", job("probe", submitter=None))
    until(lambda: _filled(site, there))
    yield there
    for path in reversed(paths):
        site.admin.request("DELETE", path)
    site.until_found({"SubmitterMismatch"}, ALICE, "POST", f"{jobs(there)}?dryRun=All", job("probe", submitter=None))


@pytest.fixture(scope="module")
def kubectl(ward: str, t1: Testbed) -> Kubectl:
    program = str(binaries.path("kubectl", t1.cache_dir, progress=print))

    def run(user: str, *arguments: str, document: Object, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        groups = ("--as-group", "system:authenticated") if user else ()
        command = [program, "--kubeconfig", str(t1.kubeconfig), "--namespace", ward, *(("--as", user) if user else ()), *groups, *arguments]
        done = subprocess.run([*command, "-f", "-"], input=json.dumps(document), capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def test_they_are_installed_where_the_api_server_has_them_and_nowhere_else(t1: Testbed) -> None:
    helm = Helm(t1)
    for capabilities, expected in (((), 0), (CAPABLE, 2 * len(FILLING))):
        rendered = helm.template(*VALUES, *capabilities, "--show-only", "templates/admission.yaml")
        assert sum(document["kind"] in KINDS for document in rendered) == expected
    assert not [document for document in helm.template(*CAPABLE) if document["kind"] in KINDS]


@pytest.mark.parametrize("mode", [("apply",), ("apply", "--server-side"), ("create",)], ids=" ".join)
def test_a_job_without_a_name_gets_that_of_who_asks(site: Site, ward: str, kubectl: Kubectl, mode: tuple[str, ...]) -> None:
    name = f"made-by-{mode[-1].strip('-')}"
    kubectl(ALICE, *mode, document=job(name, submitter=None))
    assert _submitter(site, ward, name) == ALICE


@pytest.mark.parametrize("mode", [(), ("--server-side",)], ids=["client side", "server side"])
def test_applying_again_changes_nothing_and_there_is_no_difference_to_show(
    site: Site, ward: str, kubectl: Kubectl, mode: tuple[str, ...]
) -> None:
    name = f"again-{len(mode)}"
    document = job(name, submitter=None)
    kubectl(ALICE, "apply", *mode, document=document)
    first = site.admin.request("GET", jobs(ward, name))
    kubectl(ALICE, "diff", *mode, document=document)
    kubectl(ALICE, "apply", *mode, document=document)
    second = site.admin.request("GET", jobs(ward, name))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    owned = json.dumps([entry.get("fieldsV1") for entry in second["metadata"]["managedFields"]])
    assert SUBMITTED_BY not in owned


def test_it_stays_through_replace_and_changes_by_others(site: Site, ward: str, kubectl: Kubectl) -> None:
    kubectl(ALICE, "apply", document=job("kept", submitter=None))
    replaced = job("kept", submitter=None)
    replaced["spec"]["training"] = {"seed": 7}
    kubectl(ALICE, "replace", document=replaced)
    assert _submitter(site, ward, "kept") == ALICE
    held = job("kept", submitter=None)
    held["spec"] |= {"training": {"seed": 7}, "suspend": True}
    kubectl(BOB, "apply", "--server-side", "--force-conflicts", "--field-manager=bobs", document=held)
    assert _submitter(site, ward, "kept") == ALICE
    site.ask(BOB, "PATCH", jobs(ward, "kept"), {"metadata": {"annotations": None}}, MERGE)
    assert _submitter(site, ward, "kept") == ALICE


def test_a_wrong_name_is_refused_as_before_and_another_edits_no_spec(site: Site, ward: str, kubectl: Kubectl) -> None:
    refused = kubectl(ALICE, "apply", document=job("forged", submitter=BOB), expect=1)
    assert "SubmitterMismatch" in refused.stderr
    kubectl(ALICE, "apply", document=job("hers", submitter=None))
    changed = job("hers", submitter=None)
    changed["spec"]["training"] = {"seed": 7}
    refused = kubectl(BOB, "apply", "--server-side", "--force-conflicts", document=changed, expect=1)
    assert "SpecEditedByAnother" in refused.stderr
    change = {"metadata": {"annotations": {SUBMITTED_BY: BOB}}}
    assert site.found(BOB, "PATCH", f"{jobs(ward, 'hers')}?dryRun=All", change, MERGE) == {"SubmitterMismatch"}


def test_whoever_acts_for_another_submits_as_that_other(site: Site, ward: str, kubectl: Kubectl) -> None:
    """Every request of these tests is an administrator's who acts for somebody; here he acts for himself."""
    kubectl("", "apply", document=job("own", submitter=None))
    assert _submitter(site, ward, "own") not in {ALICE, BOB, ""}


def test_an_approval_without_a_name_gets_that_of_who_asks_before_its_schema_asks_for_one(site: Site, ward: str) -> None:
    site.ask(ALICE, "POST", jobs(ward), job("approved", submitter=None))
    governance = {"decision": "NeedsApproval", "digest": "sha256:" + "d" * 64, "classification": {"level": "confidential"}}
    site.ask(OPERATOR, "PATCH", f"{jobs(ward, 'approved')}/status", {"status": {"governance": governance}}, MERGE)
    document = _nameless("approved", "sha256:" + "d" * 64)
    site.until_found(set(), BOB, "POST", f"{approvals(ward)}?dryRun=All", document)
    made = site.ask(BOB, "POST", approvals(ward), document)
    assert made["spec"]["approver"] == BOB
    assert site.found(ALICE, "POST", f"{approvals(ward)}?dryRun=All", document) == {"SelfApproval"}


def test_elsewhere_nobody_is_named(site: Site, ward: str) -> None:
    made = site.ask(ALICE, "POST", f"{jobs(site.free)}?dryRun=All", job("plain", LABELS, None))
    assert SUBMITTED_BY not in made["metadata"].get("annotations", {})
    with pytest.raises(RequestError, match=r"spec.approver: Required"):
        site.ask(BOB, "POST", f"{approvals(site.free)}?dryRun=All", _nameless("plain"))


def _nameless(subject: str, digest: str = "sha256:" + "a" * 64) -> Object:
    document: dict[str, Any] = approval(subject, BOB, digest)
    document["spec"].pop("approver")
    return document


def _filled(site: Site, namespace: str) -> bool:
    """Both policies are in force once an Approval without a name gets past its schema."""
    try:
        return site.found(BOB, "POST", f"{approvals(namespace)}?dryRun=All", _nameless("absent")) == set()
    except RequestError:
        return False


def _submitter(site: Site, namespace: str, name: str) -> str:
    found = site.admin.request("GET", jobs(namespace, name))["metadata"].get("annotations", {})
    return str(found.get(SUBMITTED_BY, ""))
