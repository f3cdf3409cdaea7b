"""What the message of Ready tells a person to do is what helps, and whom it names can be found with kubectl."""

import pytest

from finetune_operator.domain.rollout.observed import HeldState, HeldVersion
from tests.serving.rollout.world import ONE, TWO, World, baking, serving, version, with_truth

QUIET = {"strategy__canary__steps": [{"weight": 10, "bakeSeconds": 30}]}


def ready(world: World) -> tuple[str, str]:
    return world.condition("Ready")[1:]


def test_routers_that_hold_a_promotion_up_are_counted_and_named_by_their_pods():
    world = baking(5)
    world.run(40)
    world.routers["router-1"].lags = True
    world.run(200)
    assert "1 of 2 routers have yet to acknowledge it: router-1" in ready(world)[1]
    world.routers["router-0"].silent = True
    world.run(20)
    message = ready(world)[1]
    assert "2 of 2 routers have yet to acknowledge it: router-0, router-1" in message
    assert "uid-" not in message


def test_of_many_routers_that_hold_it_up_three_are_named():
    world = World(routers=5)
    world.run_until("Healthy")
    for router in world.routers.values():
        router.lags = True
    world.change(progressDeadlineSeconds=60)
    world.publish(TWO)
    world.run(120)
    assert "5 of 5 routers have yet to acknowledge it: router-0, router-1, router-2 and 2 more" in world.rollout["message"]


def test_a_router_that_cannot_be_read_is_named_by_its_pod():
    world = baking(2)
    world.routers["router-1"].unreadable = True
    world.run(900)
    reason, message = ready(world)
    assert reason == "InsufficientData"
    assert "router router-1 cannot be read" in message


def test_what_a_breaker_took_back_is_tried_again_as_the_message_says():
    world = baking(3)
    world.routers["router-1"].breaker_open = True
    world.tick()
    world.routers["router-1"].breaker_open = False
    world.run_until("Degraded")
    reason, message = ready(world)
    assert (reason, world.condition("Stalled")[0]) == ("BreakerOpen", "True")
    assert "1 of 2 routers (router-1) took" in message
    assert "set spec.retry" in message
    world.change(retry="again")
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_what_was_taken_back_for_lack_of_requests_is_tried_again_as_the_message_says_and_by_no_order():
    world = serving(analysis__onInsufficientData="Fail", **QUIET)
    world.rate = 0.0
    world.publish(TWO)
    world.run_until("Degraded")
    reason, message = ready(world)
    assert reason == "InsufficientData"
    assert "set spec.retry" in message
    assert "promote:1" not in message, "nothing bakes any more that an order could end"
    world.rate = 40.0
    world.run(60)
    assert world.phase == "Degraded", "nor do requests help"
    world.change(retry="again")
    world.run_until("Retaining")


def test_what_probes_cannot_complete_is_said_with_the_way_on():
    world = serving(analysis__onInsufficientData="Probe", **QUIET)
    world.rate = 0.0
    world.publish(TWO)
    world.run(1400)
    reason, message = ready(world)
    assert (reason, world.rollout["probing"]) == ("InsufficientData", True)
    assert "are not held against analysis.checks.schema" in message
    assert "Errors: " not in message, "those they have completed"
    world.change(strategy__canary__steps=[{"weight": 10, "bakeSeconds": 30, "analysis": ["Errors", "TTFT", "ITL"]}])
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_what_waits_for_requests_says_both_orders():
    world = serving(analysis__onInsufficientData="Pause", **QUIET)
    world.rate = 0.0
    world.publish(TWO)
    world.run(900)
    message = ready(world)[1]
    assert "promote:1" in message
    assert "abort:1" in message
    world.order("abort:1")
    world.run_until("Degraded")
    assert ready(world)[0] == "Aborted"


def test_a_failed_check_that_a_person_decides_about_says_both_orders():
    world = with_truth(serving(rollback__automatic=False), TWO, errors=0.4)
    world.publish(TWO)
    world.run(900)
    reason, message = ready(world)
    assert reason == "AnalysisFailed"
    assert "promote:1" in message
    assert "abort:1" in message


@pytest.mark.parametrize("reason", ["LoadFailed", "NoEffect"])
def test_what_pods_refuse_is_tried_again_only_as_the_message_says(reason: str):
    world = serving()
    held = HeldVersion(version(TWO), HeldState.LOADED, has_effect=False)
    if reason == "LoadFailed":
        held = HeldVersion(version(TWO), HeldState.REJECTED, "UnsupportedRank", "adapter_config.json: r is 32. Raise maxLoraRank.")
    world.refused[version(TWO)] = held
    world.publish(TWO)
    world.run_until("Degraded")
    assert ready(world)[0] == reason
    assert "spec.retry" in ready(world)[1]
    world.refused.clear()
    world.change(server__capacity={"maxLoraRank": 64})
    world.run(60)
    assert world.stable == version(ONE)
    assert ready(world)[0] == reason
    world.change(retry="again")
    world.run_until("Retaining")
