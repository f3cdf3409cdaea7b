"""``finetune plan``: the operator's own answer about a job that nobody has submitted, from files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_cli.main import main
from finetune_operator.domain.governance.forecast import forecast
from tests.unit.domain.governed import DIGEST, dataset, policy, view, world
from tests.unit.domain.samples import NOON, SETTINGS, spec

GOVERNED = "finetune.dev/governed=true,finetune.dev/clearance-level=confidential"
CONFIDENTIAL = {"finetune.dev/level": "confidential", "finetune.dev/residency": "onprem"}
HOUSE: dict[str, Any] = {
    "match": {"minLevel": "confidential"},
    "zones": ["onprem"],
    "dataSources": ["pvc://data"],
    "licences": {"allow": ["MIT"]},
    "scan": "Identifiers",
    "approvals": [{"stage": "Train", "count": 2}, {"stage": "Promote"}],
}
NOTES = {"uri": "pvc://data/notes.jsonl", "digest": DIGEST, "level": "confidential", "residency": "onprem"}


def job(labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    metadata = {"name": "notes", "namespace": "clinic", "labels": CONFIDENTIAL if labels is None else labels}
    document = spec(**{"baseModel__digest": DIGEST, "baseModel__licence": "MIT", **changes})
    document["dataset"] = {"ref": {"name": "notes"}, **changes.get("dataset", {})}
    annotations = {"finetune.dev/submitted-by": "ann"}
    kind = {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob"}
    return {**kind, "metadata": {**metadata, "annotations": annotations}, "spec": document}


def stored(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "generation": 3}, "spec": spec}


@pytest.fixture
def asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Plans a job with the house's policy and its data, and returns exit code, output and errors."""

    def ask(document: Any, *more: str, demand: Any = None, rows: Any = None) -> tuple[int, str, str]:
        site = {"kind": "List", "items": [stored("GovernancePolicy", "house", HOUSE if demand is None else demand)]}
        files = {"job": document, "policy": site, "dataset": stored("TrainingDataset", "notes", NOTES if rows is None else rows)}
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
        options = ["--policy", str(tmp_path / "policy.yaml"), "--dataset", str(tmp_path / "dataset.yaml"), "--namespace-labels", GOVERNED]
        code = main(["plan", str(tmp_path / "job.yaml"), *options, "--residency", "onprem", *more])
        told = capsys.readouterr()
        return code, told.out, told.err

    return ask


def test_a_job_that_meets_all_is_told_who_will_have_to_agree_and_what_is_still_unknown(asked: Any) -> None:
    code, out, _ = asked(job())
    assert code == 0
    assert out.startswith("clinic/notes: would be taken on, and then wait for people")
    for words in (
        "Policies    house@3",
        "confidential; regimes: none; may lie: onprem",
        "approve-train by 2 other(s) (house); approve-promote by 1 other(s) (house)",
        "ScanCoverageGap",
        "EgressProbeInconclusive",
    ):
        assert words in out
    assert "NoCompliantNode" not in out


def test_a_tracker_that_no_policy_names_is_refused_beforehand(asked: Any) -> None:
    tracking = {"mlflow": {"uri": "http://mlflow.mlops:5000"}}
    code, out, _ = asked(job(tracking=tracking))
    assert code == 1
    assert "ExternalTracker: spec.tracking.mlflow.uri: 'mlflow.mlops' is not among the tracker hosts: none" in " ".join(out.split())
    code, out, _ = asked(job(tracking=tracking), demand={**HOUSE, "trackerHosts": ["mlflow.mlops"]})
    assert code == 0
    assert "ExternalTracker" not in out


def test_a_judge_that_no_policy_names_is_refused_beforehand(asked: Any) -> None:
    judge = {"endpoint": "http://judge.models:8000/v1", "model": "critic"}
    code, out, _ = asked(job(evaluation__judge=judge))
    assert code == 1
    assert "ExternalJudge: spec.evaluation.judge.endpoint: 'judge.models' is not among the judge hosts: none" in " ".join(out.split())
    code, out, _ = asked(job(evaluation__judge=judge), demand={**HOUSE, "judgeHosts": ["judge.models"]})
    assert (code, "ExternalJudge" in out) == (0, False)


