"""What governance makes of the life of a run: refused at once with all findings, held after prepare, re-decided when something changes."""

import json
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_operator.api.base import rfc3339
from finetune_operator.api.governance.policy import GovernancePolicySpec
from finetune_operator.domain.decide import decide
from finetune_operator.domain.governance import facts
from finetune_operator.domain.governance.view import GovernanceView, read_policy
from finetune_operator.domain.observed import Observed
from finetune_trainer.contract import DataQuality, NameModel, ScanSummary
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import EntityHits, ScanReport, Site
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE, Entity, ScanProfile
from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat
from tests.unit.domain.samples import NOON, SETTINGS, spec, words
from tests.unit.domain.test_total import ODD, places, spoiled
from tests.unit.domain.world import World

GOVERNED = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "restricted", "finetune.dev/clearance.phi": "true"}
LABELS = {"finetune.dev/level": "internal", "finetune.dev/residency": "any"}
SUBMITTED = {"finetune.dev/submitted-by": "ann"}
PINNED = "registry.example/trainer@sha256:" + "1" * 64
DIGEST = "sha256:" + "2" * 64


def policy(name: str = "house", generation: int = 1, **spec: Any) -> Policy:
    return GovernancePolicySpec.model_validate(spec).to_policy(name, f"uid-{name}", generation)


def dataset(name: str = "tickets", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "support"}, "spec": {"uri": "pvc://data/tickets.jsonl", "level": "internal", **changes}}


def approval(name: str, digest: str, *, stage: str = "Train", subject: str = "ticket-router", **changes: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "support", "creationTimestamp": rfc3339(NOON)}
    said = {"stage": stage, "subjectRef": {"name": subject}, "subjectDigest": digest, "approver": name, "reason": "seen", **changes}
    return {"metadata": metadata, "spec": said}


def view(*policies: Policy, labels: dict[str, str] | None = None, datasets: tuple[Any, ...] = (), approvals: Any = ()) -> GovernanceView:
    known = {each["metadata"]["name"]: each for each in datasets}
    site, nodes = Site(residencies=("onprem",)), {"node-1": {LABEL_ZONE: "onprem"}}
    return GovernanceView(GOVERNED if labels is None else labels, policies, known, tuple(approvals), site, nodes, target_reached=True)


def world(seen: GovernanceView | None, labels: dict[str, str] | None = None, **changes: Any) -> World:
    made = World(spec=spec(**changes), settings=SETTINGS, governance=seen)
    made.labels, made.annotations = dict(LABELS if labels is None else labels), dict(SUBMITTED)
    made.settle()
    return made


def registered(seen: GovernanceView, labels: dict[str, str] | None = None, **changes: Any) -> World:
    """A job that uses the dataset ``tickets``."""
    document = spec(**changes)
    document["dataset"] = {"ref": {"name": "tickets"}, "validation": {"percent": 10}}
    made = World(spec=document, governance=seen)
    made.labels, made.annotations = dict(LABELS if labels is None else labels), dict(SUBMITTED)
    made.settle()
    return made


def told(world: World, kind: str) -> tuple[str, str, str]:
    found = next((each for each in (world.status or {})["conditions"] if each["type"] == kind), None)
    return (found["status"], found["reason"], found.get("message", "")) if found else ("", "", "")


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


