"""Every state of the life cycle as people and deploy tools see it: Ready, its reason, the phase, kstatus, the step shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from finetune_operator.api.crd import FINETUNEJOB
from finetune_operator.api.reasons import Reason
from finetune_operator.domain.observed import Rejection
from finetune_trainer.contract import Verdict
from finetune_trainer.contract.governance import RuleId
from tests.kstatus import kstatus
from tests.unit.domain.samples import spec
from tests.unit.domain.world import World, begun, finished, training, warn


def read(world: World) -> str:
    """What kstatus makes of it."""
    return kstatus({"metadata": {"generation": world.generation}, "status": world.status})


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


def figures(world: World) -> World:
    world.report(120)
    world.settle()
    return world


def blocked(world: World, message: str | None = None, *, waiting: tuple[str, str] | None = None) -> World:
    """The pod of the active Job does not start, for longer than anybody's patience."""
    world.pend_pod(message, waiting=waiting)
    world.tick(5)
    world.settle()
    return world


def unmounted(message: str, **changes: object) -> World:
    world = begun(**changes)
    warn(world, f"{world.pend_pod()}-x", "Pod", "FailedMount", message)
    world.tick(5)
    world.settle()
    return world


def uncreated(message: str) -> World:
    world = begun()
    warn(world, world.active, "Job", "FailedCreate", message)
    world.settle()
    return world


def refused(kind: Literal["Forbidden", "Invalid"]) -> World:
    """The API server does not take the first children."""
    world = World()
    plan = world.decide()
    world.rejections = (Rejection(plan.creates[1].reference, kind, "denied by a policy", world.now),)
    world.status = dict(world.decide().status or {})
    return world


def refused_in_prepare(code: int) -> World:
    world = begun()
    world.end_pod(code)
    world.settle()
    return world


def repeatedly(world: World, code: int, times: int, **fields: str) -> World:
    for _ in range(times):
        world.run_pod()
        world.end_pod(code, **fields)
        world.settle()
        world.tick(400)
        world.settle()
    return world


def deleted() -> World:
    world = training()
    world.lose(world.active)
    world.settle()
    return world