def test_every_finding_is_told_at_once_with_its_remedy(asked: Any) -> None:
    labels = {"finetune.dev/level": "internal", "finetune.dev/residency": "moon"}
    code, out, _ = asked(job(labels, baseModel__digest=None), "--trainer-image", "trainer:latest")
    assert code == 1
    for words in (
        "would be refused",
        "LabelInvalid",
        "ClassificationDowngrade",
        "NotPinned: spec.baseModel.digest",
        "images[0]",
        "Add the digest",
    ):
        assert words in out


def test_a_field_that_does_not_exist_is_no_quiet_success(asked: Any) -> None:
    document = job()
    document["spec"]["training"]["learningrate"] = "1"
    code, out, _ = asked(document)
    assert code == 1
    assert "spec.training.learningrate: there is no such field" in out


def test_a_spec_that_cannot_be_read_and_a_reference_that_leads_nowhere_are_told(asked: Any) -> None:
    code, out, _ = asked(job(stage="Sometimes"))
    assert (code, "spec.stage" in out) == (1, True)
    code, out, _ = asked(job(dataset={"ref": {"name": "other"}}))
    assert (code, "there is no TrainingDataset other" in out) == (1, True)


def test_without_a_submitter_nobody_can_approve_and_the_page_says_so(asked: Any) -> None:
    document = job()
    del document["metadata"]["annotations"]
    assert "finetune.dev/submitted-by is not set" in asked(document)[1]
    assert "finetune.dev/submitted-by is not set" not in asked(job())[1]


def test_what_a_policy_only_audits_refuses_nothing(asked: Any) -> None:
    code, out, _ = asked(job(), demand={**HOUSE, "mode": "Audit", "match": {}, "dataSources": ["pvc://elsewhere"]})
    assert code == 1  # nothing that is enforced applies
    assert "NoMatchingPolicy" in out
    assert "audit only" in out
    assert "Will need   nobody's approval" in out


def test_programs_get_the_same_answer(asked: Any) -> None:
    code, out, _ = asked(job(), "--output", "json")
    answer = json.loads(out)
    assert code == 0
    assert answer["decision"]["outcome"] == "Allow"
    assert answer["approvals"][0] == {"stage": "Train", "count": 2, "policies": ["house"]}
    assert "ScanCoverageGap" in answer["lookedAtLater"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--policy", "absent.yaml"], "absent.yaml: No such file"),
        (["--namespace-labels", "governed"], "give KEY=VALUE"),
        (["--residency", "On Prem"], "--residency"),
    ],
)
def test_what_cannot_be_asked_is_a_mistake(asked: Any, more: list[str], words: str) -> None:
    code, _, err = asked(job(), *more)
    assert code == 2
    assert words in err


@pytest.mark.parametrize(
    ("document", "words"),
    [("kind: [", "is no YAML"), ("- 1", "no Kubernetes object"), ("kind: Pod", "without kind and metadata"), ("", "holds 0 FineTuneJobs")],
)
def test_files_that_hold_something_else_are_a_mistake(asked: Any, document: str, words: str) -> None:
    code, _, err = asked(document)
    assert (code, words in err) == (2, True)


def test_a_policy_with_a_mistake_is_named_and_not_taken_for_one_that_refuses_everything(asked: Any) -> None:
    code, _, err = asked(job(), demand={**HOUSE, "mode": "Sometimes"})
    assert code == 2
    assert "GovernancePolicy house: spec.mode" in err


@pytest.mark.parametrize("changes", [{}, {"dataSources": ["pvc://registered"]}, {"requireDigests": True}, {"requireJustification": True}])
def test_the_operator_says_the_same_once_the_job_is_submitted(changes: dict[str, Any]) -> None:
    seen = view(policy(**changes), datasets=(dataset(),))
    submitted = world(seen)
    resource = submitted.observe().resource
    told = forecast({**resource, "status": {}}, seen, NOON, image=SETTINGS.trainer_image)
    assert told.decision is not None
    before_run = [(f.rule.value, f.field) for f in told.decision.findings]
    assert before_run == [(f["rule"], f["field"]) for f in (submitted.status or {})["governance"].get("findings", [])]
    assert told.decision.outcome.value == (submitted.status or {})["governance"]["decision"]