class TestRegisteredData:
    def test_its_rows_format_and_digest_are_those_that_the_pods_get(self) -> None:
        job = registered(view(datasets=(dataset(format="Messages", digest=DIGEST),)))
        found = job.document["dataset"]
        assert (found["uri"], found["format"], found["digest"]) == ("pvc://data/tickets.jsonl", "Messages", DIGEST)
        assert "data" in job.claims

    def test_a_name_that_nobody_registered_is_said_and_waited_for(self) -> None:
        job = registered(view())
        assert job.created == []
        assert told(job, "Ready")[:2] == ("False", "DatasetMissing")
        assert "tickets" in told(job, "Ready")[2]
        job.governance = view(datasets=(dataset(),))
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_an_installation_without_governance_says_so(self) -> None:
        document = spec()
        document["dataset"] = {"ref": {"name": "tickets"}}
        job = World(spec=document)
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "GovernanceOff")
        assert told(job, "Stalled")[0] == "True"

    def test_a_governed_job_does_not_go_on_where_governance_was_switched_off(self) -> None:
        job = registered(view(datasets=(dataset(),)))
        job.step_through()
        job.governance = None
        job.run_pod()
        job.end_pod()
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "GovernanceOff")
        assert [name for name in job.created if "publish" in name] == []

    def test_another_version_by_the_same_name_says_nothing_about_the_rows_of_a_run(self) -> None:
        open_ = policy(egress="Open", requireDigests=False, zones=["*"], dataSources=["*"], licences={"allow": ["*"]})
        labels = {**LABELS, "finetune.dev/level": "confidential"}
        job = registered(view(open_, datasets=(dataset(level="confidential"),)), labels)
        job.step_through()
        job.run_pod()
        job.governance = view(open_, datasets=(dataset(level="public", uri="pvc://data/other.jsonl"),))
        job.settle()
        assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
        assert "DatasetNotRegistered" in told(job, "Governed")[2]
        assert (job.status or {})["governance"]["classification"]["level"] == "confidential"

    def test_it_governs_the_job_also_where_nothing_else_does(self) -> None:
        job = registered(view(labels={}, datasets=(dataset(level="restricted"),)), {})
        assert job.created == []
        assert told(job, "Ready")[1] == "NamespaceNotCleared"
        assert "NoMatchingPolicy" in told(job, "Ready")[2]

    def test_a_job_that_declares_less_than_its_data_are_is_refused(self) -> None:
        job = registered(view(policy(match={"minLevel": "public"}), datasets=(dataset(level="confidential"),)))
        assert told(job, "Ready")[1] == "ClassificationDowngrade"

    def test_another_dataset_is_another_run_and_the_same_one_is_not(self) -> None:
        job = registered(view(datasets=(dataset(), dataset("other"))))
        job.finish()
        first = job.run["key"]
        job.change(dataset__ref={"name": "other"})
        job.settle()
        assert job.run["key"] != first
        job.finish()
        job.change(dataset__ref={"name": "tickets"})
        job.settle()
        assert job.run["key"] == first
        assert told(job, "Ready")[1] == "ArtifactReused"

    def test_withdrawn_data_begin_nothing(self) -> None:
        job = registered(view(datasets=(dataset(withdrawn={"reason": "consent revoked"}),)))
        assert job.created == []
        assert told(job, "Ready")[:2] == ("False", "DatasetWithdrawn")
        assert "consent revoked" in told(job, "Ready")[2]
        assert told(job, "Stalled")[0] == "True"

    @pytest.mark.parametrize("steps", [1, 2], ids=["before training", "before publishing"])
    def test_withdrawn_meanwhile_they_are_drift_and_the_next_step_does_not_begin(self, steps: int) -> None:
        job = registered(view(datasets=(dataset(),)))
        for _ in range(steps - 1):
            job.step_through()
        job.run_pod()
        job.settle()
        running = job.active
        job.governance = view(datasets=(dataset(withdrawn={"reason": "consent revoked"}),))
        job.settle()
        assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
        job.end_pod()
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "DatasetWithdrawn")
        assert job.created[-1] == running

    def test_a_result_that_was_made_of_them_is_ready_no_more(self) -> None:
        job = registered(view(datasets=(dataset(),)))
        job.finish()
        job.governance = view(datasets=(dataset(withdrawn={"reason": "consent revoked"}),))
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "DatasetWithdrawn")

    @pytest.mark.parametrize(
        ("withdrawn", "refused"),
        [
            ({}, True),
            ({"digest": DIGEST}, True),
            ({"uri": "pvc://data/copy.jsonl", "digest": DIGEST}, True),
            ({"uri": "pvc://data/copy.jsonl"}, False),
            ({"digest": "sha256:" + "3" * 64}, False),
        ],
        ids=["same place", "same version", "a copy elsewhere", "other data", "an earlier version in the same place"],
    )
    def test_another_record_of_the_same_data_does_not_bring_them_back(self, withdrawn: dict[str, Any], *, refused: bool) -> None:
        old = dataset("old", withdrawn={"reason": "consent revoked"}, **withdrawn)
        job = registered(view(datasets=(dataset(digest=DIGEST), old)))
        assert ("DatasetWithdrawn" in told(job, "Governed")[2]) is refused

    def test_what_is_registered_about_a_place_holds_for_a_job_that_names_it_inline(self) -> None:
        job = world(view(policy(), datasets=(dataset(uri="pvc://tickets/train.jsonl", level="restricted", regimes=["phi"]),)))
        assert told(job, "Ready")[1] == "ClassificationDowngrade"
        assert (job.status or {})["governance"]["classification"]["regimes"] == ["phi"]

    def test_items_and_rows_held_out_are_registered_and_pinned_as_the_data_are(self) -> None:
        open_ = policy(egress="Open", zones=["*"], dataSources=["*"], licences={"allow": ["*"]}, requireEvaluation=False)
        labels = {**LABELS, "finetune.dev/level": "confidential"}
        items = {"uri": "pvc://data/items.jsonl"}
        records = (
            dataset(level="confidential", digest=DIGEST),
            dataset("items", level="confidential", digest="sha256:" + "3" * 64, **items),
        )
        job = registered(view(open_, datasets=records), labels, evaluation__dataset=items, baseModel__digest=DIGEST)
        assert "NotPinned: spec.evaluation.dataset.digest: is absent" in told(job, "Governed")[2]
        assert "DatasetNotRegistered" not in told(job, "Governed")[2]
        job.change(evaluation__dataset={**items, "digest": "sha256:" + "4" * 64})
        job.settle()
        assert "spec.evaluation.dataset.digest" not in told(job, "Governed")[2]
        assert "DatasetNotRegistered: spec.evaluation.dataset" in told(job, "Governed")[2]
        job.change(evaluation__dataset={**items, "digest": "sha256:" + "3" * 64})
        job.settle()
        assert "spec.evaluation.dataset" not in told(job, "Governed")[2]

    def test_withdrawn_rows_are_no_evaluation_items_either(self) -> None:
        items = dataset("items", uri="pvc://data/items.jsonl", withdrawn={"reason": "wrong labels"})
        job = registered(view(datasets=(dataset(), items)), evaluation__dataset={"uri": "pvc://data/items.jsonl"})
        assert "spec.evaluation.dataset" in told(job, "Governed")[2]

    def test_data_for_a_purpose_are_for_jobs_that_state_it(self) -> None:
        job = registered(view(datasets=(dataset(purposes=["triage", "search"], owner="dora@example.org"),)))
        assert told(job, "Ready")[:2] == ("False", "PurposeNotAllowed")
        for word in ("states no purpose", "triage, search", "dora@example.org"):
            assert word in told(job, "Ready")[2]
        job.change(purpose="ads")
        job.settle()
        assert "is for 'ads'" in told(job, "Ready")[2]
        job.change(purpose="triage")
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_two_records_about_the_same_data_both_hold(self) -> None:
        here = {"uri": "pvc://tickets/train.jsonl"}
        both = (dataset("one", purposes=["triage", "search"], **here), dataset("two", purposes=["ads", "triage"], **here))
        assert told(world(view(policy(), datasets=both), purpose="triage"), "Governed")[0] == "True"
        assert told(world(view(policy(), datasets=both), purpose="ads"), "Ready")[1] == "PurposeNotAllowed"
        apart = (*both, dataset("three", purposes=["search"], **here))
        assert "it is for none" in told(world(view(policy(), datasets=apart), purpose="triage"), "Ready")[2]

    def test_a_policy_that_begins_to_name_purposes_is_drift_until_the_job_states_one(self) -> None:
        job = registered(view(policy(), datasets=(dataset(),)))
        job.run_pod()
        job.settle()
        job.governance = view(policy(generation=2, purposes=["triage"]), datasets=(dataset(),))
        job.settle()
        assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
        job.change(purpose="triage")
        job.settle()
        assert told(job, "Governed")[:2] == ("True", "Allowed")

    def test_data_that_may_not_be_kept_any_more_begin_nothing(self) -> None:
        job = registered(view(datasets=(dataset(retainUntil=rfc3339(NOON)),)))
        assert job.created == []
        assert told(job, "Ready")[:2] == ("False", "RetentionExpired")

    def test_their_time_runs_out_while_it_trains_and_the_condition_says_so_in_time(self) -> None:
        job = registered(view(datasets=(dataset(retainUntil=rfc3339(NOON + timedelta(hours=1))),)))
        job.step_through()
        job.run_pod()
        job.settle()
        woken = job.decide().requeue_after
        assert woken is not None
        assert woken <= 3601
        job.tick(3601)
        job.settle()
        assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
        assert "RetentionExpired" in told(job, "Governed")[2]

    def test_what_was_trained_in_time_stays(self) -> None:
        job = registered(view(datasets=(dataset(retainUntil=rfc3339(NOON + timedelta(days=1))),)))
        job.finish()
        job.tick(2 * 86_400)
        job.settle()
        assert told(job, "Ready")[:2] == ("True", "RunSucceeded")

    def test_raw_text_is_no_conversation(self) -> None:
        job = registered(view(datasets=(dataset(format="Text"),)))
        assert told(job, "Ready")[1] == "InvalidSpec"
        assert "raw text" in told(job, "Ready")[2]

    def test_a_record_that_goes_changes_nothing_about_a_result_below_confidential(self) -> None:
        job = registered(view(datasets=(dataset(),)))
        job.finish()
        writes = job.writes
        job.governance = view()
        job.settle()
        assert told(job, "Ready")[:2] == ("True", "RunSucceeded")
        assert job.writes - writes <= 2


