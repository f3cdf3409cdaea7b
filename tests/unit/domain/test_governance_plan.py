"""What approvers are shown: data, need, difference to the last run by names only, and why; and what is told of it once."""

import json
from typing import Any

import pytest

from finetune_operator.api.governance.job import SpecMarks
from finetune_operator.domain.governance.difference import changed_since
from finetune_operator.domain.subject import parse_spec
from tests.unit.domain.governed import LABELS, approval, policy, told, view, world
from tests.unit.domain.world import World

ASKS = policy(approvals=[{"stage": "Train"}])


def governance(job: World) -> dict[str, Any]:
    found: dict[str, Any] = (job.status or {})["governance"]
    return found


def approved(job: World) -> None:
    job.step_through()
    job.governance = view(ASKS, approvals=(approval("bob", governance(job)["digest"]),))
    job.settle()
    job.finish()


def events(job: World, reason: str) -> list[str]:
    return [message for said, message in job.notes if said == reason]


def test_who_approves_sees_data_need_and_why() -> None:
    job = world(view(ASKS), justification="the router answers\ntoo slowly")
    job.step_through()
    message = told(job, "Ready")[2]
    for word in ("Plan:", "examples", "tokens", "min and", "GiB", "justification: 'the router answers too slowly'"):
        assert word in message
    assert "changed since" not in message


def test_a_second_run_tells_what_is_not_as_in_the_last_one_by_name() -> None:
    job = world(view(ASKS), training={"learningRate": "1e-4"})
    approved(job)
    assert told(job, "Ready")[1] == "RunSucceeded"
    assert governance(job).get("changed", []) == []
    job.change(training={"learningRate": "7.5e-4", "epochs": "5"}, dataset__inline__digest="sha256:" + "5" * 64)
    job.settle()
    assert governance(job)["changed"] == ["dataset.inline", "training.epochs", "training.learningRate"]
    job.step_through()
    message = told(job, "Ready")[2]
    assert "changed since run 1: dataset.inline, training.epochs, training.learningRate" in message
    assert "7.5e-4" not in message
    assert "7.5e-4" not in str(governance(job))


def test_how_it_runs_is_no_difference_and_a_field_that_is_taken_away_is_one() -> None:
    job = world(view(ASKS), training={"learningRate": "1e-4", "epochs": "5"})
    approved(job)
    job.change(runPolicy={"maxAttempts": 7})
    job.settle()
    assert governance(job).get("changed", []) == []
    job.change(training={"learningRate": "1e-4"})
    job.settle()
    assert governance(job)["changed"] == ["training.epochs"]


def test_a_field_that_nobody_set_is_no_difference_when_another_version_of_the_operator_knows_it() -> None:
    job = world(view(ASKS), training={"learningRate": "1e-4"})
    approved(job)
    marks = governance(job)["lastRun"]["marks"]
    assert "training.learningRate" in marks
    assert not {"training.seed", "training.scheduler", "justification", "suspend"} & set(marks)


def test_the_list_is_bounded_and_without_a_run_before_there_is_none() -> None:
    job = world(view(ASKS), training={"extraArguments": {"a": "1"}})
    wanted = parse_spec(json.dumps(job.spec))
    assert wanted is not None
    known = SpecMarks(run=1, marks={f"field.{number}": "0" for number in range(80)})
    assert len(changed_since(known, wanted, None)) == 32
    assert changed_since(None, wanted, None) == []


def test_a_policy_can_ask_why_and_an_edit_answers_without_another_run() -> None:
    asks = policy(requireJustification=True)
    job = world(view(asks), justification="  ")
    assert told(job, "Ready")[:2] == ("False", "JustificationMissing")
    assert job.created == []
    job.change(justification="the router answers too slowly")
    job.settle()
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"
    key = job.run["key"]
    job.change(justification="for the audit")
    job.settle()
    assert job.run["key"] == key


def test_another_justification_is_another_decision() -> None:
    job = world(view(ASKS), justification="one")
    job.step_through()
    digest = governance(job)["digest"]
    job.change(justification="another")
    job.settle()
    assert governance(job)["digest"] != digest


def test_what_an_auditing_policy_would_hold_is_one_event() -> None:
    audits = policy(mode="Audit", dataSources=["pvc://elsewhere"])
    job = world(view(audits))
    job.finish()
    job.governance = view(policy(generation=2, mode="Audit", dataSources=["pvc://elsewhere"]))
    job.settle()
    (message,) = events(job, "AuditFinding")
    assert "ResidencyViolation" in message
    assert "only audits" in message


def test_a_step_that_drifts_and_a_result_that_is_refused_are_one_event_each() -> None:
    job = world(view(policy()))
    job.run_pod()
    job.settle()
    job.governance = view(policy(generation=2, dataSources=["pvc://elsewhere"]))
    for _ in range(3):
        job.settle()
    assert len(events(job, "PolicyDrift")) == 1
    job.governance = view(policy())
    job.settle()
    job.finish()
    job.governance = view(policy(generation=3, dataSources=["pvc://elsewhere"]))
    for _ in range(3):
        job.settle()
    assert len(events(job, "ResidencyViolation")) == 1


@pytest.mark.parametrize("level", ["internal"])
def test_a_job_that_is_let_pass_makes_no_event_of_governance(level: str) -> None:
    job = world(view(policy()), {**LABELS, "finetune.dev/level": level})
    job.finish()
    assert not set(job.events) & {"AuditFinding", "PolicyDrift", "Allowed"}