def being_deleted() -> World:
    world = training()
    world.jobs[world.active]["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    world.settle()
    return world


def preempted_idly() -> World:
    world = training()
    for _ in range(2):
        world.end_pod(75)
        world.settle()
    return world


def on_a_dead_node() -> World:
    world = figures(training())
    world.pods[world.active]["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    world.settle()
    return world


def out_of_time() -> World:
    world = figures(training(runPolicy={"activeDeadlineSeconds": 100}))
    world.tick(100)
    world.settle()
    return world


def elsewhere() -> World:
    world = blocked(prepared(), "0/3 nodes are available")
    world.change(resources={"gpusPerNode": 1})
    world.settle()
    return world


def making_way() -> World:
    world = blocked(begun(), 'persistentvolumeclaim "tickets" not found')
    world.change(dataset__inline__uri="pvc://other/train.jsonl")
    world.settle()
    return world


def replaced_and_held() -> World:
    """Replaced by a newer spec, which is taken back while nothing may start."""
    world = training(runPolicy={"concurrency": "Replace"})
    world.change(rerun="next")
    world.settle()
    world.change(rerun="", suspend=True)
    world.settle()
    return world


def held_before_the_first_run() -> World:
    world = World(spec=spec(suspend=True))
    world.settle()
    return world


BUILT: dict[str, Callable[[], World]] = {
    "preparing": begun,
    "prepared, train pod not yet running": prepared,
    "in the queue": queued,
    "no node fits": unschedulable,
    "its volume is not bound": lambda: blocked(prepared(), "pod has unbound immediate PersistentVolumeClaims: volume"),
    "its volume is not mounted": lambda: unmounted("MountVolume.SetUp failed: timed out"),
    "its image cannot be pulled": lambda: blocked(begun(), waiting=("ErrImagePull", "not found")),
    "its claim does not exist": lambda: blocked(begun(), 'persistentvolumeclaim "tickets" not found'),
    "its schema does not exist": lambda: unmounted('configmap "ticket-schema" not found'),
    "its secret does not exist": lambda: unmounted('secret "hub" not found'),
    "quota used up": out_of_quota,
    "the pod is refused by a policy": lambda: uncreated('pods "x" is forbidden: violates PodSecurity'),
    "the container is refused by the node": lambda: blocked(begun(), waiting=("CreateContainerError", "no")),
    "the right to create it is missing": lambda: refused("Forbidden"),
    "a child is refused": lambda: refused("Invalid"),
    "name taken": name_taken,
    "resources corrected before its pod started": elsewhere,
    "making way for the corrected spec": making_way,
    "training": training,
    "training, with figures": lambda: figures(training()),
    "training under WhenAccepted": lambda: figures(training(healthPolicy="WhenAccepted")),
    "a newer spec waits": edited_while_training,
    "evicted": lambda: ended(75),
    "preempted twice without a new checkpoint": preempted_idly,
    "on a dead node": on_a_dead_node,
    "its Job is being deleted": being_deleted,
    "its Job was deleted": deleted,
    "out of memory once": lambda: ended(70),
    "node lost": lambda: ended(137),
    "disk full once": lambda: ended(74),
    "an unexpected error once": lambda: ended(1),
    "suspending": suspending,
    "suspended": suspended,
    "suspended before the first run": held_before_the_first_run,
    "replaced, taken back and suspended": replaced_and_held,
    "publishing": publishing,
    "ready": finished,
    "not gated": lambda: judged(Verdict.NOT_GATED),
    "taken back to what succeeded": reverted,
    "a newer spec runs": edited_after_success,
    "rejected by its gate": lambda: judged(Verdict.FAIL),
    "held by its gate": lambda: judged(Verdict.INCONCLUSIVE),
    "data rejected": lambda: refused_in_prepare(65),
    "base model rejected": lambda: refused_in_prepare(66),
    "configuration rejected": lambda: refused_in_prepare(64),
    "diverged": lambda: ended(71),
    "out of memory": lambda: repeatedly(training(), 70, 3),
    "out of memory of the host": lambda: repeatedly(training(), 137, 3, reason="OOMKilled"),
    "disk full": lambda: repeatedly(training(), 74, 3),
    "attempts exhausted": lambda: repeatedly(training(), 137, 3),
    "an unexpected error": lambda: repeatedly(training(), 1, 3),
    "out of time": out_of_time,
    "cancelled": cancelled,
    "invalid": invalid,
}

STATES = Path(__file__).with_name("states.txt")
"""By state: how the summary tells it, its reason, the phase; the figures shown; the conditions of the steps, where + is True, - False,
? Unknown, and a lone ? is ?NotStarted; then Accepted or Suspended where it says something else than +Accepted and -NotSuspended."""

SUMMARY = ("Ready", "Reconciling", "Stalled", "Complete", "Failed")
STEPS = ("Prepared", "Admitted", "Trained", "Evaluated", "Published")
TOLD = {
    "goes on": "- + -InProgress -InProgress -InProgress",
    "is deployed": "+ - -InProgress -InProgress -InProgress",
    "is stuck": "- - + - -",
    "has failed": "- - + - +",
    "is done": "+ - - + -",
}
"""How the summary conditions tell a state; without a reason of their own they give that of Ready."""
KSTATUS = {"goes on": "InProgress", "is deployed": "Current", "is stuck": "Failed", "has failed": "Failed", "is done": "Current"}
"""What deploy tools make of it."""
STATUS = {"+": "True", "-": "False", "?": "Unknown"}


@dataclass(frozen=True)
class Expected:
    """A row of the table: the conditions are (status, reason) by type, the columns what ``kubectl get`` prints."""

    kstatus: str
    phase: str
    conditions: dict[str, tuple[str, str]]
    columns: dict[str, str]


def expected(row: str) -> tuple[str, Expected]:
    name, told, reason, phase, figures, steps, rest = (cell.strip() for cell in row.split("|"))
    conditions = {"Accepted": ("True", "Accepted"), "Suspended": ("False", "NotSuspended")}
    conditions |= {kind: (STATUS[say[0]], say[1:] or reason) for kind, say in zip(SUMMARY, TOLD[told].split(), strict=True)}
    conditions |= {kind: (STATUS[say[0]], say[1:] or "NotStarted") for kind, say in zip(STEPS, steps.split(), strict=True)}
    if rest:
        conditions["Accepted" if "Invalid" in rest else "Suspended"] = (STATUS[rest[0]], rest[1:])
    step, loss, eta = (figure.replace("-", "") for figure in figures.split())
    shown = {"Ready": conditions["Ready"][0], "Reason": reason, "Stage": "", "Tuner": "LoRA", "Step": step, "Loss": loss, "ETA": eta}
    return name, Expected(KSTATUS[told], phase, conditions, shown)


EXPECTED = dict(expected(row) for row in STATES.read_text().splitlines()[1:])


def shown(document: Any, json_path: str) -> str:
    """What ``kubectl get`` prints for a column: the value at the path, or nothing."""
    found = document
    for name, kind in re.findall(r"\.(\w+)(?:\[\?\(@\.type==\"(\w+)\"\)\])?", json_path):
        found = found.get(name) if isinstance(found, dict) else None
        if kind:
            found = next((item for item in found or [] if item["type"] == kind), None)
    return "" if found is None else str(found)


@pytest.mark.parametrize("name", BUILT)
def test_a_state_looks_the_same_to_everybody(name: str):
    world, wanted = BUILT[name](), EXPECTED[name]
    assert world.status is not None
    assert {condition["type"]: (condition["status"], condition["reason"]) for condition in world.status["conditions"]} == wanted.conditions
    assert world.status["phase"] == wanted.phase
    assert read(world) == wanted.kstatus
    document = {"metadata": {}, "spec": world.spec, "status": world.status}
    printed = {
        column.name: shown(document, column.json_path) for column in FINETUNEJOB.columns if not column.wide and column.type == "string"
    }
    assert printed == wanted.columns


def test_every_state_has_its_row():
    assert list(EXPECTED) == list(BUILT)


GOVERNED = (
    Reason.ALLOWED,
    Reason.AWAITING_APPROVAL,
    Reason.POLICY_DRIFT,
    Reason.AUDIT_FINDING,
    Reason.DATASET_MISSING,
    Reason.GOVERNANCE_OFF,
    Reason.RECORD_REFUSED,
    Reason.PREFLIGHT_REFUSED,
)
"""They and the rules are reasons only where governance has a say: see tests/unit/domain/test_governance*.py."""


TRACKING = (Reason.TRACKED, Reason.TRACKER_UNREACHABLE)
"""Only where a tracker is named: see tests/unit/domain/test_tracking.py."""


def test_every_reason_is_seen_in_some_state():
    said = {reason for wanted in EXPECTED.values() for _, reason in wanted.conditions.values()}
    assert said == set(Reason) - set(RuleId) - {*GOVERNED, *TRACKING}


def test_after_an_edit_the_old_ready_no_longer_satisfies_a_wait():
    world = finished()
    world.change(rerun="next")
    assert read(world) == "InProgress"
    world.settle()
    ready = world.condition("Ready")
    assert (ready["status"], ready["observedGeneration"]) == ("False", 2)
