"""What governance makes of the life of a run: refused at once with all findings, held after prepare, re-decided when something changes."""

from typing import Any

import pytest

from finetune_operator.domain.governance import facts
from finetune_trainer.contract.governance.facts import EntityHits, ScanReport
from finetune_trainer.contract.governance.vocabulary import Entity, ScanProfile
from tests.unit.domain.governed import DIGEST, GOVERNED, LABELS, dataset, policy, registered, told, view, world


def test_without_a_say_nothing_is_recorded_and_no_write_is_added() -> None:
    plain, governed = world(None), world(view(policy(match={"minLevel": "restricted"}), labels={}))
    for each in (plain, governed):
        each.finish()
    assert governed.status == plain.status
    assert governed.writes == plain.writes
    assert "governance" not in (governed.status or {})


def test_a_governed_run_that_meets_all_costs_no_write_more_and_says_what_was_decided() -> None:
    plain, governed = world(None), world(view(policy(approvals=[])))
    for each in (plain, governed):
        each.finish()
    assert governed.writes == plain.writes
    assert told(governed, "Governed")[:2] == ("True", "Allowed")
    assert told(governed, "Ready")[:2] == ("True", "RunSucceeded")
    found = (governed.status or {})["governance"]
    assert found["decision"] == "Allow"
    assert found["policies"] == ["house@1"]
    assert found["classification"]["level"] == "internal"


def test_a_governed_run_says_what_it_was_trained_on_for_whoever_withdraws_that() -> None:
    made = registered(view(policy(approvals=[]), datasets=(dataset(digest=DIGEST),)))
    made.finish()
    used = (made.status or {})["currentRun"]["inputs"]["dataset"]
    assert used == {"name": "tickets", "uri": "pvc://data/tickets.jsonl", "digest": DIGEST}


def test_a_refused_job_starts_nothing_and_tells_every_finding_at_once() -> None:
    refused = world(view(policy(dataSources=["pvc://registered"], requireDigests=True)), {"finetune.dev/level": "secret"})
    assert refused.created == []
    status, reason, message = told(refused, "Ready")
    assert (status, reason) == ("False", "LabelInvalid")
    for rule in ("LabelInvalid", "ResidencyViolation", "NotPinned", "finetune.dev/residency"):
        assert rule in message
    assert told(refused, "Governed")[:2] == ("False", "LabelInvalid")
    assert told(refused, "Stalled")[:2] == ("True", "LabelInvalid")
    assert told(refused, "Reconciling")[0] == "False"


def test_a_refused_job_begins_once_it_is_corrected() -> None:
    job = world(view(policy()), {"finetune.dev/level": "internal"})
    assert told(job, "Governed")[1] == "LabelInvalid"
    job.labels["finetune.dev/residency"] = "any"
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


def test_a_mistyped_level_counts_as_the_highest_and_can_be_corrected() -> None:
    job = world(view(policy()), {**LABELS, "finetune.dev/level": "secret"})
    assert (job.status or {})["governance"]["classification"]["level"] == "restricted"
    job.labels["finetune.dev/level"] = "internal"
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    assert (job.status or {})["governance"]["classification"]["level"] == "internal"


def test_what_was_let_pass_is_not_forgotten_by_a_refusal_nor_when_the_floor_falls() -> None:
    floor = {**GOVERNED, "finetune.dev/level": "internal"}
    job = world(view(policy(), labels=floor), {**LABELS, "finetune.dev/level": "public"})
    assert told(job, "Governed")[0] == "True"
    job.labels["finetune.dev/level"] = "nonsense"
    job.settle()
    job.labels["finetune.dev/level"] = "public"
    job.governance = view(policy())
    job.settle()
    assert told(job, "Governed")[0] == "True"
    assert (job.status or {})["governance"]["classification"]["level"] == "internal"