LLAMA = Licence(key="LicenseRef-scancode-llama-3.1-license-2024", category=LicenceCategory.PROPRIETARY_FREE)
MIT = Licence(key="MIT", category=LicenceCategory.PERMISSIVE)
UNKNOWN = Licence(key="qwen-research")
GPL = Licence(key="GPL-3.0-only", category=LicenceCategory.COPYLEFT)
TERMS = {"allow": ["Permissive"], "conditional": ["Proprietary Free"], "deny": ["Copyleft"]}
MODEL = "pvc://models/tiny-chat"


class TestBaseModel:
    def prepared(self, found: BaseModelFindings, terms: dict[str, Any], **changes: Any) -> World:
        job = world(view(policy(licences=terms)), **changes)
        job.run_pod()
        job.settle()
        job.end_pod(message=words("prepare", job.run["key"], base_model=found))
        job.settle()
        return job

    @pytest.mark.parametrize(
        ("licences", "reason"),
        [
            ((MIT,), ""),
            ((), "LicenceUnknown"),
            ((UNKNOWN,), "LicenceUnknown"),
            ((GPL,), "LicenceDenied"),
            ((MIT, GPL), "LicenceDenied"),
            ((LLAMA,), "AwaitingApproval"),
        ],
        ids=["allowed", "none found", "unknown", "denied", "one of two denied", "conditional"],
    )
    def test_its_licence_is_that_of_its_files(self, licences: tuple[Licence, ...], reason: str) -> None:
        job = self.prepared(BaseModelFindings(licences=licences), TERMS)
        assert told(job, "Governed")[0] == ("False" if reason else "True")
        assert not reason or told(job, "Ready")[1] == reason
        assert any("train" in name for name in job.created) is not bool(reason)

    def test_what_the_job_says_itself_can_only_speak_against_it(self) -> None:
        found = BaseModelFindings(claimed=MIT)
        assert told(self.prepared(found, TERMS, baseModel__licence="MIT"), "Ready")[1] == "LicenceUnknown"
        found = BaseModelFindings(licences=(MIT,), claimed=GPL)
        assert told(self.prepared(found, TERMS, baseModel__licence="gpl-3.0"), "Ready")[1] == "LicenceDenied"

    @pytest.mark.parametrize(
        ("stated", "reason"),
        [
            ({"licence": "LicenseRef-qwen-research"}, ""),
            ({"licence": "LicenseRef-qwen-research", "digest": "sha256:" + "ba" * 32}, ""),
            ({"licence": "LicenseRef-qwen-research", "digest": DIGEST}, "LicenceUnknown"),
            ({"licence": "LicenseRef-qwen-research", "uri": "pvc://models/other"}, "LicenceUnknown"),
        ],
        ids=["of this model", "of these files", "of other files", "of another model"],
    )
    def test_the_policy_can_state_it_instead(self, stated: dict[str, str], reason: str) -> None:
        terms = {**TERMS, "allow": ["LicenseRef-qwen-research"], "stated": [{"uri": MODEL, **stated}]}
        job = self.prepared(BaseModelFindings(licences=(UNKNOWN,)), terms)
        assert (told(job, "Governed")[0], told(job, "Governed")[1]) == (("False", reason) if reason else ("True", "Allowed"))

    def test_one_that_the_policy_states_and_denies_is_not_even_prepared(self) -> None:
        stated = [{"uri": MODEL, "licence": "LicenseRef-house", "category": "Copyleft"}]
        job = world(view(policy(licences={**TERMS, "stated": stated})))
        assert job.created == []
        assert told(job, "Ready")[1] == "LicenceDenied"

    def test_a_conditional_one_is_waived_for_this_decision(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(LLAMA,)), TERMS)
        given = [approval(name, (job.status or {})["governance"]["digest"], stage="Waive") for name in ("bob", "eve")]
        job.governance = view(policy(licences=TERMS), approvals=given)
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_what_it_asks_for_travels_with_the_artifact(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(LLAMA,)), {"allow": ["*"]})
        assert "LicenceObligation" in told(job, "Governed")[2]
        job.finish()
        (obligation,) = (job.status or {})["artifact"]["obligations"]
        assert obligation["namePrefix"] == "Llama"
        assert obligation["notice"] == "Built with Llama"
        assert obligation["licenceText"] is True
        assert obligation["attribution"].startswith("Llama 3.1 is licensed under")

    def test_a_model_that_wrote_the_rows_asks_too(self) -> None:
        written = [{"name": "big", "licence": LLAMA.key}, {"name": "small", "licence": "MIT"}]
        job = registered(view(policy(), datasets=(dataset(generatedBy=written),)))
        job.finish()
        assert [each["licence"] for each in (job.status or {})["artifact"]["obligations"]] == [LLAMA.key]
        plain = registered(view(policy(), datasets=(dataset(generatedBy=written[1:]),)))
        plain.finish()
        assert "obligations" not in (plain.status or {})["artifact"]

    @pytest.mark.parametrize(
        ("found", "word"),
        [
            (BaseModelFindings(formats=(WeightsFormat.PICKLE,)), "weights as Pickle"),
            (BaseModelFindings(formats=(WeightsFormat.OTHER,)), "weights as Other"),
            (BaseModelFindings(formats=(WeightsFormat.SAFETENSORS,), remote_code=True), "remote code"),
        ],
        ids=["pickles", "another format", "remote code"],
    )
    def test_one_that_would_run_code_is_named_by_the_decision(self, found: BaseModelFindings, word: str) -> None:
        job = world(view(policy()))
        job.run_pod()
        job.settle()
        job.end_pod(66, message=words("prepare", job.run["key"], 66, reason="NoSafetensors", base_model=found))
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "ModelRejected")
        assert told(job, "Governed")[:2] == ("False", "UnsafeModelFormat")
        assert word in told(job, "Governed")[2]

    def test_another_refusal_of_the_model_is_none_of_formats(self) -> None:
        job = world(view(policy()))
        job.run_pod()
        job.settle()
        job.end_pod(66)
        job.settle()
        assert told(job, "Ready")[1] == "ModelRejected"
        assert "UnsafeModelFormat" not in told(job, "Governed")[2]

    def test_what_an_earlier_model_was_says_nothing_about_the_next_one(self) -> None:
        job = self.prepared(BaseModelFindings(licences=(GPL,)), TERMS)
        assert told(job, "Ready")[1] == "LicenceDenied"
        job.change(baseModel__uri="pvc://models/other", runPolicy__concurrency="Replace")
        job.settle()
        job.collect()
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "baseModel" not in job.run["inputs"]


