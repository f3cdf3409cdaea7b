"""Every state of a rollout's life as people and deploy tools see it: the conditions, the phase, the printed columns, and kstatus."""

from collections.abc import Callable

import pytest

from finetune_operator.api.adapterdeployment.status import Phase
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, JobStanding, RolloutObserved, Sibling
from tests.serving.rollout.checked_world import PICKLE, CheckedWorld, typed_spec
from tests.serving.rollout.merged_world import MergedWorld, merged_spec
from tests.serving.rollout.states import EXPECTED, SUMMARY, Seen, seen
from tests.serving.rollout.world import ALIAS, NOON, ONE, TWO, World, baking, serving, spec, version, with_truth
from tests.unit.domain.test_states import shown

APPROVAL = [{"weight": 10, "bakeSeconds": 30, "approval": True}]
QUIET = {"strategy__canary__steps": [{"weight": 10, "bakeSeconds": 30}]}


class Refused(World):
    """The API server takes no change of the servers."""

    def observe(self) -> RolloutObserved:
        return RolloutObserved(**{**vars(super().observe()), "refusal": "Deployment bot-server: denied by a policy"})


class Unprobed(World):
    """The operator's own requests are still under way."""

    def probe(self, name: str, requests: int) -> None:
        pass


def after(world: World, seconds: float, **changes: object) -> World:
    if changes:
        world.change(**changes)
    world.run(seconds)
    return world


def until(world: World, phase: str) -> World:
    world.run_until(phase)
    return world


def updated(world: World, seconds: float = 0.0) -> World:
    world.publish(TWO)
    return after(world, seconds)


def without(world: World, *, pods: bool = False, routers: bool = False) -> World:
    """Whoever answers is gone."""
    world.pods = {} if pods else world.pods
    world.routers = {} if routers else world.routers
    return after(world, 20)


def without_artifact(standing: JobStanding | None) -> World:
    world = World()
    world.job, world.standing = None, standing
    return after(world, 20)


def first_loads() -> World:
    world = World()
    world.slow_pods = set(world.pods)
    return after(world, 30)


def loading(world: World) -> World:
    world.slow_pods = set(world.pods)
    return updated(world, 30)


def applying() -> World:
    world = serving(strategy__canary__steps=[{"weight": 10, "bakeSeconds": 30}])
    world.routers["router-1"].lags = True
    return updated(world, 60)


def promoting() -> World:
    world = until(baking(5), "Promoting")
    world.routers["router-1"].lags = True
    return after(world, 30)


def silent(policy: str) -> World:
    world = serving(analysis__onInsufficientData=policy, **QUIET)
    world.rate = 0.0
    return updated(world, 900)


def probing() -> World:
    world = Unprobed(spec(analysis__onInsufficientData="Probe", analysis__checks={"errors": {}}, **QUIET))
    world.run_until("Healthy")
    world.rate = 0.0
    updated(world, 700)
    assert world.rollout["probing"]
    return world


def unsendable() -> World:
    world = serving(analysis__onInsufficientData="Probe", **QUIET)
    world.rate, world.may_probe = 0.0, False
    return updated(world, 900)


def schemaless() -> World:
    world = serving(analysis__checks={"schema": {"configMapRef": {"name": "answers"}}}, **QUIET)
    world.schema, world.schema_problem = None, "is not there"
    return updated(world, 60)


def unread(world: World) -> World:
    """Prometheus is away, and with it every router's counters."""
    world.unread = "spec.analysis.provider: Prometheus gives no counters"
    for router in world.routers.values():
        router.unreadable = True
    return world


def odd_one(world: World) -> World:
    world.odd_pods = {"server-1"}
    return updated(world, 30)


def rejected(world: World) -> World:
    """No pod takes what is about to be loaded."""
    for digest in (ONE, TWO):
        if version(digest) not in world.loaded():
            words = "adapter_config.json: r is 256. Raise maxLoraRank."
            world.refused[version(digest)] = HeldVersion(version(digest), HeldState.REJECTED, "UnsupportedRank", words)
    world.publish(TWO if world.stable else ONE)
    return after(world, 60)


def crowded() -> World:
    external = {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}
    world = World(spec(server={"external": external, "capacity": {"maxCpuLoras": 8, "maxLoras": 4}}))
    world.siblings = (Sibling("other", "u2", "other", NOON, versions=7),)
    return updated(until(world, "Healthy"), 60)


def taken() -> World:
    world = World()
    world.siblings = (Sibling("first", "u0", ALIAS, NOON.replace(hour=1)),)
    return after(world, 30)


def checking() -> World:
    world = CheckedWorld(typed_spec())
    world.run_until("Healthy")
    world.stuck = True
    world.type(TWO)
    return after(world, 30)


def unfit() -> World:
    world = CheckedWorld(typed_spec())
    world.run_until("Healthy")
    world.verdicts = [(PICKLE,)]
    world.type(TWO)
    return after(until(world, "Degraded"), 20)


def first_unfit() -> World:
    world = CheckedWorld(typed_spec())
    world.verdicts = [(PICKLE,)]
    return after(until(world, "Degraded"), 20)


def merging() -> World:
    world = MergedWorld(merged_spec())
    world.run_until("Healthy")
    world.stuck = True
    return updated(world, 30)


def failing(**changes: object) -> World:
    return updated(with_truth(serving(**changes), TWO, errors=0.4))


def refused_beneath() -> World:
    return after(refusing(serving()), 20)


