"""Former versions are kept for a way back, and give their room to the next version where the engines have no other."""

from typing import Any

import pytest

from finetune_operator.domain.rollout.observed import Sibling
from tests.serving.rollout.checked_world import PICKLE, CheckedWorld, typed_spec
from tests.serving.rollout.world import NOON, ONE, THREE, TWO, World, spec, version

FOUR = "sha256:" + "4" * 64
SERVERS: dict[str, dict[str, Any]] = {
    "managed": {"managed": {"replicas": 3}},
    "external": {"external": {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}},
}


def roomy(slots: int, server: str = "managed") -> World:
    """The first version serves, the engines hold so many, and what was stable once is kept for long."""
    capacity = {"maxCpuLoras": slots, "maxLoras": 2}
    world = World(spec(server={**SERVERS[server], "capacity": capacity}, rollback__keepStableLoadedSeconds=100_000))
    world.run_until("Healthy")
    return world


def rolled_out(world: World, digest: str) -> World:
    world.publish(digest)
    for _ in range(400):
        if world.stable == version(digest):
            return world
        world.tick()
    raise AssertionError(f"{world.phase}, {world.condition('Ready')}")


def kept(world: World) -> list[str]:
    return [entry["version"] for entry in (world.status or {}).get("retained", [])]


def most_wanted(world: World) -> int:
    """The largest set that agents were ever told to hold."""
    return max(len(write["desired"]["versions"]) for write in world.writes if "desired" in write)


@pytest.mark.parametrize("server", SERVERS)
def test_in_two_slots_every_rollout_takes_the_place_of_the_former_version(server: str):
    world = roomy(2, server)
    for digest in (TWO, THREE, FOUR):
        world.publish(digest)
        world.tick()
        assert world.rollout["stage"] == "Loading", world.condition("Ready")
        rolled_out(world, digest)
    assert kept(world) == [version(THREE)]
    assert most_wanted(world) == 2


def test_the_oldest_goes_and_the_one_before_answers_again_at_once():
    world = roomy(3)
    for digest in (TWO, THREE):
        rolled_out(world, digest)
    assert kept(world) == [version(TWO), version(ONE)]
    world.publish(FOUR)
    world.tick()
    assert kept(world) == [version(TWO)]
    rolled_out(world, FOUR)
    assert kept(world) == [version(THREE), version(TWO)]
    world.publish(THREE)
    world.tick(1)
    world.tick(1)
    assert world.stable == version(THREE)
    assert most_wanted(world) == 3


def test_open_requests_of_the_one_that_goes_are_waited_for():
    world = rolled_out(roomy(2), TWO)
    for router in world.routers.values():
        router.open_requests = 1
    world.publish(THREE)
    world.run(30)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "WaitingForCapacity")
    assert f"would make 3 on each pod (2 of this object, 0 of others), and spec.server.capacity.maxCpuLoras is 2. {version(ONE)}" in message
    assert "spec.rollback.drainTimeoutSeconds" in message
    assert version(ONE) in world.loaded()
    writes = len(world.writes)
    world.run(20)
    assert len(world.writes) == writes, "waiting costs nothing"
    for router in world.routers.values():
        router.open_requests = 0
    world.tick()
    assert world.rollout["stage"] == "Loading"
    assert kept(world) == []


def test_after_the_drain_timeout_it_goes_whatever_is_open():
    world = rolled_out(roomy(2), TWO)
    world.routers["router-0"].silent = True
    world.publish(THREE)
    world.run(50)
    assert world.condition("Ready")[1] == "WaitingForCapacity"
    world.run(20)
    assert world.rollout["stage"] == "Loading"
    assert kept(world) == []


def test_none_goes_where_that_makes_no_room():
    world = rolled_out(roomy(3, "external"), TWO)
    world.siblings = (Sibling("other", "u2", "other", NOON, versions=3),)
    world.publish(THREE)
    world.run(120)
    assert "would make 6 on each pod (2 of this object, 3 of others)" in world.condition("Ready")[2]
    assert kept(world) == [version(ONE)]
    world.siblings = (Sibling("other", "u2", "other", NOON, versions=1, answering=1),)
    world.run(120)
    assert world.condition("Ready")[1] == "WaitingForCapacity", "a slot more would not do: the batches are full"
    assert kept(world) == [version(ONE)]


def test_a_version_whose_files_are_refused_takes_nobodys_room():
    world = CheckedWorld(typed_spec(server__capacity={"maxCpuLoras": 2, "maxLoras": 2}, rollback__keepStableLoadedSeconds=100_000))
    world.run_until("Healthy")
    world.type(TWO)
    world.run_until("Retaining")
    world.verdicts = [(PICKLE,)]
    world.type(THREE)
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "ArtifactRefused"
    assert kept(world) == [version(ONE)]