class TestReview:
    DEMAND = policy(review={"rows": 50})

    def test_training_waits_until_somebody_else_has_looked_at_the_rows_drawn(self) -> None:
        job = world(view(self.DEMAND))
        job.step_through()
        message = told(job, "Ready")[2]
        assert told(job, "Ready")[1] == "AwaitingApproval"
        for word in ("approve-review", "ReviewPending", "the first 50 rows of report 'sha256:4e4e"):
            assert word in message
        assert [name for name in job.created if "train" in name] == []
        digest = (job.status or {})["governance"]["digest"]
        for wrong in (approval("ann", digest, stage="Review"), approval("bob", DIGEST, stage="Review"), approval("bob", digest)):
            job.governance = view(self.DEMAND, approvals=(wrong,))
            job.settle()
            assert told(job, "Ready")[1] == "AwaitingApproval"
        job.governance = view(self.DEMAND, approvals=(approval("bob", digest, stage="Review"),))
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_a_review_is_no_approval_of_the_training(self) -> None:
        both = policy(review={"rows": 50}, approvals=[{"stage": "Train"}])
        job = world(view(both))
        job.step_through()
        assert "approve-train and approve-review" in told(job, "Ready")[2]
        digest = (job.status or {})["governance"]["digest"]
        job.governance = view(both, approvals=(approval("bob", digest, stage="Review"),))
        job.settle()
        assert "approve-train finetunejobs" in told(job, "Ready")[2]

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "review" not in (job.status or {})["dataset"]


