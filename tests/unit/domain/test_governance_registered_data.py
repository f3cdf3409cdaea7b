"""Data that are registered: what a job gets of them, and what it is told when they are missing, other or withdrawn."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.api.base import rfc3339
from tests.unit.domain.governed import DIGEST, LABELS, dataset, policy, registered, told, view, world
from tests.unit.domain.samples import NOON, spec
from tests.unit.domain.world import World


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

    @pytest.mark.parametrize(
        ("place", "holds"),
        [
            ("pvc://tickets/2026", True),
            ("pvc://tickets/2026/09/train.jsonl", True),
            ("pvc://tickets/202", False),
            ("pvc://tickets/2026/09-a", False),
            ("pvc://others/2026", False),
        ],
        ids=["a folder that holds it", "a part of it", "a name that begins so", "a longer name", "another claim"],
    )
    def test_it_holds_for_parts_of_the_data_and_for_folders_that_hold_them(self, place: str, *, holds: bool) -> None:
        used = {"dataset__inline": {"uri": "pvc://tickets/2026/09", "digest": "sha256:" + "4" * 64}}
        record = dataset(uri=place, digest=DIGEST, level="restricted", withdrawn={"reason": "consent revoked"})
        said = told(world(view(policy(), datasets=(record,)), **used), "Governed")[2]
        assert ("ClassificationDowngrade" in said) is holds
        assert ("DatasetWithdrawn" in said) is holds

    def test_a_lower_record_of_the_same_data_lowers_nothing(self) -> None:
        known = dataset("known", level="restricted")
        job = registered(view(policy(), datasets=(dataset(level="public"), known)))
        assert told(job, "Ready")[1] == "ClassificationDowngrade"

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
