"""Both halves of governance as the chart installs them: the API server's policies, and the operator as its service account."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.api.crd import APPROVAL, GOVERNANCE_KINDS, GOVERNANCEPOLICY, TRAININGDATASET
from finetune_testbed.apiserver import MERGE
from finetune_testbed.audit import AuditLog, tally
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE
from tests.cluster import crd, finetunejobs, operator_process
from tests.cluster.admission import account
from tests.cluster.admission.governed import ALICE, BOB, CLINIC, DIGEST, LABELS, PLACES, SITE_REGIMES, SUBMITTED_BY, VALUES, Site
from tests.cluster.chart import Helm
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import until
from tests.cluster.test_operator_budget import BUDGET, writes

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
        match = {"namespaceLabels": {"kubernetes.io/metadata.name": place.namespace}}
        demand = {"zones": ["onprem-a"], "dataSources": ["pvc://data"], "licences": {"allow": ["*"]}, "egress": "Open"}
        spec = {"match": match, **demand, "approvals": [{"stage": "Train"}], "requireEvaluation": False}
        house = f"{crd.path_of(GOVERNANCEPOLICY)}/{place.namespace}"
        here.admin.apply(house, _document(GOVERNANCEPOLICY, place.namespace, spec))
        zones = {node["metadata"]["name"]: node["metadata"]["labels"].get(LABEL_ZONE) for node in here.admin.request("GET", NODES)["items"]}
        stand(here, dict.fromkeys(zones, "onprem-a"))
        try:
            yield here, place
        finally:
            stand(here, zones)
            here.admin.request("DELETE", house)
            here.withdraw()
            account.remove(here, helm, *VALUES)


def test_registered_data_are_trained_on_after_another_has_approved(clinic: tuple[Site, Place], t2: Testbed, tmp_path: Path) -> None:
    site, here = clinic
    data = {"uri": "pvc://data/notes.jsonl", "digest": DIGEST, "level": "confidential", "regimes": ["phi"], "residency": "onprem-a"}
    kubeconfig = account.kubeconfig(site, t2, tmp_path)
    log = AuditLog(t2)
    with operator_process.running(kubeconfig, tmp_path, ARGUMENTS) as operator:
        site.ask(ALICE, "POST", _path(here, TRAININGDATASET.plural), _document(TRAININGDATASET, "notes", data))
        site.until_found(set(), ALICE, "POST", f"{here.job_path()}?dryRun=All", _job(here))  # until admission has heard of the data
        until(lambda: here.server.request("GET", _path(here, f"{TRAININGDATASET.plural}/notes")).get("status"))
        start = log.mark()
        site.ask(ALICE, "POST", here.job_path(), _job(here))
        waiting = here.wait_reason("ward", "AwaitingApproval")["message"]
        digest = here.status("ward")["governance"]["digest"]
        assert digest in waiting
        approval = {"subjectRef": {"name": "ward"}, "subjectDigest": digest, "stage": "Train", "approver": BOB, "reason": "reviewed"}
        site.ask(BOB, "POST", _path(here, APPROVAL.plural), _document(APPROVAL, "ward-bob", approval))
        assert here.wait_ended("ward") == "Succeeded"
        here.wait_event("ward", "RunSucceeded")
        for made in (*here.jobs("ward"), *here.pods("ward")):
            assert made["metadata"]["labels"]["finetune.dev/level"] == "confidential"
        cost = writes(log, start, here)
        assert len(cost) <= BUDGET + ADDED, tally(cost)
        here.delete("ward")
        until(lambda: not here.jobs("ward") and not here.pods("ward") and not here.config_maps("ward"))
        assert not operator.messages("error")


def stand(site: Site, zones: Mapping[str, str | None]) -> None:
    """Say where nodes stand."""
    for node, zone in zones.items():
        site.admin.request("PATCH", f"{NODES}/{node}", {"metadata": {"labels": {LABEL_ZONE: zone}}}, MERGE)


def _job(here: Place) -> dict[str, Any]:
    changes = {"baseModel__digest": DIGEST, "dataset__ref": {"name": "notes"}}
    document = finetunejobs.manifest("ward", here.namespace, changes)
    document["spec"]["dataset"].pop("inline")
    document["metadata"] |= {"labels": LABELS, "annotations": {SUBMITTED_BY: ALICE}}
    return document


def _document(kind: crd.CrdSpec, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": crd.API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}


def _path(here: Place, plural: str) -> str:
    return here.path(plural, group=crd.API_VERSION)