class TestQuality:
    """The data of the sample: 240 examples, 200 are the least for the task, 12 repeat others (5 %), no item is among them."""

    @pytest.mark.parametrize(
        ("demand", "rule"),
        [
            ({}, None),
            ({"minExamples": 240}, None),
            ({"minExamples": 241}, "TooFewExamples"),
            ({"maxDuplicatePercent": 5}, None),
            ({"maxDuplicatePercent": 4}, "TooManyDuplicates"),
        ],
        ids=["nothing asked", "just enough", "one too few", "just few enough", "too many of the same"],
    )
    def test_data_that_fall_short_are_not_trained_on(self, demand: dict[str, Any], rule: str | None) -> None:
        job = world(view(policy(quality=demand)))
        job.step_through()
        if rule is None:
            assert told(job, "Governed")[0] == "True"
            return
        assert told(job, "Ready")[:2] == ("False", rule)
        assert [name for name in job.created if "train" in name] == []

    @pytest.mark.parametrize(
        ("found", "demand", "rule"),
        [
            ({"task_minimum": 1000}, {}, "TooFewExamples"),
            ({"evaluation_overlap": 2}, {"maxEvaluationOverlap": 2}, None),
            ({"evaluation_overlap": 3}, {"maxEvaluationOverlap": 2}, "EvaluationOverlap"),
            ({"evaluation_overlap": 3}, {"maxEvaluationOverlap": 2, "waivable": True}, "AwaitingApproval"),
        ],
        ids=["below the task's minimum", "overlap within bounds", "overlap", "overlap that can be waived"],
    )
    def test_what_prepare_counts_decides(self, found: dict[str, int], demand: dict[str, Any], rule: str | None) -> None:
        counts = {"examples": 240, "task_minimum": 200, "duplicates": 0, "evaluation_overlap": 0, **found}
        job = world(view(policy(quality=demand)))
        job.run_pod()
        job.settle()
        job.end_pod(message=words("prepare", job.run["key"], quality=DataQuality(**counts)))
        job.settle()
        assert told(job, "Governed")[0] == ("True" if rule is None else "False")
        assert rule is None or told(job, "Ready")[1] == rule

    def test_two_people_waive_a_shortfall_where_the_policy_lets_them(self) -> None:
        demand = policy(quality={"minExamples": 1000, "waivable": True})
        job = world(view(demand))
        job.step_through()
        assert told(job, "Ready")[1] == "AwaitingApproval"
        digest = (job.status or {})["governance"]["digest"]
        given = [approval(name, digest, stage="Waive") for name in ("bob", "eve")]
        job.governance = view(demand, approvals=given)
        job.settle()
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"
        assert "TooFewExamples" in told(job, "Governed")[2]

    def test_without_governance_nothing_of_it_is_in_status(self) -> None:
        job = world(None)
        job.finish()
        assert "quality" not in (job.status or {})["dataset"]