def refusing(world: World) -> Refused:
    refused = Refused(world.spec)
    refused.__dict__.update(world.__dict__)
    return refused


def tripped() -> World:
    """A router has taken the canary's traffic away by itself."""
    world = baking(3)
    world.routers["router-1"].breaker_open = True
    until(world, "RollingBack").routers["router-1"].breaker_open = False
    return after(until(world, "Degraded"), 20)


def ended(order: str) -> World:
    world = baking(3)
    world.order(order)
    return after(until(world, "Degraded"), 20)


def late(world: World) -> World:
    world.slow_pods = set(world.pods)
    return updated(world, 200)


def edited(world: World) -> World:
    world.change(paused=True)
    return world


def draining(world: World) -> World:
    for process in world.routers.values():
        process.open_requests = 2
    world.deleted = True
    return after(world, 20)


def awaiting_promotion() -> World:
    world = until(World(spec(adapter__promotion="Approval", approvedVersion=ONE)), "Healthy")
    return updated(world, 60)


BUILT: dict[str, Callable[[], World]] = {
    "no artifact yet": lambda: without_artifact(JobStanding("Training")),
    "no such job": lambda: without_artifact(None),
    "the job's run did not pass its gate": lambda: without_artifact(JobStanding("Rejected", True, "GateRejected", "0.02 are missing.")),
    "the job's run failed": lambda: without_artifact(JobStanding("Failed", True, "Diverged", "the loss is no number.")),
    "the first version loads": first_loads,
    "no server pod": lambda: after(World(pods=0), 30),
    "no router": lambda: after(World(routers=0), 60),
    "the servers are refused, nothing serves": lambda: after(Refused(pods=0), 30),
    "healthy": serving,
    "healthy, its servers cannot be changed": refused_beneath,
    "serving, every pod lost": lambda: without(serving(), pods=True),
    "serving, every pod lost, none can be made": lambda: without(refusing(serving()), pods=True),
    "serving, every router lost": lambda: without(serving(), routers=True),
    "the files of a new version are read": checking,
    "a new version is merged": merging,
    "a new version loads": lambda: loading(serving()),
    "a new version answers otherwise on one pod": lambda: odd_one(serving()),
    "a new version lacks room": crowded,
    "held before the first step": lambda: updated(after(serving(), 10, paused=True), 60),
    "a route is being applied": applying,
    "shadow": lambda: baking(1),
    "baking": lambda: baking(3),
    "paused": lambda: after(baking(3), 20, paused=True),
    "a step awaits approval": lambda: updated(serving(strategy__canary__steps=APPROVAL), 600),
    "a version awaits approval": awaiting_promotion,
    "no data, Pause": lambda: silent("Pause"),
    "no data, Fail": lambda: silent("Fail"),
    "no data, Probe": probing,
    "no data, and no probe can be sent": unsendable,
    "the schema of answers cannot be used": schemaless,
    "no Prometheus before the bake": lambda: updated(unread(serving(analysis__provider="Prometheus", **QUIET)), 60),
    "no Prometheus in the bake": lambda: after(unread(baking(3)), 7200, analysis__provider="Prometheus"),
    "a check failed and a person decides": lambda: after(failing(rollback__automatic=False), 900),
    "promoting": promoting,
    "retaining": lambda: until(updated(serving()), "Retaining"),
    "rolling back": lambda: until(failing(), "RollingBack"),
    "rolled back": lambda: after(until(failing(), "Degraded"), 20),
    "a router's breaker opened": tripped,
    "aborted": lambda: ended("abort:1"),
    "too late": lambda: late(serving(progressDeadlineSeconds=60)),
    "the adapter is refused": lambda: rejected(serving()),
    "the first adapter is refused": lambda: rejected(World()),
    "the files are refused": unfit,
    "the first files are refused": first_unfit,
    "not evaluated": lambda: after(World(spec(adapter={"uri": "pvc://adapters/hot", "digest": TWO})), 30),
    "alias taken": taken,
    "invalid": lambda: after(serving(), 20, analysis__minRequests="many"),
    "invalid during a rollout": lambda: after(baking(3), 20, analysis__minRequests="many"),
    "invalid from the first": lambda: after(World(spec(analysis__minRequests="many")), 20),
    "edited and not yet seen": lambda: edited(serving()),
    "draining": lambda: draining(serving()),
}


def looked_at(world: World) -> Seen:
    found = world.resource
    columns = [column for column in ADAPTERDEPLOYMENT.columns if not column.wide and column.type != "date"]
    return seen(found, [shown(found, column.json_path) for column in columns])


@pytest.mark.parametrize("name", BUILT)
def test_a_state_looks_the_same_to_everybody(name: str):
    world = BUILT[name]()
    assert looked_at(world) == EXPECTED[name]
    reasons = {world.condition(kind)[1] for kind in SUMMARY}
    assert len(reasons) == 1, "the summary tells one state"


def test_every_state_has_its_row():
    assert list(EXPECTED) == list(BUILT)


def test_every_phase_is_seen():
    assert {row.phase for row in EXPECTED.values()} == set(Phase)


def test_current_is_what_serves_as_the_spec_asks_and_failed_is_what_waits_for_a_person():
    for name, row in EXPECTED.items():
        ready, reconciling, stalled = (row.summary.split()[place] == "+" for place in range(3))
        assert not (reconciling and stalled), name
        assert (row.kstatus == "Failed") is stalled, name
        assert (row.kstatus == "Current") <= ready, name
