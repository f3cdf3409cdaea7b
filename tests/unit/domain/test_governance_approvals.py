"""A prepared job waits for people: who counts, for what and for how long, and what they may waive."""

from typing import Any

import pytest

from finetune_operator.api.base import rfc3339
from finetune_trainer.contract.governance import Policy
from tests.unit.domain.governed import DIGEST, approval, policy, told, view, world
from tests.unit.domain.samples import NOON, words
from tests.unit.domain.world import World


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
            ({"name": "system:serviceaccount:clinic:bot"}, "service account"),
            ({"name": "eve", "stage": "Promote"}, "1 of 2"),
            ({"name": "eve", "subject": "other"}, "1 of 2"),
        ],
        ids=[
            "by the submitter",
            "twice by one",
            "for another decision",
            "expired",
            "by a service account",
            "for another stage",
            "for another job",
        ],
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
