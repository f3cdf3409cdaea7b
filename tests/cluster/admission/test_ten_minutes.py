"""What docs/governance/ten-minutes.md tells, with its files: the API server's policies, and the operator by its own account."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_operator.api.crd import APPROVAL, GOVERNANCE_KINDS, GOVERNANCEPOLICY, TRAININGDATASET
from finetune_testbed.apiserver import MERGE, RequestError
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.cluster import crd, finetunejobs, operator_process
from tests.cluster.admission import account
from tests.cluster.admission.governed import ALICE, BOB, DIGEST, NAMESPACES, OPERATOR, VALUES, Refused, Site
from tests.cluster.admission.test_whole import ARGUMENTS, NODES, stand
from tests.cluster.chart import Helm
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until

FILES = Path("examples/governance/clinic")
CAROL, DAVE = "carol", "dave"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


def documents(file: str, here: Place) -> list[dict[str, Any]]:
    """As the file has them, in a namespace that no other test uses."""
    text = (FILES / f"{file}.yaml").read_text(encoding="utf-8").replace("clinic", here.namespace)
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
def clinic(t2: Testbed) -> Iterator[tuple[Site, Place]]:
    """Steps 1 and 2: switched on, fenced, with a policy, and roles for steward, engineer and approvers."""
    helm = Helm(t2)
    with ExitStack() as stack, finetunejobs.place(t2, claims=("models", "notes", "adapters")) as place:
        site = Site(t2, stack)
        site.install_kinds()
        for kind in GOVERNANCE_KINDS:
            crd.install(site.admin, kind)
        account.install(site, helm, *VALUES)
        site.enforce(helm)
        (namespace,), (policy,) = documents("namespace", place), documents("governancepolicy", place)
        site.admin.request("PATCH", f"{NAMESPACES}/{place.namespace}", {"metadata": {"labels": namespace["metadata"]["labels"]}}, MERGE)
        policy["metadata"]["name"] += f"-{place.namespace}"
        house = f"{crd.path_of(GOVERNANCEPOLICY)}/{policy['metadata']['name']}"
        site.admin.apply(house, policy)
        for role in documents("roles", place):
            site.admin.apply(f"{RBAC}/{place.namespace}/{role['kind'].lower()}s/{role['metadata']['name']}", role)
        site.allow(OPERATOR, place.namespace, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
        zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(LABEL_ZONE) for node in site.admin.request("GET", NODES)["items"]}
        stand(site, dict.fromkeys(zones, "onprem-a"))
        try:
            yield site, place
        finally:
            stand(site, zones)
            site.admin.request("DELETE", house)
            site.withdraw()
            account.remove(site, helm, *VALUES)


@pytest.fixture(scope="module")
def outside() -> Iterator[tuple[str, str]]:
    """What must not be reached from within, and answers the operator."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield "--egress-probe-target", f"127.0.0.1:{listener.getsockname()[1]}"


def test_what_each_of_them_does_and_sees(clinic: tuple[Site, Place], t2: Testbed, tmp_path: Path, outside: tuple[str, str]) -> None:
    site, here = clinic
    with operator_process.running(account.kubeconfig(site, t2, tmp_path), tmp_path, (*ARGUMENTS, *outside)):
        carol_registers(site, here)
        alice_submits(site, here)
        digest = waiting(here)
        nobody_agrees_who_may_not(site, here, digest)
        for approver in (BOB, DAVE):
            site.ask(approver, "POST", path(here, APPROVAL.plural), approval(approver, digest))
        assert here.wait_ended("summaries") == "Succeeded"
    assert here.status("summaries")["artifact"]["classification"] == {
        "level": "confidential",
        "regimes": ["phi"],
        "residencies": ["onprem-a"],
    }
    for made in (*here.jobs("summaries"), *here.pods("summaries")):
        assert made["metadata"]["labels"]["finetune.dev/level"] == "confidential"


def carol_registers(site: Site, here: Place) -> None:
    (data,) = documents("trainingdataset", here)
    refused_by_rbac(site, ALICE, path(here, TRAININGDATASET.plural), data)
    until(lambda: site.found(CAROL, "POST", f"{path(here, TRAININGDATASET.plural)}?dryRun=All", data) == set())
    site.ask(CAROL, "POST", path(here, TRAININGDATASET.plural), data)


def alice_submits(site: Site, here: Place) -> None:
    (wrong,), (right,) = documents("finetunejob-wrong", here), documents("finetunejob", here)
    assert right["spec"]["evaluation"]["gates"], "from confidential on nothing is published that no gate has judged; a fake pod passes any"
    site.until_found(set(), ALICE, "POST", f"{here.job_path()}?dryRun=All", right)  # until admission has heard of the data
    with pytest.raises(Refused) as refusal:
        site.ask(ALICE, "POST", here.job_path(), wrong)
    assert refusal.value.rules >= {"LabelInvalid", "NotPinned"}
    assert len(refusal.value.findings) >= 3
    site.ask(ALICE, "POST", here.job_path(), right)


def waiting(here: Place) -> str:
    message = here.wait_reason("summaries", "AwaitingApproval")["message"]
    digest = str(here.status("summaries")["governance"]["digest"])
    assert digest in message
    assert "agreed with the data protection officer" in message
    return digest


def nobody_agrees_who_may_not(site: Site, here: Place, digest: str) -> None:
    where = path(here, APPROVAL.plural)
    refused_by_rbac(site, ALICE, where, approval(ALICE, digest))
    refused_by_rbac(site, CAROL, where, approval(CAROL, digest))
    assert "ApproverMismatch" in site.found(BOB, "POST", where, approval(DAVE, digest))
    assert "ApprovalOfAnotherDecision" in site.found(BOB, "POST", where, approval(BOB, DIGEST))


def refused_by_rbac(site: Site, user: str, where: str, body: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as error:
        site.ask(user, "POST", where, body)
    assert error.value.status == 403
    assert "cannot create" in str(error.value)


def approval(approver: str, digest: str) -> dict[str, Any]:
    spec = {"subjectRef": {"name": "summaries"}, "subjectDigest": digest, "stage": "Train", "approver": approver, "reason": "Reviewed."}
    return {"apiVersion": crd.API_VERSION, "kind": APPROVAL.kind, "metadata": {"name": f"summaries-{approver}"}, "spec": spec}


def path(here: Place, plural: str) -> str:
    return here.path(plural, group=crd.API_VERSION)
