"""One-shot orders by the annotation: what cannot be carried out is told once, with the reason, and is over."""

from collections.abc import Callable

import pytest

from tests.serving.rollout.world import TWO, World, baking, serving, version, with_truth

IGNORED = ("Warning", "OrderIgnored")


def applying() -> World:
    world = serving(strategy__canary__steps=[{"weight": 10, "bakeSeconds": 30}])
    world.routers["router-1"].lags = True
    world.publish(TWO)
    world.run(60)
    return world


def rolling_back() -> World:
    world = with_truth(baking(3), TWO, errors=0.5)
    world.run_until("RollingBack")
    return world


def first_promoted() -> World:
    world = World(routers=0)
    world.run_until("Promoting")
    return world


def waiting() -> World:
    world = World()
    world.job = None
    world.run(20)
    return world


@pytest.mark.parametrize(
    ("order", "at", "why"),
    [
        ("prommote:1", lambda: baking(3), "the orders are promote, abort and retry"),
        ("prommote:1", serving, "the orders are promote, abort and retry"),
        ("Abort:1", lambda: baking(3), "the orders are promote, abort and retry"),
        (":1", lambda: baking(3), "the orders are promote, abort and retry"),
        ("promote:1", serving, "no rollout is under way"),
        ("abort:1", serving, "no rollout is under way"),
        ("promote:1", waiting, "no rollout is under way"),
        ("promote:1", applying, f"{version(TWO)} is in the stage Applying"),
        ("promote:1", rolling_back, f"{version(TWO)} is being taken back"),
        ("abort:1", rolling_back, f"{version(TWO)} is being taken back"),
        ("abort:1", first_promoted, "is the first version"),
        ("retry:1", serving, "the one that the spec asks for was not"),
        ("retry:1", lambda: baking(3), "the one that the spec asks for was not"),
        ("retry:1", waiting, "the one that the spec asks for was not"),
    ],
)
def test_an_order_that_nothing_comes_of_is_told_once_and_why(order: str, at: Callable[[], World], why: str):
    world = at()
    world.order(order)
    world.reconcile()
    assert world.status is not None
    assert world.status["action"] == order, "it is over"
    (told,) = (message for event, message in zip(world.events, world.said, strict=True) if event == IGNORED)
    assert why in told
    assert repr(order) in told
    world.run(30)
    assert world.events.count(IGNORED) == 1


@pytest.mark.parametrize("order", ["promote:1", "abort:1", "promote", "abort"])
def test_of_an_order_that_is_carried_out_nothing_of_the_kind_is_told(order: str):
    world = baking(3)
    world.order(order)
    world.run(40)
    assert (world.rollout.get("step"), world.phase) != (3, "Progressing")
    assert IGNORED not in world.events


def test_an_order_that_waits_for_a_router_is_kept_and_not_told():
    world = baking(2)
    world.routers["router-1"].silent = True
    world.order("promote:1")
    world.run(30)
    assert IGNORED not in world.events
    world.routers["router-1"].silent = False
    world.tick()
    assert world.rollout["step"] == 3


def test_a_long_order_is_told_in_short():
    world = baking(3)
    world.order("x" * 128)
    world.reconcile()
    assert max(map(len, world.said)) < 300


def test_the_next_order_is_heeded_after_one_that_was_not():
    world = baking(3)
    world.order("prommote:1")
    world.tick()
    world.order("promote:1")
    world.tick()
    assert world.rollout["step"] == 4
