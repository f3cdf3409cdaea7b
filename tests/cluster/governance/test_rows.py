"""The operator's side of the decision table: each row refused, held or waiting on a real API server, and its nearest neighbour that is not.

What the API server refuses by itself is in tests/cluster/admission; here nothing but the operator looks, as at objects from before the
policies. docs/governance/decision-table.md lists the tests of every row.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from finetune_testbed import outcomes
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import Verdict
from tests.cluster import finetunejobs, governed_site
from tests.cluster.governed_site import Site
from tests.cluster.operator_process import OperatorProcess, until
from tests.unit.domain.samples import words

DIGEST = "sha256:" + "a" * 64
OPEN = {"licences": {"allow": ["*"]}, "egress": "Open", "requireEvaluation": False}
LABELS = {"finetune.dev/level": "confidential", "finetune.dev/residency": "onprem", "finetune.dev/regime.phi": "true"}
NOTES = {"uri": "pvc://data/notes.jsonl", "level": "confidential", "regimes": ["phi"], "residency": "onprem", "digest": DIGEST}


@pytest.fixture(scope="module")
def clinic(t2: Testbed, operator: OperatorProcess, onprem: None) -> Iterator[Site]:
    """Cleared for confidential health records; its one policy wants them on site, from one claim, by digest."""
    with governed_site.site(t2) as made:
        made.label({"finetune.dev/clearance-level": "confidential", "finetune.dev/clearance.phi": "true"})
        made.demand(
            zones=["onprem"], dataSources=["pvc://data"], trackerHosts=["mlflow.mlops.svc"], judgeHosts=["judge.models.svc"], **OPEN
        )
        made.register("notes", **NOTES)
        yield made


def submit(site: Site, name: str, labels: dict[str, str] | None = None, **changes: Any) -> None:
    """A job that meets everything, with what is changed; None leaves a field out."""
    compliant = {"dataset__ref": {"name": "notes"}, "baseModel__digest": DIGEST, "suspend": True}
    wanted = {path: value for path, value in {**compliant, **changes}.items() if value is not None}
    site.submit(name, LABELS if labels is None else labels, **wanted)


def refused(site: Site, name: str, rule: str) -> str:
    """Its message, once the job is refused by this rule; nothing has begun."""
    told = until(lambda: found if f"{rule}: " in (found := site.here.condition(name, "Governed")).get("message", "") else {})
    assert told["status"] == "False"
    until(lambda: site.here.condition(name, "Ready").get("status") == "False")
    assert site.here.jobs(name) == []
    return str(told["message"])


def let_pass(site: Site, name: str) -> None:
    """Held by nothing but its own `suspend`, which the test set to leave the cluster in peace."""
    assert until(lambda: found if (found := site.here.condition(name, "Governed")).get("reason") == "Allowed" else {})
    assert until(lambda: found if (found := site.here.condition(name)).get("reason") == "Suspended" else {})


def test_row_01_labels_that_are_missing_or_no_words_are_refused(clinic: Site) -> None:
    submit(clinic, "unlabelled", {})
    message = refused(clinic, "unlabelled", "LabelInvalid")
    assert "finetune.dev/level" in message
    assert "finetune.dev/residency" in message
    submit(clinic, "moon", {**LABELS, "finetune.dev/residency": "moon"})
    refused(clinic, "moon", "LabelInvalid")


def test_row_01_legal_labels_pass(clinic: Site) -> None:
    submit(clinic, "labelled")
    let_pass(clinic, "labelled")


def test_row_01_a_job_from_before_the_label_is_looked_at_once_its_namespace_is_governed(operator: OperatorProcess, t2: Testbed) -> None:
    with finetunejobs.place(t2) as here:
        here.apply("ended")
        here.apply("next", suspend=True)
        assert here.wait_ended("ended") == "Succeeded"
        assert here.condition("ended", "Governed") == {}
        Site(here).label(dict(governed_site.GOVERNED))
        for name in ("ended", "next"):
            assert "LabelInvalid" in here.wait_reason(name, "LabelInvalid", "Governed")["message"]
        assert here.wait_reason("ended", "LabelInvalid")["status"] == "False"
        here.patch("next", {"suspend": False})
        here.wait_reason("next", "LabelInvalid")
        assert here.jobs("next") == []


def test_row_02_a_job_below_its_data_is_refused(clinic: Site) -> None:
    submit(clinic, "below", {**LABELS, "finetune.dev/level": "internal"})
    assert "confidential" in refused(clinic, "below", "ClassificationDowngrade")


def test_row_02_a_job_as_high_as_its_data_passes(clinic: Site) -> None:
    submit(clinic, "as-high", {**LABELS, "finetune.dev/level": "confidential"})
    let_pass(clinic, "as-high")


def test_row_02_data_above_internal_that_nobody_registered_are_refused(clinic: Site) -> None:
    submit(clinic, "nobodys", dataset__ref=None, dataset__inline={"uri": "pvc://data/nobodys.jsonl", "digest": "sha256:" + "c" * 64})
    refused(clinic, "nobodys", "DatasetNotRegistered")


def test_row_02_data_are_used_for_what_they_may_be_and_as_long_as_they_may_be_kept(clinic: Site) -> None:
    apart = {**NOTES, "uri": "pvc://data/apart.jsonl", "digest": "sha256:" + "d" * 64}
    clinic.register("for-support", **apart, purposes=["support"], retainUntil="2199-01-01T00:00:00Z")
    submit(clinic, "for-research", dataset__ref={"name": "for-support"}, purpose="research")
    assert "it is for support" in refused(clinic, "for-research", "PurposeNotAllowed")
    submit(clinic, "in-support", dataset__ref={"name": "for-support"}, purpose="support")
    let_pass(clinic, "in-support")
    old = {**NOTES, "uri": "pvc://data/old.jsonl", "digest": "sha256:" + "e" * 64}
    clinic.register("old", **old, retainUntil="2020-01-01T00:00:00Z")
    submit(clinic, "too-late", dataset__ref={"name": "old"})
    refused(clinic, "too-late", "RetentionExpired")


def test_row_03_a_level_or_a_regime_above_the_clearance_is_refused(clinic: Site) -> None:
    submit(clinic, "too-high", {**LABELS, "finetune.dev/level": "restricted"})
    assert "restricted" in refused(clinic, "too-high", "NamespaceNotCleared")
    submit(clinic, "cards", {**LABELS, "finetune.dev/regime.pci": "true"})
    assert "pci" in refused(clinic, "cards", "NamespaceNotCleared")


def test_row_03_what_the_namespace_is_cleared_for_passes(clinic: Site) -> None:
    submit(clinic, "cleared")
    let_pass(clinic, "cleared")


def test_row_04_without_a_policy_nothing_confidential_begins_and_with_one_it_does(
    operator: OperatorProcess, onprem: None, site: Site
) -> None:
    site.label({"finetune.dev/clearance.phi": "true"})
    site.register("notes", **NOTES)
    submit(site, "notes")
    refused(site, "notes", "NoMatchingPolicy")
    submit(site, "internal", governed_site.DECLARED, dataset__ref=None)
    let_pass(site, "internal")
    site.demand(mode="Audit", zones=["*"], dataSources=["*"], **OPEN)
    until(lambda: site.here.status("notes")["governance"].get("policies"))
    refused(site, "notes", "NoMatchingPolicy")
    site.demand(mode="Enforce", zones=["*"], dataSources=["*"], **OPEN)
    let_pass(site, "notes")


def test_row_05_data_from_elsewhere_or_that_must_lie_elsewhere_are_refused(clinic: Site) -> None:
    clinic.register("elsewhere", **{**NOTES, "uri": "pvc://models/notes.jsonl", "digest": "sha256:" + "f" * 64})
    submit(clinic, "elsewhere", dataset__ref={"name": "elsewhere"})
    assert "pvc://models/notes.jsonl" in refused(clinic, "elsewhere", "ResidencyViolation")
    clinic.register("cloud", **{**NOTES, "uri": "pvc://data/cloud.jsonl", "digest": "sha256:" + "9" * 64, "residency": "eu-de"})
    submit(clinic, "cloud", {**LABELS, "finetune.dev/residency": "eu-de"}, dataset__ref={"name": "cloud"})
    assert "eu-de is not among the zones: onprem" in refused(clinic, "cloud", "ResidencyViolation")


def test_row_05_data_of_an_allowed_source_and_place_pass(clinic: Site) -> None:
    submit(clinic, "at-home")
    let_pass(clinic, "at-home")


def test_row_06_what_is_not_named_by_digest_is_refused(clinic: Site) -> None:
    submit(clinic, "loose", baseModel__digest=None)
    assert "spec.baseModel.digest" in refused(clinic, "loose", "NotPinned")
    clinic.register("moving", **{name: value for name, value in NOTES.items() if name != "digest"})
    submit(clinic, "moving", dataset__ref={"name": "moving"})
    assert "spec.dataset.ref.digest" in refused(clinic, "moving", "NotPinned")


def test_row_06_everything_by_digest_passes(clinic: Site) -> None:
    submit(clinic, "pinned")
    let_pass(clinic, "pinned")


TICKETS = {"finetune.dev/step": "train"}


def test_row_19_a_policy_wants_a_gate_and_one_that_has_passed_will_do(operator: OperatorProcess, site: Site) -> None:
    site.demand(requireEvaluation=True)
    site.submit("gated", evaluation__gates={"improvement": {"metric": "JSONValidity"}}, evaluation__metrics=["JSONValidity"])
    assert site.here.wait_ended("gated") == "Succeeded"
    site.submit("without")
    assert "GateMissing: spec.evaluation.gates: names no gate" in site.here.wait_reason("without", "GateMissing")["message"]
    assert site.here.jobs("without") == []
    site.demand(requireEvaluation=False)
    ungated = PodOutcome(hold=True, termination_message=words("train", "", verdict=Verdict.NOT_GATED))
    with outcomes.played(site.here.bed, TICKETS, ungated, name=site.here.namespace, namespace=site.here.namespace):
        site.submit("ungated")
        training = until(lambda: [pod for pod in site.here.pods("ungated") if TICKETS.items() <= pod["metadata"]["labels"].items()])
        site.demand(requireEvaluation=True)
        site.here.wait_reason("ungated", "PolicyDrift", "Governed")
        outcomes.release(site.here.bed, site.here.namespace, training[0]["metadata"]["name"])
        assert "GateMissing" in site.here.wait_reason("ungated", "GateMissing")["message"]
    assert [job for job in site.here.jobs("ungated") if "publish" in job["metadata"]["name"]] == []


def test_row_14_a_tracker_that_the_policy_does_not_name_is_refused(clinic: Site) -> None:
    submit(clinic, "tracked-outside", tracking__mlflow={"uri": "https://tracker.example/team"})
    assert "'tracker.example' is not among the tracker hosts: mlflow.mlops.svc" in refused(clinic, "tracked-outside", "ExternalTracker")


def test_row_14_one_that_it_names_passes(clinic: Site) -> None:
    submit(clinic, "tracked", tracking__mlflow={"uri": "http://MLflow.mlops.svc.:5000"})
    let_pass(clinic, "tracked")


def test_row_14_a_judge_that_the_policy_does_not_name_is_refused(clinic: Site) -> None:
    submit(clinic, "judged-outside", evaluation__judge={"endpoint": "https://judge.example/v1", "model": "critic"})
    assert "'judge.example' is not among the judge hosts: judge.models.svc" in refused(clinic, "judged-outside", "ExternalJudge")


def test_row_14_a_judge_that_it_names_passes(clinic: Site) -> None:
    submit(clinic, "judged", evaluation__judge={"endpoint": "http://Judge.models.svc.:8000/v1", "model": "critic"})
    let_pass(clinic, "judged")


@pytest.mark.parametrize(("verdict", "reason"), [(Verdict.FAIL, "GateRejected"), (Verdict.INCONCLUSIVE, "GateInconclusive")])
def test_row_19_what_a_gate_refuses_or_cannot_decide_is_not_promoted(
    operator: OperatorProcess, site: Site, verdict: Verdict, reason: str
) -> None:
    site.demand(requireEvaluation=True)
    said = words("train", "", verdict=verdict)
    with outcomes.played(
        site.here.bed, TICKETS, PodOutcome(termination_message=said), name=site.here.namespace, namespace=site.here.namespace
    ):
        site.submit(
            "gated",
            evaluation__gates={"improvement": {"metric": "SchemaCompliance"}},
            evaluation__metrics=["SchemaCompliance"],
            task__outputSchema={"configMapRef": {"name": "routing"}},
        )
        assert site.here.wait_reason("gated", reason)["status"] == "False"
    assert "artifact" not in site.here.status("gated")
