"""A policy that is gone holds what was let pass under it; a gate that will never decide, and an Approval that nobody can read, are told."""

from typing import Any

import pytest

from finetune_operator.domain.governance.forecast import forecast
from finetune_trainer.contract.results import Verdict
from tests.unit.domain.governed import GOVERNED, LABELS, approval, dataset, policy, registered, told, view, world
from tests.unit.domain.world import NOON, World

ASKS = policy(approvals=[{"stage": "Train"}])
OTHER = policy("other")


def waiting(*policies: Any) -> World:
    """A job at internal that waits for people."""
    job = world(view(*(policies or (ASKS,))))
    job.step_through()
    assert told(job, "Ready")[1] == "AwaitingApproval"
    return job


def seen(job: World, *policies: Any, **changes: Any) -> tuple[str, str, str]:
    job.governance = view(*policies, **changes)
    job.settle()
    return told(job, "Ready")


@pytest.mark.parametrize("left", [(), (OTHER,)], ids=["none is left", "another one is left"])
def test_a_policy_that_is_deleted_while_a_job_waits_lets_it_not_go_on(left: tuple[Any, ...]) -> None:
    job = waiting(ASKS, *left)
    status, reason, message = seen(job, *left)
    assert (status, reason) == ("False", "PolicyGone")
    assert "policies[house]: 'house', under which it was accepted, is no more. Restore the policy; or delete the job" in message
    assert told(job, "Stalled")[0] == "True"
    assert [name for name in job.created if "train" in name] == []
    assert seen(job, ASKS, *left)[1] == "AwaitingApproval"


def test_a_policy_that_no_longer_matches_is_as_good_as_gone() -> None:
    job = waiting()
    elsewhere = policy(generation=2, match={"namespaceLabels": {"team": "red"}}, approvals=[{"stage": "Train"}])
    assert "no longer matches" in seen(job, elsewhere)[2]
    relabelled = view(
        policy(match={"namespaceLabels": {"team": "blue"}}, approvals=[{"stage": "Train"}]), labels={**GOVERNED, "team": "blue"}
    )
    there = world(relabelled)
    there.step_through()
    assert seen(there, *relabelled.policies, labels={**GOVERNED, "team": "red"})[1] == "PolicyGone"


def test_one_that_is_made_again_by_its_name_is_a_changed_one() -> None:
    job = waiting()
    digest = (job.status or {})["governance"]["digest"]
    again = ASKS.model_copy(update={"uid": "another"})
    given = (approval("bob", digest),)
    assert "ApprovalStale" in seen(job, again, approvals=given)[2]


def test_one_that_only_audited_and_one_that_is_set_to_audit_hold_nobody() -> None:
    audits = policy("looks", mode="Audit", approvals=[{"stage": "Train"}])
    job = waiting(ASKS, audits)
    assert seen(job, ASKS)[1] == "AwaitingApproval"
    job.governance = view(policy(generation=2, mode="Audit", approvals=[{"stage": "Train"}]))
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


@pytest.mark.parametrize(("level", "stopped"), [("internal", False), ("restricted", True)])
def test_a_running_step_is_drift_and_the_next_one_does_not_begin(level: str, *, stopped: bool) -> None:
    open_ = {"egress": "Open", "requireDigests": False, "zones": ["*"], "dataSources": ["*"], "requireEvaluation": False}
    data = (dataset(level=level),)
    both = [policy(name, licences={"allow": ["*"]}, **open_) for name in ("house", "other")]
    job = registered(view(*both, datasets=data), {**LABELS, "finetune.dev/level": level})
    job.step_through()
    job.run_pod()
    job.settle()
    name = job.active
    seen(job, both[1], datasets=data)
    assert told(job, "Governed")[0] == "False"
    assert "PolicyGone" in told(job, "Governed")[2]
    assert bool(job.jobs[name]["metadata"].get("deletionTimestamp")) is stopped
    if not stopped:
        assert told(job, "Governed")[1] == "PolicyDrift"
        job.end_pod()
        job.settle()
        assert told(job, "Ready")[:2] == ("False", "PolicyGone")
        assert job.created[-1] == name


