"""What a governed run's pods are told to decide by, and what the operator makes of a pod that refuses."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.api.base import rfc3339
from finetune_trainer.contract import CLASS_OF_EXIT, ExitCode, Refusal, RunSpec, TerminationMessage, digest_of
from finetune_trainer.contract.governance.facts import Probe, Stage
from finetune_trainer.contract.governance.order import Order
from finetune_trainer.contract.governance.preflight import Seen, decide_again
from tests.unit.domain.governed import approval, dataset, policy, registered, told, view, world
from tests.unit.domain.samples import NOON
from tests.unit.domain.world import World

CLOSED: dict[str, Any] = {"egress": "Closed", "nodeLabels": [{"key": "gpu.node-restriction.kubernetes.io/class", "values": ["a"]}]}
ONE = {"approvals": [{"stage": "Train", "count": 1}]}


def pod_of(job: World) -> dict[str, Any]:
    template: dict[str, Any] = job.jobs[job.active]["spec"]["template"]
    return template


def order_of(job: World) -> Order:
    return Order.from_json(pod_of(job)["metadata"]["annotations"]["finetune.dev/order"])


def as_seen(job: World, **changes: Any) -> Seen:
    run = RunSpec.from_json(json.dumps(job.documents[job.run["name"]]))
    return replace(Seen(run=run, node="node-1", egress=Probe.CLOSED, api_token=False), **changes)


def refuse(job: World, *rules: str, reason: str = "", lost: bool = False) -> None:
    """The preflight of the pod under way ends as the trainer's does."""
    name = job.run_pod()
    refusals = tuple(Refusal(rule=rule, field="somewhere", policy="house@1", remedy="Do something about it.") for rule in rules)
    message = TerminationMessage(
        step="preflight",
        run_key=job.run["key"],
        outcome=CLASS_OF_EXIT[ExitCode.DENIED],
        reason=reason or rules[0],
        message="the pod may not begin: 1 finding(s)",
        hint="Do something about it.",
        refusals=refusals,
    )
    status = job.pods[name]["status"]
    ended = {"exitCode": 78, "message": message.to_bounded_json(), "finishedAt": rfc3339(job.now)}
    status["initContainerStatuses"] = [{"name": "preflight", "state": {"terminated": ended}}]
    status |= {"phase": "Failed", "containerStatuses": [{"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}]}
    job.end_job(name, 78, f"Container preflight for pod support/{name}-x failed with exit code 78 matching FailJob rule at index 0")
    if lost:
        del job.pods[name]
        job.tick(10)


def test_every_step_is_told_by_what_it_was_let_begin_and_decides_the_same() -> None:
    nodes = {"node-1": {"gpu.node-restriction.kubernetes.io/class": "a"}, "node-2": {}}
    job = registered(replace(view(policy(**CLOSED), datasets=(dataset(),)), nodes=nodes))
    stages = {"prepare": Stage.ACCEPT, "train": Stage.START, "publish": Stage.PROMOTE}
    for step, stage in stages.items():
        order, (preflight,) = order_of(job), pod_of(job)["spec"]["initContainers"]
        assert job.active.endswith(f"-{step}-1")
        assert (order.facts.stage, order.run_key) == (stage, job.run["key"])
        assert [policy.name for policy in order.policies] == ["house"]
        text = pod_of(job)["metadata"]["annotations"]["finetune.dev/order"]
        assert preflight["args"][preflight["args"].index("--order-digest") + 1] == digest_of(text.encode())
        found = decide_again(order, as_seen(job), job.now)
        assert found.digest == order.decision
        assert not found.holds_up(stage)
        assert decide_again(order, as_seen(job, node="node-2"), job.now).holds_up(stage)
        job.step_through()
    assert told(job, "Ready")[1] == "RunSucceeded"


def test_the_order_of_a_training_is_the_decision_that_status_names_and_tells_no_justification() -> None:
    job = world(view(policy(**ONE)), justification="because ann said so")
    job.step_through()
    digest = (job.status or {})["governance"]["digest"]
    job.governance = view(policy(**ONE), approvals=[approval("bob", digest)])
    job.settle()
    order = order_of(job)
    assert (order.decision, order.facts.approvals[0].approver, order.nodes) == (digest, "bob", ())
    assert "ann said so" not in order.to_json()


def test_a_policy_that_only_audits_by_now_is_not_gone_for_the_pod() -> None:
    """It is not told of it, although the run was let pass under it."""
    job = world(view(policy(**ONE)))
    job.step_through()
    job.governance = view(policy(generation=2, mode="Audit", **ONE))
    job.settle()
    order = order_of(job)
    assert (job.run["policies"], order.policies) == (["house"], ())
    assert not decide_again(order, as_seen(job), job.now).holds_up(order.facts.stage)


def test_where_nothing_governs_nothing_is_told() -> None:
    for job in (world(None), world(view(labels={}))):
        assert "annotations" not in pod_of(job)["metadata"]
        assert "initContainers" not in pod_of(job)["spec"]
        assert all(volume["name"] != "order" for volume in pod_of(job)["spec"]["volumes"])


@pytest.mark.parametrize(
    ("rules", "reason", "wanted"),
    [
        (("ApiTokenMounted", "ResidencyViolation"), "", "ApiTokenMounted"),
        (("ApprovalStale",), "", "AwaitingApproval"),
        ((), "OrderDamaged", "PreflightRefused"),
        (("RuleOfAnotherVersion",), "", "PreflightRefused"),
    ],
)
def test_what_a_pod_alone_refuses_ends_the_run_with_its_rule_and_is_not_tried_again(
    rules: tuple[str, ...], reason: str, wanted: str
) -> None:
    job = world(view(policy(egress="Open")))
    refuse(job, *rules, reason=reason)
    job.settle()
    assert job.run["outcome"] == "Failed"
    for kind in ("Ready", "Governed"):
        assert told(job, kind)[:2] == ("False", wanted)
        assert "the pod may not begin" in told(job, kind)[2]
        assert "Do something about it" in told(job, kind)[2]
    assert told(job, "Failed")[0] == "True"
    assert [name for name in job.created if "-prepare-" in name] == [f"{job.run['name']}-prepare-1"]
    job.change(rerun="again")
    job.settle()
    assert job.run["number"] == 2


def test_the_refusal_survives_a_pod_that_is_gone_with_its_words() -> None:
    job = world(view(policy(egress="Open")))
    refuse(job, "ApiTokenMounted", lost=True)
    job.settle()
    assert told(job, "Ready")[:2] == ("False", "PreflightRefused")
    assert "refused to begin" in told(job, "Ready")[2]


def approved(job: World, **changes: Any) -> None:
    """Prepared, and let train."""
    job.step_through()
    digest = (job.status or {})["governance"]["digest"]
    job.governance = view(policy(**ONE), approvals=[approval("bob", digest, **changes)])
    job.settle()
    assert job.active.endswith("-train-1")


def test_what_the_operator_would_not_let_begin_either_by_now_waits_and_goes_on_once_it_is_settled() -> None:
    job = world(view(policy(**ONE)))
    approved(job, expiresAt=rfc3339(NOON + timedelta(hours=1)))
    job.tick(3601)
    refuse(job, "ApprovalStale")
    job.settle()
    assert job.run.get("outcome") is None
    assert told(job, "Ready")[:2] == ("False", "AwaitingApproval")
    assert job.run["interruption"]["reason"] == "AwaitingApproval"
    assert not job.active_jobs()
    digest = (job.status or {})["governance"]["digest"]
    job.governance = view(policy(**ONE), approvals=[approval("carol", digest)])
    job.settle()
    assert job.active.endswith("-train-2")
    assert order_of(job).facts.approvals[0].approver == "carol"
    job.finish()
    assert told(job, "Ready")[1] == "RunSucceeded"


STRICTER = policy(generation=2, approvals=[{"stage": "Train", "count": 1}])


def test_a_pod_that_has_not_begun_is_taken_back_when_a_policy_gets_stricter_and_a_running_one_is_not() -> None:
    waiting, running = (world(view(policy(approvals=[]))) for _ in range(2))
    for job in (waiting, running):
        job.step_through()
    waiting.pend_pod("0/1 nodes are available")
    running.run_pod()
    for job in (waiting, running):
        job.governance = view(STRICTER)
        job.settle()
        job.collect()
        job.settle()
    assert told(running, "Governed")[:2] == ("False", "PolicyDrift")
    assert running.active.endswith("-train-1")
    assert not waiting.active_jobs()
    assert told(waiting, "Ready")[:2] == ("False", "AwaitingApproval")
    assert waiting.run["interruption"]["reason"] == "PolicyDrift"
    assert "before it began" in waiting.run["interruption"]["message"]
    digest = (waiting.status or {})["governance"]["digest"]
    waiting.governance = view(STRICTER, approvals=[approval("bob", digest)])
    waiting.settle()
    assert order_of(waiting).policies[0].generation == 2
    waiting.finish()
    assert told(waiting, "Ready")[1] == "RunSucceeded"


def test_a_pod_that_waits_for_a_node_is_left_to_wait_when_there_is_none_any_more() -> None:
    job = world(view(policy(zones=["onprem"])))
    job.step_through()
    job.pend_pod("0/1 nodes are available")
    job.governance = replace(view(policy(zones=["onprem"])), nodes={})
    job.settle()
    job.collect()
    job.settle()
    assert "NoCompliantNode" in told(job, "Governed")[2]
    assert job.active.endswith("-train-1")
