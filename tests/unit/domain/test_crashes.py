"""The operator is killed between any two writes and started again: the same final state, never two Jobs at once, one history entry."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.domain.samples import spec
from tests.unit.domain.world import Crash, World, finished, training

WRITES_OF_A_RUN = finished().writes


def survive(world: World, crashes: list[int]) -> None:
    """Reconcile to rest; the operator dies at each of the given writes in turn and forgets everything but the cluster."""
    for _ in range(60):
        if world.crash_after is None and crashes:
            world.crash_after = crashes.pop(0)
        before = world.writes
        try:
            world.reconcile()
        except Crash:
            world.forget()
            continue
        if world.writes == before:
            return
    raise AssertionError("does not come to rest")


def essence(world: World) -> dict[str, object]:
    """What must be the same however often the operator died."""
    assert world.status is not None
    conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in world.status["conditions"]}
    run = {name: world.run[name] for name in ("key", "name", "number", "outcome", "reason", "stepText", "adapterDigest")}
    return {
        "conditions": conditions,
        "run": run,
        "history": [(e["number"], e["key"], e["outcome"]) for e in world.history],
        "artifact": world.status["artifact"],
        "jobs": sorted(world.created),
    }


@pytest.mark.parametrize("write", range(WRITES_OF_A_RUN))
def test_killed_before_any_write_of_a_run_it_ends_the_same(write: int):
    world, crashes = World(), [write]
    survive(world, crashes)
    for _ in range(3):
        world.run_pod()
        survive(world, crashes)
        world.end_pod()
        survive(world, crashes)
    assert essence(world) == essence(finished())


@given(st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=20, deadline=None)
def test_killed_again_and_again_it_ends_the_same(crashes: list[int]):
    world = World()
    survive(world, crashes)
    for _ in range(3):
        world.run_pod()
        survive(world, crashes)
        world.end_pod()
        survive(world, crashes)
    assert essence(world) == essence(finished())


Course = Callable[[World, list[int]], None]


def restart(world: World, crashes: list[int]) -> None:
    """To rest, with what is deleted going away meanwhile."""
    for _ in range(6):
        survive(world, crashes)
        world.collect()
    survive(world, crashes)


def corrected_claim(world: World, crashes: list[int]) -> None:
    world.pend_pod('persistentvolumeclaim "tickets" not found')
    survive(world, crashes)
    world.change(dataset__inline__uri="pvc://tickets-2/train.jsonl")


def corrected_destination(world: World, crashes: list[int]) -> None:
    world.pend_pod('persistentvolumeclaim "adapters" not found')
    survive(world, crashes)
    world.change(artifact__uri="pvc://adapters-2/support")


def corrected_resources(world: World, crashes: list[int]) -> None:
    world.pend_pod("0/3 nodes are available")
    world.tick(5)
    survive(world, crashes)
    world.change(resources={"gpusPerNode": 1, "limits": {"memory": "1Gi"}})


def corrected_image(world: World, crashes: list[int]) -> None:
    world.pend_pod(waiting=("ErrImagePull", "no such image"))
    survive(world, crashes)
    world.settings = replace(world.settings, trainer_image="registry.example/trainer:2")


def corrected_name(world: World, crashes: list[int]) -> None:
    world.taken = {world.active.replace("-prepare-1", "-train-1")}
    world.end_pod()
    survive(world, crashes)
    world.change(rerun="other")


def taken_back_elsewhere(world: World, crashes: list[int]) -> None:
    world.end_pod()
    survive(world, crashes)
    world.change(rerun="other", runPolicy={"concurrency": "Replace"})
    restart(world, crashes)
    world.change(rerun="", artifact__uri="pvc://adapters-2/support")


def forgotten_and_asked_for_again(world: World, crashes: list[int]) -> None:
    world.end_pod(65)
    survive(world, crashes)
    world.change(rerun="other", runPolicy={"failedRunsHistoryLimit": 1})
    survive(world, crashes)
    world.end_pod(65)
    survive(world, crashes)
    world.end_job(next(name for name in world.jobs if "-clean-" in name), 0)
    world.change(rerun="")


def invalid_while_suspended(world: World, crashes: list[int]) -> None:
    world.change(suspend=True)
    restart(world, crashes)
    world.change(tuner={"type": "LoRA", "lora": {"rank": "many"}})
    restart(world, crashes)
    world.change(tuner={"type": "LoRA", "lora": {"rank": 8}}, suspend=False)


def lost_job(world: World, crashes: list[int]) -> None:
    world.lose(world.end_pod())
    survive(world, crashes)
    world.tick(400)


COURSES: list[Course] = [
    corrected_claim,
    corrected_destination,
    corrected_resources,
    corrected_image,
    corrected_name,
    taken_back_elsewhere,
    forgotten_and_asked_for_again,
    invalid_while_suspended,
    lost_job,
]


def corrected(course: Course, crashes: list[int]) -> World:
    """A run that went through ``course`` and is on its way again."""
    world = World(spec=spec(runPolicy={"maxAttempts": 20}))
    survive(world, [])
    course(world, crashes)
    restart(world, crashes)
    return world


def standing(world: World) -> dict[str, object]:
    """Everything that decides how it goes on."""
    assert world.status is not None
    jobs = [name for name in world.created if name not in world.documents]
    assert len(world.active_jobs()) == 1
    return {"status": significant(world.status), "jobs": jobs, "active": world.active_jobs(), "documents": world.documents}


def significant(status: object) -> object:
    """Without moments: a restart takes time."""
    if isinstance(status, dict):
        moments = {"since", "until", "startedAt", "finishedAt", "updatedAt", "lastTransitionTime"}
        return {name: significant(value) for name, value in status.items() if name not in moments}
    return [significant(item) for item in status] if isinstance(status, list) else status


@pytest.mark.parametrize("course", COURSES)
def test_killed_before_any_write_a_correction_takes_effect_all_the_same(course: Course):
    begun = World(spec=spec(runPolicy={"maxAttempts": 20}))
    survive(begun, [])
    undisturbed = corrected(course, [])
    for write in range(undisturbed.writes - begun.writes):
        assert standing(corrected(course, [write])) == standing(undisturbed), f"killed before write {write}"
    for _ in range(3):
        if not undisturbed.run.get("outcome"):
            undisturbed.run_pod()
            undisturbed.end_pod()
            undisturbed.clear()
    assert undisturbed.run["outcome"] == "Succeeded"


MISHAPS = st.sampled_from(
    [
        "done",
        "lost message",
        "lost child",
        "evicted",
        "killed",
        "suspended",
        "idle",
        "storage",
        "stuck",
        "without image",
        "resources",
    ]
)


def befall(world: World, mishap: str, sealed: int) -> None:
    """Something happens to the Job under way."""
    name = world.run_pod()
    match mishap:
        case "done":
            world.end_pod()
        case "lost message":
            world.end_pod()
            world.pods.pop(name)
        case "lost child":
            world.lose(name)
        case "evicted":
            world.end_pod(75, sealed=sealed, disruption="Eviction API")
        case "killed":
            world.end_pod(137)
        case "storage":
            world.end_pod(74)
        case "suspended":
            world.change(suspend=True)
        case "stuck":
            world.pend_pod('persistentvolumeclaim "adapters" not found')
        case "without image":
            world.pend_pod(waiting=("ErrImagePull", "no such image"))
            world.settings = replace(world.settings, trainer_image=f"registry.example/trainer:{sealed}")
        case "resources":
            world.pend_pod()
            world.change(resources={"gpusPerNode": 1, "limits": {"memory": f"{sealed}Mi"}})


def after_suspension(world: World, crashes: list[int]) -> None:
    survive(world, crashes)
    world.collect()
    survive(world, [])
    world.change(suspend=False)


def bring_to_an_end(world: World) -> None:
    """No mishap any more."""
    for _ in range(40):
        survive(world, [])
        if world.run.get("outcome"):
            return
        world.tick(400)
        survive(world, [])
        if world.active_jobs():
            world.run_pod()
            world.end_pod()
        world.collect()
    raise AssertionError("the run does not end")


@given(st.lists(st.tuples(MISHAPS, st.integers(0, 6)), max_size=14))
@settings(max_examples=40, deadline=None)
def test_whatever_happens_to_its_children_a_run_ends_once(course: list[tuple[str, int]]):
    world = World(spec=spec(runPolicy={"maxAttempts": 20}))
    for position, (mishap, crash) in enumerate(course, start=1):
        crashes = [crash] if crash < 5 else []
        survive(world, crashes)
        if world.active_jobs():
            befall(world, mishap, sealed=10 * position)
        if world.spec.get("suspend"):
            after_suspension(world, crashes)
        world.tick(400)
    bring_to_an_end(world)
    assert world.run["outcome"] == "Succeeded"
    assert [entry["number"] for entry in world.history] == [1]
    assert world.active_jobs() == []
    jobs = [name for name in world.created if name not in world.documents]
    assert len(jobs) == len(set(jobs)), "an attempt is never created twice"


def test_a_job_that_status_does_not_know_yet_is_adopted():
    world = World()
    world.crash_after = 2
    with pytest.raises(Crash):
        world.reconcile()
    assert world.status is None
    created = list(world.created)
    world.reconcile()
    assert world.created == created
    assert world.run["attempt"] == 1


def test_a_cache_that_lags_behind_does_not_pass_for_a_deleted_child():
    world = World()
    world.reconcile()
    hidden = dict(world.jobs)
    world.jobs.clear()
    plan = world.decide()
    world.jobs = hidden
    assert [reference.name for reference in plan.live_checks.absent] == [world.active]
    before = world.writes
    world._execute(plan)
    assert world.writes == before


def test_a_job_whose_run_was_never_recorded_goes_when_the_spec_asks_for_something_else():
    world = World()
    world.crash_after = 2
    with pytest.raises(Crash):
        world.reconcile()
    stray = world.active
    world.change(rerun="other", suspend=True)
    world.settle()
    assert world.jobs[stray]["metadata"]["deletionTimestamp"]
    assert world.config_maps == set()
    world.collect()
    world.change(suspend=False)
    world.settle()
    world.finish()
    assert [entry["number"] for entry in world.history] == [1]


def test_a_suspension_during_a_waiting_time_counts_no_running_time_twice():
    world = training()
    world.tick(60)
    world.end_pod(137)
    world.settle()
    used = world.run["runningSeconds"]
    world.change(suspend=True)
    world.settle()
    assert world.run["runningSeconds"] == used == 61
    assert [name for name, job in world.jobs.items() if job["metadata"].get("deletionTimestamp")] == []