def test_a_new_spec_and_a_new_job_are_decided_by_what_holds_then() -> None:
    job = waiting()
    assert seen(job)[1] == "PolicyGone"
    job.change(rerun="again")
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    assert "policies" not in job.run


def test_a_policy_that_has_only_refused_binds_nobody_when_it_goes() -> None:
    strict = policy("strict", dataSources=["pvc://elsewhere"])
    job = waiting()
    assert seen(job, ASKS, strict)[1] == "ResidencyViolation"
    assert seen(job, ASKS)[1] == "AwaitingApproval"


def test_a_result_outlives_the_policies_under_which_it_was_made() -> None:
    job = world(view(OTHER))
    job.finish()
    assert seen(job)[:2] == ("True", "RunSucceeded")
    assert told(job, "Governed")[0] == "True"


def test_the_plan_asks_only_what_holds_now() -> None:
    job = waiting()
    document = {
        "metadata": {"name": "ticket-router", "namespace": "support", "labels": LABELS, "annotations": job.annotations},
        "spec": job.spec,
        "status": job.status,
    }
    decision = forecast(document, view(OTHER), NOON).decision
    assert decision is not None
    assert [finding.rule for finding in decision.findings if finding.blocks] == []


def test_a_job_without_a_gate_is_refused_before_anything_begins_where_a_policy_asks_for_one() -> None:
    asks = policy(requireEvaluation=True)
    job = world(view(asks), evaluation={})
    assert job.created == []
    assert told(job, "Ready")[:2] == ("False", "GateMissing")
    assert "GateMissing: spec.evaluation.gates: names no gate" in told(job, "Ready")[2]
    assert "Set spec.evaluation.gates" in told(job, "Ready")[2]
    job.change(evaluation={"gates": {"improvement": {"metric": "SchemaCompliance"}}})
    job.settle()
    assert job.created != []
    assert told(job, "Governed")[:2] == ("True", "Allowed")


def test_a_policy_that_asks_for_a_gate_only_later_is_drift_and_takes_nothing_back() -> None:
    job = world(view(policy()), evaluation={})
    job.verdict = Verdict.NOT_GATED
    job.step_through()
    job.run_pod()
    seen(job, policy(generation=2, requireEvaluation=True))
    assert told(job, "Governed")[:2] == ("False", "PolicyDrift")
    assert "GateMissing: spec.evaluation.gates" in told(job, "Governed")[2]
    job.end_pod()
    job.settle()
    assert "GateMissing: gates: no gate has decided" in told(job, "Ready")[2]
    seen(job, policy())
    job.finish()
    assert seen(job, policy(generation=2, requireEvaluation=True))[1] == "RunSucceeded"


def unreadable(name: str, digest: str, *, whose: str = "ticket-router") -> dict[str, Any]:
    """As another version of the definition would have stored it; without a subject that can be read, where it is nobody's."""
    document = approval(name, digest, subject=whose)
    document["spec"]["stage"] = "Everything"
    if not whose:
        document["spec"].pop("subjectRef")
    return document


@pytest.mark.parametrize("whose", ["ticket-router", ""])
def test_an_approval_that_nobody_can_read_is_told_and_never_counts(whose: str) -> None:
    job = waiting()
    digest = (job.status or {})["governance"]["digest"]
    given = (unreadable("bob", digest, whose=whose), unreadable("zoe", digest, whose="another"))
    for _ in range(3):
        assert seen(job, ASKS, approvals=given)[1] == "AwaitingApproval"
    message = told(job, "Ready")[2]
    assert "ApprovalUnreadable: approvals: Approval 'bob' cannot be read: another version of its definition stored it" in message
    assert "given again by who gave it" in message
    assert "zoe" not in message
    assert [said for said, _ in job.notes].count("ApprovalUnreadable") == 1
    seen(job, ASKS, approvals=(*given, approval("carol", digest)))
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    assert "bob" not in str(job.status)