class TestApprovals:
    DEMAND = policy(approvals=[{"stage": "Train", "count": 2, "validForSeconds": 3600}])

    def waiting(self) -> tuple[World, str]:
        job = world(view(self.DEMAND))
        job.step_through()
        return job, (job.status or {})["governance"]["digest"]

    def approve(self, job: World, *given: dict[str, Any], demand: Policy | None = None) -> None:
        job.governance = view(demand or self.DEMAND, approvals=given)
        job.settle()

    def test_a_prepared_job_waits_and_says_who_may_and_for_what(self) -> None:
        job, digest = self.waiting()
        status, reason, message = told(job, "Ready")
        assert (status, reason) == ("False", "AwaitingApproval")
        for word in (digest, "approve-train", "finetunejobs/ticket-router", "ann", "0 of 2"):
            assert word in message
        assert told(job, "Governed")[:2] == ("False", "AwaitingApproval")
        assert told(job, "Stalled")[0] == "False"
        assert [name for name in job.created if "train" in name] == []

    def test_it_costs_one_status_and_one_event(self) -> None:
        plain = world(None)
        plain.finish()
        job, digest = self.waiting()
        self.approve(job, approval("bob", digest), approval("eve", digest))
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"
        assert job.writes - plain.writes <= 2

    def test_enough_others_let_it_go_on(self) -> None:
        job, digest = self.waiting()
        self.approve(job, approval("bob", digest))
        assert "1 of 2" in told(job, "Ready")[2]
        self.approve(job, approval("bob", digest), approval("eve", digest))
        assert job.active.endswith("train-1")

    @pytest.mark.parametrize(
        ("second", "word"),
        [
            ({"name": "ann"}, "submitter"),
            ({"name": "bob", "reason": "again"}, "1 of 2"),
            ({"name": "eve", "digest": DIGEST}, "another decision"),
            ({"name": "eve", "expiresAt": rfc3339(NOON)}, "expired"),
            ({"name": "eve", "stage": "Promote"}, "1 of 2"),
            ({"name": "eve", "subject": "other"}, "1 of 2"),
        ],
        ids=["by the submitter", "twice by one", "for another decision", "expired", "for another stage", "for another job"],
    )
    def test_what_does_not_count_is_said(self, second: dict[str, Any], word: str) -> None:
        job, digest = self.waiting()
        self.approve(job, approval("bob", digest), approval(**{"digest": digest, **second}))
        assert told(job, "Ready")[1] == "AwaitingApproval"
        assert word in told(job, "Ready")[2]

    def test_a_changed_policy_makes_them_stale(self) -> None:
        job, digest = self.waiting()
        given = (approval("bob", digest), approval("eve", digest))
        self.approve(job, *given, demand=policy(generation=2, approvals=[{"stage": "Train", "count": 2}], dataSources=["*"]))
        assert told(job, "Ready")[1] == "AwaitingApproval"
        assert "ApprovalStale" in told(job, "Ready")[2]
        assert (job.status or {})["governance"]["digest"] != digest

    def test_other_bytes_are_another_decision(self) -> None:
        _, digest = self.waiting()
        second = world(view(self.DEMAND))
        second.run_pod()
        second.settle()
        second.end_pod(message=_words_of_other_data(second))
        second.settle()
        assert (second.status or {})["governance"]["digest"] != digest

    def test_they_run_out_while_it_trains_and_the_condition_says_so(self) -> None:
        job, digest = self.waiting()
        self.approve(job, approval("bob", digest), approval("eve", digest))
        job.run_pod()
        job.settle()
        assert told(job, "Governed")[:2] == ("True", "Allowed")
        woken = job.decide().requeue_after
        assert woken is not None
        assert woken <= 3600
        job.tick(3601)
        job.settle()
        assert told(job, "Governed")[:2] == ("False", "PolicyDrift")

    def test_publishing_can_need_others(self) -> None:
        demand = policy(approvals=[{"stage": "Promote"}])
        job = world(view(demand))
        job.step_through()
        job.step_through()
        assert told(job, "Ready")[1] == "AwaitingApproval"
        assert "approve-promote" in told(job, "Ready")[2]
        assert "artifact" not in (job.status or {})
        self.approve(job, approval("bob", (job.status or {})["governance"]["digest"], stage="Promote"), demand=demand)
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"

    def test_a_finding_that_needs_approval_is_waived_by_two(self) -> None:
        demand = policy(scan="Identifiers")
        job = world(view(demand))
        job.step_through()
        assert told(job, "Ready")[1] == "AwaitingApproval"
        assert "approve-waive" in told(job, "Ready")[2]
        digest = (job.status or {})["governance"]["digest"]
        self.approve(job, approval("bob", digest, stage="Waive"), demand=demand)
        assert told(job, "Ready")[1] == "AwaitingApproval"
        self.approve(job, approval("bob", digest, stage="Waive"), approval("eve", digest, stage="Waive"), demand=demand)
        job.finish()
        assert told(job, "Ready")[1] == "RunSucceeded"
        assert "waived" in told(job, "Governed")[2] or "no findings" in told(job, "Governed")[2]


