"""Both halves of governance as the chart installs them: the API server's policies, and the operator as its service account."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from finetune_operator.api.crd import APPROVAL, GOVERNANCE_KINDS, GOVERNANCEFACTS, TRAININGDATASET
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.cluster import crd, finetunejobs, operator_process
from tests.cluster.admission import account
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
    CLINIC,
    DIGEST,
    LABELS,
    PLACES,
    SITE_REGIMES,
    SUBMITTED_BY,
    VALUES,
    Site,
    approval,
    dataset,
    policies,
    policy,
)
from tests.cluster.chart import Helm
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.test_operator_budget import BUDGET, WRITER, rest, writes

ADDED = 3
"""Writes that governance may add to a run."""
ARGUMENTS = (
    *("--trainer-image", f"registry.invalid/finetune-trainer@{DIGEST}"),
    "--governance",
    *(part for place in PLACES for part in ("--governance-residency", place)),
    *(part for regime in SITE_REGIMES for part in ("--governance-regime", regime)),
)
NODES = "/api/v1/nodes"


@pytest.fixture(scope="module")
def clinic(t2: Testbed) -> Iterator[tuple[Site, Place]]:
    """Governed, with one policy that applies there and asks for two people."""
    helm = Helm(t2)
    with ExitStack() as stack, finetunejobs.place(t2) as place:
        here = Site(t2, stack)
        here.install_kinds()
        for kind in GOVERNANCE_KINDS:
            crd.install(here.admin, kind)
        account.install(here, helm, *VALUES)
        here.enforce(helm)
        here.relabel(place.namespace, CLINIC)
        here.grant(place.namespace)
        demand(here, place)
        zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(LABEL_ZONE) for node in here.admin.request("GET", NODES)["items"]}
        stand(here, dict.fromkeys(zones, "onprem-a"))
        try:
            yield here, place
        finally:
            stand(here, zones)
            here.admin.request("DELETE", house(place))
            here.withdraw()
            account.remove(here, helm, *VALUES)


@pytest.fixture(scope="module")
def operator(clinic: tuple[Site, Place], t2: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    folder = tmp_path_factory.mktemp("operator")
    site, _ = clinic
    with operator_process.running(account.kubeconfig(site, t2, folder), folder, ARGUMENTS) as process:
        yield process


def test_registered_data_are_trained_on_after_another_has_approved(clinic: tuple[Site, Place], operator: OperatorProcess) -> None:
    site, here = clinic
    start = register_and_mark(site, here, "notes")
    site.ask(ALICE, "POST", here.job_path(), _job(here, "ward", "notes"))
    waiting = here.wait_reason("ward", "AwaitingApproval")["message"]
    digest = here.status("ward")["governance"]["digest"]
    assert digest in waiting
    site.ask(BOB, "POST", _path(here, APPROVAL.plural), approval("ward", BOB, digest))
    assert here.wait_ended("ward") == "Succeeded"
    here.wait_event("ward", "RunSucceeded")
    for made in (*here.jobs("ward"), *here.pods("ward")):
        assert made["metadata"]["labels"]["finetune.dev/level"] == "confidential"
    cost = writes(AuditLog(here.bed), start, here)
    assert len(cost) <= BUDGET + ADDED, tally(cost)
    here.delete("ward")
    until(lambda: not here.jobs("ward") and not here.pods("ward") and not here.config_maps("ward"))
    assert not operator.messages("error")


def test_a_policy_deleted_while_a_job_waits_lets_nothing_pass(clinic: tuple[Site, Place], operator: OperatorProcess) -> None:
    """Neither the job that waits, nor another one, until there is a policy again; and what was refused waits on from where it was."""
    site, here = clinic
    register_and_mark(site, here, "more")
    site.ask(ALICE, "POST", here.job_path(), _job(here, "waits", "more"))
    here.wait_reason("waits", "AwaitingApproval")
    log = AuditLog(here.bed)
    try:
        site.admin.request("DELETE", house(here))
        assert "no enforced policy applies" in here.wait_reason("waits", "NoMatchingPolicy")["message"]
        site.until_found({"NoMatchingPolicy"}, ALICE, "POST", f"{here.job_path()}?dryRun=All", _job(here, "next", "more"))
    finally:
        demand(site, here)
    here.wait_reason("waits", "AwaitingApproval")
    site.until_found(set(), ALICE, "POST", f"{here.job_path()}?dryRun=All", _job(here, "next", "more"))  # the facts are written
    start = log.mark()
    rest()
    assert [call for call in log.writes(WRITER, since=start) if call.resource == GOVERNANCEFACTS.plural] == []
    here.delete("waits")


def register_and_mark(site: Site, here: Place, name: str) -> int:
    """Have data registered, and wait until admission has heard of them; a mark of the audit log after that."""
    site.ask(ALICE, "POST", _path(here, TRAININGDATASET.plural), dataset(name))
    site.until_found(set(), ALICE, "POST", f"{here.job_path()}?dryRun=All", _job(here, "probe", name))
    until(lambda: here.server.request("GET", _path(here, f"{TRAININGDATASET.plural}/{name}")).get("status"))
    return AuditLog(here.bed).mark()


def house(here: Place) -> str:
    return policies(here.namespace)


def demand(site: Site, here: Place) -> None:
    """A policy that applies in this namespace alone and asks for another's approval."""
    match = {"namespaceLabels": {"kubernetes.io/metadata.name": here.namespace}}
    demands = {"zones": ["onprem-a"], "dataSources": ["pvc://data"], "licences": {"allow": ["*"]}, "egress": "Open"}
    spec = {"match": match, **demands, "approvals": [{"stage": "Train"}], "requireEvaluation": False}
    site.admin.apply(house(here), policy(here.namespace, **spec))


def stand(site: Site, zones: Mapping[str, str | None]) -> None:
    """Say where nodes stand."""
    for node, zone in zones.items():
        site.admin.request("PATCH", f"{NODES}/{node}", {"metadata": {"labels": {LABEL_ZONE: zone}}}, MERGE)


def _job(here: Place, name: str, data: str) -> dict[str, Any]:
    document = finetunejobs.manifest(name, here.namespace, {"baseModel__digest": DIGEST, "dataset__ref": {"name": data}})
    document["spec"]["dataset"].pop("inline")
    document["metadata"] |= {"labels": LABELS, "annotations": {SUBMITTED_BY: ALICE}}
    return document


def _path(here: Place, plural: str) -> str:
    return here.path(plural, group=crd.API_VERSION)
