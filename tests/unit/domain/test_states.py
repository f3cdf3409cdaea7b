"""Every state of the life cycle as people and deploy tools see it: Ready, its reason, the phase, kstatus, the step shown."""

from collections.abc import Callable

import pytest

from finetune_trainer.contract import Verdict
from tests.unit.domain.samples import spec
from tests.unit.domain.world import World, begun, finished, training, warn


def kstatus(world: World) -> str:
    """The rules of sigs.k8s.io/cli-utils for custom resources, in their order."""
    status = world.status
    if not status:
        return "Current"
    if status["observedGeneration"] != world.generation:
        return "InProgress"
    found = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if found["Reconciling"] == "True":
        return "InProgress"
    if found["Stalled"] == "True":
        return "Failed"
    return "Current" if found["Ready"] == "True" else "InProgress"


def prepared() -> World:
    world = begun()
    world.step_through()
    return world


def publishing() -> World:
    world = training()
    world.end_pod()
    world.settle()
    return world


def judged(verdict: Verdict) -> World:
    world = begun()
    world.verdict = verdict
    world.finish()
    return world


def ended(code: int, **changes: object) -> World:
    world = training(**changes)
    world.end_pod(code)
    world.settle()
    return world


def suspended() -> World:
    world = training()
    world.change(suspend=True)
    world.settle()
    world.collect()
    world.settle()
    return world


def suspending() -> World:
    world = training()
    world.change(suspend=True)
    world.settle()
    return world


def cancelled() -> World:
    world = training()
    world.change(runPolicy={"cancel": 1})
    world.settle()
    return world


def edited_while_training() -> World:
    world = training()
    world.change(rerun="next")
    world.settle()
    return world


def edited_after_success() -> World:
    world = finished()
    world.change(rerun="next")
    world.settle()
    return world


def reverted() -> World:
    world = edited_after_success()
    world.finish()
    world.change(rerun="")
    world.settle()
    return world


def out_of_quota() -> World:
    world = begun()
    warn(world, world.active, "Job", "FailedCreate", 'pods "x" is forbidden: exceeded quota: small')
    world.settle()
    return world


def unschedulable() -> World:
    world = prepared()
    world.pend_pod("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    world.tick(5)
    world.settle()
    return world


def queued() -> World:
    world = begun(queueName="gpu")
    world.step_through()
    world.jobs[world.active]["spec"]["suspend"] = True
    world.settle()
    return world


def invalid() -> World:
    world = World(spec=spec(artifact={}))
    world.settle()
    return world


def name_taken() -> World:
    world = prepared()
    other = World()
    other.taken = {world.active.replace("train", "prepare")}
    other.settle()
    return other


STATES: dict[str, tuple[Callable[[], World], str, str, str, str, str | None]] = {
    "preparing": (begun, "False", "Preparing", "Preparing", "InProgress", None),
    "prepared, train pod not yet running": (prepared, "False", "Starting", "Queued", "InProgress", "0/300"),
    "in the queue": (queued, "False", "Queued", "Queued", "InProgress", "0/300"),
    "no node fits": (unschedulable, "False", "WaitingForNode", "Queued", "InProgress", "0/300"),
    "training": (training, "False", "Training", "Training", "InProgress", "0/300"),
    "evicted": (lambda: ended(75), "False", "Interrupted", "Interrupted", "InProgress", "0/300"),
    "out of memory once": (lambda: ended(70), "False", "Retrying", "Interrupted", "InProgress", "0/300"),
    "node lost": (lambda: ended(137), "False", "PodLost", "Interrupted", "InProgress", "0/300"),
    "disk full once": (lambda: ended(74), "False", "Retrying", "Interrupted", "InProgress", "0/300"),
    "publishing": (publishing, "False", "Publishing", "Publishing", "InProgress", "300/300"),
    "ready": (finished, "True", "RunSucceeded", "Ready", "Current", "300/300"),
    "rejected by its gate": (lambda: judged(Verdict.FAIL), "False", "GateRejected", "Rejected", "Failed", "300/300"),
    "held by its gate": (lambda: judged(Verdict.INCONCLUSIVE), "False", "GateInconclusive", "Held", "Failed", "300/300"),
    "not gated": (lambda: judged(Verdict.NOT_GATED), "True", "RunSucceeded", "Ready", "Current", "300/300"),
    "diverged": (lambda: ended(71), "False", "Diverged", "Failed", "Failed", "0/300"),
    "attempts exhausted": (
        lambda: ended(137, runPolicy={"maxAttempts": 1}), "False", "AttemptsExhausted", "Failed", "Failed", "0/300",
    ),
    "suspending": (suspending, "False", "Suspending", "Suspended", "InProgress", "0/300"),
    "suspended": (suspended, "False", "Suspended", "Suspended", "InProgress", "0/300"),
    "cancelled": (cancelled, "False", "Cancelled", "Cancelled", "Failed", "0/300"),
    "a newer spec waits": (edited_while_training, "False", "NewerSpecWaiting", "Training", "InProgress", "0/300"),
    "a newer spec runs": (edited_after_success, "False", "Preparing", "Preparing", "InProgress", None),
    "taken back to what succeeded": (reverted, "True", "ArtifactReused", "Ready", "Current", "300/300"),
    "quota used up": (out_of_quota, "False", "QuotaExceeded", "Preparing", "InProgress", None),
    "invalid": (invalid, "False", "InvalidSpec", "Failed", "Failed", None),
    "name taken": (name_taken, "False", "NameTaken", "Pending", "Failed", None),
    "running under WhenAccepted": (
        lambda: training(healthPolicy="WhenAccepted"), "True", "SpecAccepted", "Training", "Current", "0/300",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_a_state_looks_the_same_to_everybody(name: str):
    build, ready, reason, phase, verdict, step = STATES[name]
    world = build()
    assert world.status is not None
    assert world.says("Ready") == (ready, reason)
    assert world.status["phase"] == phase
    assert kstatus(world) == verdict
    assert world.status.get("currentRun", {}).get("stepText") == step
    assert len(world.status["conditions"]) == 12


def test_after_an_edit_the_old_ready_no_longer_satisfies_a_wait():
    world = finished()
    world.change(rerun="next")
    assert kstatus(world) == "InProgress"
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 2)