def _words_of_other_data(job: World) -> str:
    return words("prepare", job.run["key"]).replace("da" * 32, "db" * 32)


def _governed_documents() -> list[dict[str, Any]]:
    """A job before prepare, one that waits for approvals, and one that has ended: with all that is known of governance, as documents."""
    demand = policy(approvals=[{"stage": "Train"}])
    waiting = registered(view(demand, datasets=(dataset(),)))
    waiting.step_through()
    ended = registered(view(datasets=(dataset(),)))
    ended.finish()
    refused = registered(view(), {})
    stored = {"metadata": {"name": "house", "uid": "u", "generation": 1}, "spec": {"approvals": [{"stage": "Train", "count": 1}]}}
    word = approval("bob", DIGEST, expiresAt=rfc3339(NOON))
    known = {"policy": stored, "dataset": dataset(), "approval": word, "namespace": dict(GOVERNED)}
    return [{"resource": dict(job.observe().resource), **known} for job in (refused, waiting, ended)]


DOCUMENTS = _governed_documents()
PLACES = [places(document) for document in DOCUMENTS]


@given(st.data())
@hypothesis.settings(max_examples=150, deadline=None)
def test_anything_odd_in_what_governance_reads_gives_a_plan_that_can_be_written(data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(DOCUMENTS) - 1))
    odd = spoiled(DOCUMENTS[number], data.draw(st.sampled_from(PLACES[number])), data.draw(ODD))
    labels = {key: value for key, value in odd["namespace"].items() if isinstance(value, str)} if isinstance(odd["namespace"], dict) else {}
    seen = GovernanceView(labels, (read_policy(odd["policy"]),), {"tickets": odd["dataset"]}, (odd["approval"],), Site())
    plan = decide(Observed(resource=odd["resource"], settings=SETTINGS, governance=seen), NOON)
    json.dumps(plan.status)


