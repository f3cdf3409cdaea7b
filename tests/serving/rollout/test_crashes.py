"""The operator dies at any write and starts again, and the world misbehaves: the same end, and the same promises all along."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.rollout.world import ONE, THREE, TWO, Behaviour, RouterProcess, World, serving, version

STEPS = [{"shadow": {"percent": 50}, "bakeSeconds": 10}, {"weight": 10, "bakeSeconds": 10}, {"weight": 50, "bakeSeconds": 10}]


def small() -> World:
    """Two short steps, so that the whole life fits into a few dozen looks."""
    world = serving(strategy__canary__steps=STEPS, rollback__keepStableLoadedSeconds=60, rollback__drainTimeoutSeconds=30)
    world.rate = 200.0
    return world


def rolled_out(errors: float, crash_at: int | None) -> World:
    world = small()
    world.truth[version(TWO)] = replace(Behaviour(), errors=errors)
    world.publish(TWO)
    world.crash_at = crash_at
    world.run(300)
    return world


def essence(world: World) -> dict[str, Any]:
    """What must be the same however often the operator died: everything but moments."""
    assert world.status is not None
    conditions = {c["type"]: (c["status"], c["reason"]) for c in world.status["conditions"]}
    return {
        "conditions": conditions,
        "stable": world.stable,
        "history": [(entry["version"], entry["outcome"]) for entry in world.status["history"]],
        "failed": [entry["digest"] for entry in world.status.get("failedVersions", [])],
        "route": {name: value for name, value in world.route.items() if name != "generation"},
        "loaded": world.loaded(),
    }


PLAIN = {errors: rolled_out(errors, None) for errors in (0.0, 0.3)}


@pytest.mark.parametrize("errors", PLAIN)
def test_killed_at_any_write_it_ends_the_same(errors: float):
    plain = PLAIN[errors]
    assert plain.stable == version(ONE if errors else TWO)
    for write in range(len(plain.writes)):
        assert essence(rolled_out(errors, write)) == essence(plain), f"killed at write {write}"


def promises(world: World, before: dict[str, Any] | None) -> None:
    """What every write keeps, whatever happened before it."""
    status = world.status
    assert status is not None
    route, earlier = status.get("route"), (before or {}).get("route")
    if route is None:
        return
    stable, canary = status.get("stable", {}).get("version"), route.get("canary")
    assert canary is None or status["rollout"]["version"] == canary
    assert canary != route.get("stable")
    assert route.get("stable") in {stable, status.get("rollout", {}).get("version")}
    if earlier is None:
        return
    assert route["generation"] >= earlier["generation"]
    changed = {name: value for name, value in route.items() if name != "generation"} != {
        name: value for name, value in earlier.items() if name != "generation"
    }
    assert (route["generation"] > earlier["generation"]) is changed
    rises = share_of_new(route, stable) > share_of_new(earlier, (before or {}).get("stable", {}).get("version"))
    if rises and route.get("canary") == earlier.get("canary"):
        assert all(
            process.applied is not None and process.applied.generation == earlier["generation"] and not process.silent
            for process in world.routers.values()
        ), "traffic grows only where every router has acknowledged the route before"
    if canary is not None and earlier.get("canary") == canary:
        assert route["weight"] >= earlier["weight"], "the steps of one canary only rise"
    if canary is not None and earlier.get("canary") not in (None, canary):
        raise AssertionError("one canary replaced another without the traffic having gone back")


def share_of_new(route: dict[str, Any], stable: str | None) -> int:
    return 100 if route.get("stable") != stable else int(route["weight"])


class Watched(World):
    """Checks the promises at every write."""

    def reconcile(self) -> Any:
        before, written = self.status, len(self.writes)
        plan = super().reconcile()
        if len(self.writes) > written:
            promises(self, before)
        return plan


PEOPLE = ("publish 1", "publish 2", "publish 3", "pause", "go on", "promote", "abort", "retry", "fewer steps")
TROUBLE = ("bad", "good", "lag", "follow", "silence", "restart", "lose pod", "find pod", "crash", "no traffic", "breaker")
ACTIONS = st.sampled_from(["tick"] * 8 + [*PEOPLE, *TROUBLE])


def order(world: World, action: str, number: int) -> None:
    """Something that people do."""
    match action:
        case "publish 1" | "publish 2" | "publish 3":
            world.publish({"1": ONE, "2": TWO, "3": THREE}[action[-1]])
        case "pause" | "go on":
            world.change(paused=action == "pause")
        case "promote" | "abort":
            world.order(f"{action}:{number}")
        case "retry":
            world.change(retry=str(number))
        case "fewer steps":
            world.change(strategy__canary__steps=STEPS[:2])


def befall(world: World, action: str) -> None:
    """Something that happens to routers, pods, requests and the operator."""
    router = world.routers["router-0"]
    match action:
        case "bad" | "good":
            world.truth = {version(digest): Behaviour(errors=0.5) for digest in (TWO, THREE) if action == "bad"}
        case "follow":
            world.routers["router-0"] = replace(router, lags=False, silent=False, breaker_open=False)
        case "lag" | "silence" | "breaker":
            setattr(router, {"lag": "lags", "silence": "silent", "breaker": "breaker_open"}[action], True)
        case "restart":
            world.restart("router-0")
        case "lose pod":
            world.slow_pods = {"server-0"}
            world.pods["server-0"].clear()
        case "find pod":
            world.slow_pods = set()
        case "crash":
            world.crash_at = 0
        case "no traffic":
            world.rate = 0.0


def calm(world: World) -> None:
    """No mishap any more, and a good version that was never tried."""
    world.truth, world.slow_pods, world.rate = {}, set(), 200.0
    for uid, process in world.routers.items():
        world.routers[uid] = replace(process, lags=False, silent=False, breaker_open=False)
    world.publish("sha256:" + "4" * 64)
    world.change(paused=False)
    world.annotations.clear()


@given(st.lists(ACTIONS, max_size=25))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_promises_hold_and_a_good_version_gets_through(course: list[str]):
    world = Watched(small().spec)
    world.rate = 200.0
    for number, action in enumerate(course):
        order(world, action, number)
        befall(world, action)
        world.tick()
    calm(world)
    world.run(400)
    assert world.stable == version("sha256:" + "4" * 64), (world.phase, world.condition("Ready"))
    assert world.condition("Ready")[0] == "True"


def test_the_promises_are_not_empty():
    before = {"route": {"generation": 1, "stable": "a", "weight": 5, "canary": "b"}, "stable": {"version": "a"}}
    after = {
        "route": {"generation": 2, "stable": "a", "weight": 25, "canary": "b"},
        "stable": {"version": "a"},
        "rollout": {"version": "b"},
    }
    world = World()
    world.routers, world.status = {"router-0": RouterProcess()}, after
    with pytest.raises(AssertionError, match="acknowledged the route before"):
        promises(world, before)