def test_audit_records_what_it_would_refuse_and_blocks_nothing_until_it_enforces() -> None:
    demand = {"dataSources": ["pvc://registered"]}
    job = world(view(policy(mode="Audit", **demand)))
    job.finish()
    assert told(job, "Ready")[:2] == ("True", "RunSucceeded")
    assert "ResidencyViolation" in told(job, "Governed")[2]
    assert [each["blocks"] for each in (job.status or {})["governance"]["findings"]] == [False]
    job.governance = view(policy(generation=2, **demand))
    job.settle()
    assert told(job, "Ready")[:2] == ("False", "ResidencyViolation")
    assert told(job, "Stalled")[0] == "True"


def test_a_label_that_is_lowered_is_refused_although_no_admission_saw_it() -> None:
    job = world(view(policy()))
    job.labels["finetune.dev/level"] = "public"
    job.run_pod()
    job.settle()
    assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
    assert "ClassificationDowngrade" in told(job, "Governed")[2]
    assert (job.status or {})["governance"]["classification"]["level"] == "internal"
    job.end_pod()
    job.settle()
    assert told(job, "Ready")[:2] == ("False", "ClassificationDowngrade")
    job.labels["finetune.dev/level"] = "internal"
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


@pytest.mark.parametrize(("level", "stopped"), [("internal", False), ("restricted", True)])
def test_a_running_step_goes_on_under_a_new_policy_but_is_stopped_at_the_highest_level(level: str, *, stopped: bool) -> None:
    open_ = {"egress": "Open", "requireDigests": False, "zones": ["*"], "licences": {"allow": ["*"]}, "requireEvaluation": False}
    before = view(policy(dataSources=["*"], **open_), datasets=(dataset(level=level),))
    job = registered(before, {**LABELS, "finetune.dev/level": level})
    job.step_through()
    job.run_pod()
    job.settle()
    assert told(job, "Governed")[:2] == ("True", "Allowed")
    name = job.active
    job.governance = view(policy(generation=2, dataSources=["pvc://other"], **open_), datasets=(dataset(level=level),))
    job.settle()
    assert told(job, "Governed")[0] == "False"
    assert "ResidencyViolation" in told(job, "Governed")[2]
    assert bool(job.jobs[name]["metadata"].get("deletionTimestamp")) is stopped
    if stopped:
        job.collect()
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "ResidencyViolation")
        job.governance = before
        job.settle()
        assert job.active.endswith("train-2")


def test_everything_that_is_made_of_it_says_how_sensitive_it_is() -> None:
    demand = policy(egress="Open", requireDigests=False, zones=["*"], dataSources=["*"], licences={"allow": ["*"]}, requireEvaluation=False)
    labels = {"finetune.dev/level": "restricted", "finetune.dev/residency": "any"}
    job = registered(view(demand, datasets=(dataset(level="restricted", regimes=["phi"], residency="onprem"),)), labels)
    stamped = {"finetune.dev/level": "restricted", "finetune.dev/regime.phi": "true", "finetune.dev/residency": "onprem"}
    job.finish()
    assert len(job.jobs) == 3
    for made in job.jobs.values():
        assert stamped.items() <= made["metadata"]["labels"].items()
        assert stamped.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    assert (job.status or {})["artifact"]["classification"] == {"level": "restricted", "regimes": ["phi"], "residencies": ["onprem"]}


def test_a_scan_that_raises_a_regime_goes_on_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was raised is recorded, and must not be taken for what somebody has declared."""
    gathered = facts.gather

    def scanned(*arguments: Any) -> Any:
        hits = (EntityHits(entity=Entity.CARD, rows=3, validated_rows=2),)
        return gathered(*arguments).model_copy(update={"scan": ScanReport(profile=ScanProfile.IDENTIFIERS, hits=hits)})

    monkeypatch.setattr("finetune_operator.domain.governance.judge.gather", scanned)
    job = world(view(policy()))
    for _ in range(3):
        assert told(job, "Ready")[1] in ("NamespaceNotCleared", "UndeclaredRegime")
        assert "UndeclaredRegime" in told(job, "Ready")[2]
        assert (job.status or {})["governance"]["classification"]["regimes"] == ["pci"]
        job.settle()