class TestScan:
    """Rows 10 to 12: what prepare has found in the rows is decided upon before anything is trained."""

    def scanned(self, entire: bool = True, profile: str = "Identifiers", **found: tuple[int, int]) -> ScanSummary:
        kinds = {name.replace("_", "-"): counts for name, counts in found.items()}
        return ScanSummary(profile=profile, entire=entire, rows=264, report_digest=DIGEST, found=kinds)

    def prepared(self, job: World, scan: ScanSummary | None) -> World:
        job.end_pod(message=words("prepare", job.run["key"], scan=scan))
        job.settle()
        return job

    def trains(self, job: World) -> bool:
        return any(made["metadata"]["labels"]["finetune.dev/step"] == "train" for made in job.jobs.values())

    def test_what_is_declared_goes_on_and_what_is_not_is_denied_with_the_kind_and_the_remedy(self) -> None:
        cleared = {**GOVERNED, "finetune.dev/clearance.pii": "true"}
        declared = {**LABELS, "finetune.dev/regime.pii": "true"}
        denied = self.prepared(world(view(policy(), labels=cleared)), self.scanned(ssn=(3, 2)))
        assert told(denied, "Ready")[:2] == ("False", "UndeclaredRegime")
        assert told(denied, "Governed")[:2] == ("False", "UndeclaredRegime")
        assert "scan.ssn" in told(denied, "Ready")[2]
        assert "new record with the regime" in told(denied, "Ready")[2]
        assert not self.trains(denied)
        assert self.trains(self.prepared(world(view(policy(), labels=cleared), declared), self.scanned(ssn=(3, 2))))

    def test_a_raised_regime_counts_against_the_clearance(self) -> None:
        job = self.prepared(world(view(policy())), self.scanned(card=(1, 1)))
        assert {"UndeclaredRegime", "NamespaceNotCleared"} <= {each["rule"] for each in (job.status or {})["governance"]["findings"]}

    def test_what_only_looks_like_one_denies_nothing(self) -> None:
        assert self.trains(self.prepared(world(view(policy())), self.scanned(ssn=(3, 0), email=(40, 0), date=(9, 0))))

    @pytest.mark.parametrize(("found", "reason"), [({"npi": (1, 1)}, "UndeclaredRegime"), ({"mri": (1, 1)}, "")])
    def test_a_kind_that_only_another_release_knows_denies_nothing_but_makes_the_scan_less_than_entire(
        self, found: dict[str, tuple[int, int]], reason: str
    ) -> None:
        assert told(self.prepared(world(view(policy())), self.scanned(**found)), "Ready")[1] != "UndeclaredRegime" or reason
        asking = self.prepared(world(view(policy(scan="Identifiers"))), self.scanned(**found))
        assert ("ScanCoverageGap" in told(asking, "Ready")[2]) == (not reason)

    @pytest.mark.parametrize(
        ("claims", "found", "reason", "rule"),
        [
            (True, {"ssn": (2, 1)}, "DeidentificationRefuted", "DeidentificationRefuted"),
            (False, {"ssn": (2, 1)}, "", ""),
            (True, {"date": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (False, {"date": (4, 0)}, "", ""),
            (True, {"person": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (True, {"place": (4, 0)}, "AwaitingApproval", "DeidentificationDoubtful"),
            (False, {"person": (4, 0), "place": (4, 0), "organisation": (4, 0)}, "", ""),
            (True, {}, "", ""),
            (True, {"secret": (1, 0)}, "AwaitingApproval", "SecretInData"),
        ],
    )
    def test_a_claim_of_safe_harbor_is_refuted_by_a_checksum_and_doubted_by_a_form(
        self, claims: bool, found: dict[str, tuple[int, int]], reason: str, rule: str
    ) -> None:
        record = dataset(regimes=["phi"], claimsSafeHarbor=claims)
        job = self.prepared(registered(view(policy(), datasets=(record,))), self.scanned(**found))
        assert self.trains(job) == (not reason)
        if reason:
            assert told(job, "Ready")[1] == reason
            assert rule in told(job, "Ready")[2]

    def test_a_waiver_lets_pass_what_is_doubtful_and_not_what_is_refuted(self) -> None:
        record = dataset(regimes=["phi"], claimsSafeHarbor=True)
        for found, passes in (({"date": (4, 0)}, True), ({"ssn": (4, 1)}, False)):
            job = self.prepared(registered(view(policy(), datasets=(record,))), self.scanned(**found))
            digest = (job.status or {})["governance"]["digest"]
            waivers = [approval(name, digest, stage="Waive") for name in ("bob", "eve")]
            job.governance = view(policy(), datasets=(record,), approvals=waivers)
            job.settle()
            assert self.trains(job) == passes

    @pytest.mark.parametrize(
        ("level", "scan", "gap"),
        [
            ("internal", {}, False),
            ("internal", None, True),
            ("internal", {"entire": False}, True),
            ("internal", {"profile": "Clairvoyance"}, True),
            ("restricted", {}, True),
            ("restricted", {"profile": "IdentifiersAndNames"}, False),
        ],
    )
    def test_a_policy_that_asks_for_a_scan_is_told_of_every_gap(self, level: str, scan: dict[str, Any] | None, gap: bool) -> None:
        asks = {"scan": "IdentifiersAndNames" if level == "restricted" else "Identifiers"}
        demand = policy(zones=["*"], dataSources=["*"], requireDigests=False, egress="Open", licences={"allow": ["*"]}, **asks)
        labels = {**LABELS, "finetune.dev/level": level}
        job = registered(view(demand, datasets=(dataset(level=level),)), labels)
        self.prepared(job, None if scan is None else self.scanned(**scan))
        assert ("ScanCoverageGap" in told(job, "Governed")[2]) == gap, told(job, "Governed")
        assert self.trains(job) == (not gap)
        if level == "restricted" and gap:
            assert "the trainer image needs a model that finds names" in told(job, "Governed")[2]

    def test_counts_are_in_status_with_and_without_governance(self) -> None:
        for seen in (None, view(policy())):
            job = self.prepared(world(seen), self.scanned(email=(40, 0), date=(9, 0)))
            found = (job.status or {})["dataset"]["scan"]
            assert [each["entity"] for each in found["found"]] == ["date", "email"]
            assert (found["profile"], found["entire"], found["rows"]) == ("Identifiers", True, 264)
            assert "nameModel" not in found

    def test_who_looked_for_names_is_in_status(self) -> None:
        model = {"name": "en_site_names", "version": "1.2.3", "digest": DIGEST}
        scan = self.scanned(profile="IdentifiersAndNames", person=(3, 0)).model_copy(update={"name_model": NameModel(**model)})
        job = self.prepared(world(None), scan)
        assert (job.status or {})["dataset"]["scan"]["nameModel"] == model

    def test_without_governance_identifiers_hold_up_nothing(self) -> None:
        plain, clean = (self.prepared(world(None), scan) for scan in (self.scanned(card=(9, 9), secret=(1, 0)), None))
        for job in (plain, clean):
            job.finish()
            assert told(job, "Ready")[1] == "RunSucceeded"
        assert plain.writes == clean.writes
