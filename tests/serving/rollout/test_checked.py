"""A typed uri: its files are read before any server is made for them, or told of them, and what was found is not asked again."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.domain.children import Unscheduled
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.rollout.checking import awaits_check
from tests.serving.rollout.checked_world import PICKLE, RANK, CheckedWorld, typed_spec
from tests.serving.rollout.merged_world import MergedWorld
from tests.serving.rollout.test_crashes import essence, promises
from tests.serving.rollout.world import NOON, ONE, THREE, TWO, Behaviour, World, version

FAST: dict[str, Any] = {
    "rollback__keepStableLoadedSeconds": 0,
    "rollback__drainTimeoutSeconds": 20,
    "strategy__canary__steps": [{"weight": weight, "bakeSeconds": 10} for weight in (5, 20, 40, 60, 80)],
}


def serving(**changes: Any) -> CheckedWorld:
    world = CheckedWorld(typed_spec(**{**FAST, **changes}))
    world.rate = 200.0
    world.run_until("Healthy")
    return world


def test_the_first_version_is_read_then_servers_are_made_then_it_answers():
    world = CheckedWorld()
    world.settle()
    assert (world.rollout["stage"], world.phase, world.condition("Ready")[1]) == ("Checking", "Checking", "Checking")
    assert "desired" not in (world.status or {})
    assert awaits_check(world.observe()), "so that no server is made"
    assert len(world.created) == 1
    world.run_until("Healthy")
    assert world.stable == version(ONE)
    assert [known["digest"] for known in (world.status or {})["checked"]] == [ONE]
    assert len(world.created) == 1


def test_an_update_is_read_while_stable_answers_and_no_server_hears_of_it_before():
    world = serving()
    written = len(world.writes)
    world.stuck = True
    world.type(TWO)
    world.run(30)
    assert world.rollout["stage"] == "Checking"
    assert version(TWO) not in str((world.status or {})["desired"])
    assert world.condition("Loaded")[0] == "True"
    world.stuck = False
    world.run_until("Healthy")
    assert world.stable == version(TWO)
    assert len(world.writes) - written + 1 <= 25, "with the Job"


@pytest.mark.parametrize("first", [True, False])
def test_what_cannot_be_served_is_refused_with_field_reason_and_way_out_and_nothing_is_made(first: bool):
    world = CheckedWorld() if first else serving()
    world.verdicts = [(PICKLE, RANK)]
    if not first:
        world.type(TWO)
    world.run_until("Degraded")
    for kind in ("Ready", "Stalled", "Accepted"):
        status, reason, message = world.condition(kind)
        assert (status, reason) == ("True" if kind == "Stalled" else "False", "ArtifactRefused")
        assert "PickleRefused: adapter_model.bin: loading it can run code. Save it again as safetensors." in message
        assert "RankTooHigh" in message
    refused = ONE if first else TWO
    assert (world.status or {})["failedVersions"][0]["digest"] == refused
    assert version(refused) not in str((world.status or {}).get("desired"))
    assert first is not bool(world.pods)
    assert awaits_check(world.observe()), "so that no server is made, where none is"
    world.run(600)
    assert len(world.created) == 1 + (not first)


def test_after_a_refusal_another_limit_is_looked_at_by_itself_and_the_same_one_with_retry():
    world = CheckedWorld()
    world.verdicts = [(RANK,), (RANK,)]
    world.run_until("Degraded")
    world.change(retry="again")
    world.run(60)
    assert world.phase == "Degraded"
    assert [name.rsplit("-", 1)[1] for name in world.created] == ["1", "2"], "a refusal is not taken up: the files may have been mended"
    world.change(server={"managed": {"engine": "Transformers", "replicas": 3}, "capacity": {"maxLoraRank": 128}})
    world.run_until("Healthy")
    assert len(world.created) == 3


def test_what_was_read_once_is_not_read_again():
    world = serving()
    world.type(TWO)
    world.run_until("Healthy")
    world.run(120)
    world.type(ONE)
    world.tick()
    world.run_until("Healthy")
    assert world.stable == version(ONE)
    assert len(world.created) == 2
    world.jobs.clear()
    world.type(TWO)
    world.run(60)
    world.run_until("Healthy")
    assert len(world.created) == 2


def told(world: CheckedWorld) -> list[str]:
    """Every message of Ready that was ever written."""
    return [condition["message"] for status in world.writes for condition in status["conditions"] if condition["type"] == "Ready"]


def test_a_volume_that_is_away_is_waited_for_and_told():
    world = CheckedWorld()
    world.verdicts = [1] * 5
    world.run(130)
    assert world.phase == "Checking"
    assert any("is tried again at" in said and "Input/output error" in said for said in told(world))
    world.run_until("Healthy")
    assert len(world.created) == 6


def test_a_check_that_breaks_is_tried_three_times_with_growing_waits():
    world = CheckedWorld()
    world.verdicts = [2, 2, 2]
    world.run_until("Degraded")
    assert [name.rsplit("-", 1)[1] for name in world.created] == ["1", "2", "3"]
    assert world.condition("Stalled")[:2] == ("True", "CheckFailed")
    assert world.condition("Accepted")[0] == "True"
    world.change(retry="again")
    world.run_until("Healthy")
    assert world.created[-1].endswith("-check-4"), "a Job is created once: another try has another number"


def test_evictions_and_lost_results_count_for_nothing():
    world = CheckedWorld()
    world.lost = True
    world.run(50)
    assert len(world.created) > 3
    assert world.phase == "Checking"
    world.lost, world.evicted, world.verdicts = False, True, [143] * 8
    world.run(50)
    assert world.phase == "Checking"
    world.evicted, world.verdicts = False, []
    world.run_until("Healthy")


def test_a_verdict_on_other_files_is_none():
    world = CheckedWorld()
    world.stuck = True
    world.settle()
    (name,) = world.jobs
    order, attempt = world.jobs[name]
    world.jobs[name] = (order, world._ended(attempt, replace(order, digest=TWO), ()))
    world.tick()
    assert (world.status or {}).get("checked") is None
    assert world.rollout["check"]["attempt"] == 2


def test_what_the_check_waits_for_is_said_and_the_deadline_ends_it():
    world = CheckedWorld()
    world.stuck = True
    world.settle()
    (name,) = world.jobs
    order, attempt = world.jobs[name]
    quota = WarningEvent(attempt.job.reference, "FailedCreate", 'pods "x" is forbidden: exceeded quota: team', NOON)
    world.jobs[name] = (order, replace(attempt, warnings=(quota,)))
    world.tick()
    assert "exceeded quota: team. Free quota in this namespace." in world.condition("Ready")[2]
    pod = replace(world.pod(attempt.job, "", None), phase="Pending", unscheduled=Unscheduled('persistentvolumeclaim "x" not found', NOON))
    world.jobs[name] = (order, replace(attempt, pod=pod))
    world.tick()
    assert (
        "claim x does not exist in this namespace. Create it, or correct what names it: spec.adapter.uri and spec.baseModel.uri."
        in world.condition("Ready")[2]
    )
    claim = 'error processing PVC support/x: persistentvolumeclaims "x" not found'
    for reason, evidence, told in (
        ("FailedMount", claim, "claim x does not exist in this namespace. Create it, or correct what names it: spec.adapter.uri and"),
        (
            "FailedAttachVolume",
            "AttachVolume.Attach failed: timed out",
            "Attach failed: timed out. Check the claims of spec.adapter.uri and",
        ),
        (
            "FailedCreatePodSandBox",
            f'for sandbox "{"0f" * 32}": no addresses are left',
            "node-7 cannot make its sandbox: for sandbox: no a",
        ),
    ):
        event = WarningEvent(pod.reference, reason, evidence, NOON)
        world.jobs[name] = (order, replace(attempt, pod=replace(pod, unscheduled=None, node="node-7"), warnings=(event,)))
        world.tick()
        assert told in world.condition("Ready")[2], world.condition("Ready")[2]
    world.run(7300, step=100)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert world.ended == [name]


def test_a_check_that_is_superseded_is_ended():
    world = serving()
    world.stuck = True
    world.type(TWO)
    world.run(30)
    running = world.created[-1]
    world.type(THREE)
    world.run(10)
    assert world.ended == [running]
    world.stuck = False
    world.run_until("Healthy")
    assert world.stable == version(THREE)


def test_where_nobody_can_look_the_agents_judge_as_before():
    world = CheckedWorld(checks=False)
    world.run_until("Healthy")
    assert world.created == []


def test_what_a_job_has_made_and_what_is_merged_are_not_read():
    for world in (World(), MergedWorld()):
        settings = replace(world.observe().settings, checks_files=True)
        assert not awaits_check(replace(world.observe(), settings=settings))


def test_servers_of_ones_own_without_a_pod_are_told_so_before_anything_is_read():
    external = {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}
    world = CheckedWorld(typed_spec(server={"external": external}))
    world.server_pods = {}
    world.run(30)
    assert world.condition("Ready")[1] == "NoPods"
    assert world.created == []


class Watched(CheckedWorld):
    """Checks the promises at every write."""

    def reconcile(self) -> Any:
        before, written = self.status, len(self.writes)
        plan = super().reconcile()
        if len(self.writes) > written:
            promises(self, before)
        return plan


def rolled_out(verdict: tuple[Any, ...], crash_at: int | None) -> Watched:
    steps = FAST["strategy__canary__steps"][::2]
    world = Watched(typed_spec(**{**FAST, "strategy__canary__steps": steps}))
    world.rate = 200.0
    world.run_until("Healthy")
    world.truth[version(TWO)] = Behaviour()
    world.verdicts = [verdict]
    world.type(TWO)
    world.crash_at = crash_at
    world.run(200)
    return world


@pytest.mark.parametrize("verdict", [(), (PICKLE,)], ids=["fit", "refused"])
def test_killed_at_any_write_it_ends_the_same(verdict: tuple[Any, ...]):
    plain = rolled_out(verdict, None)
    assert plain.stable == version(ONE if verdict else TWO)
    assert len(plain.created) == 2
    for write in range(len(plain.writes) + len(plain.created)):
        world = rolled_out(verdict, write)
        assert essence(world) == essence(plain), f"killed at write {write}"
        assert world.created == plain.created, f"killed at write {write}"
