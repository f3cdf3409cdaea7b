"""Replicas that hold the same version have to answer alike: their agents' fingerprints are held beside each other."""

import pytest

from finetune_operator.domain.rollout.observed import HeldState, HeldVersion
from tests.serving.rollout.world import FINGERPRINT, FINGERPRINT_OF_ANOTHER, ONE, TWO, World, baking, serving, version


def odd(world: World, *pods: str) -> World:
    world.odd_pods = set(pods)
    return world


def test_a_single_odd_pod_of_many_is_named_and_no_caller_gets_the_version():
    world = odd(World(pods=5), "server-3")
    world.run(60)
    status, reason, message = world.condition("Loaded")
    assert (status, reason) == ("False", "FingerprintChanged")
    assert "pod server-3 answers" in message
    assert "the 4 other pods. Replace it" in message
    assert "server-1" not in message
    assert world.condition("Ready") == ("False", "FingerprintChanged", message)
    assert (world.phase, world.stable) == ("Loading", "")
    assert "route" not in (world.status or {})


def test_the_rollout_goes_on_once_the_odd_pod_is_replaced():
    world = odd(serving(), "server-1")
    world.publish(TWO)
    world.run(60)
    assert world.condition("Ready")[1] == "FingerprintChanged"
    assert "canary" not in world.route
    written = len(world.writes)
    world.run(120)
    assert len(world.writes) == written, "the words stay while the state does"
    odd(world)
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_of_two_that_differ_neither_is_called_wrong():
    world = odd(World(pods=2), "server-1")
    world.run(60)
    assert "pods server-0, server-1 answer otherwise than each other" in world.condition("Loaded")[2]
    assert "no majority" in world.condition("Loaded")[2]


def test_of_many_that_differ_three_are_shown():
    world = odd(World(pods=12), *(f"server-{number}" for number in range(5)))
    world.run(60)
    assert "pods server-0, server-1, server-2 and 2 more answer" in world.condition("Loaded")[2]
    assert "the 7 other pods. Replace them" in world.condition("Loaded")[2]


def test_pods_that_never_agree_end_the_rollout_after_its_deadline():
    world = odd(serving(progressDeadlineSeconds=300), "server-2")
    world.publish(TWO)
    world.run(360)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert "server-2" in world.condition("Ready")[2]
    assert all(canary is None for _, canary in world.weights)


def test_a_pod_that_comes_back_otherwise_stops_the_bake_and_what_serves_goes_on():
    world = odd(baking(3), "server-0")
    world.pods["server-0"].clear()
    world.run(600)
    assert world.rollout["step"] == 3
    assert world.condition("Loaded")[1] == "FingerprintChanged"
    assert world.condition("Ready")[2].lower().count("replace") == 1, "what to do is said once"
    assert world.condition("Available")[0] == "True"
    odd(world)
    world.run_until("Retaining")


@pytest.mark.parametrize("tokens", [(), FINGERPRINT], ids=["that says none", "that agrees"])
def test_a_pod_is_held_to_nothing_but_what_others_say(tokens: tuple[object, ...]):
    world = World(pods=2)
    world.run_until("Healthy")
    world.slow_pods = {"server-1"}
    world.pods["server-1"] = {version(ONE): HeldVersion(version(ONE), HeldState.LOADED, fingerprint=tokens)}  # type: ignore[arg-type]
    world.run(30)
    assert world.condition("Loaded")[:2] == ("True", "Loaded")


def test_no_token_is_in_any_text_of_the_status():
    world = odd(World(), "server-1")
    world.run(60)
    assert not {entry.token for entry in (*FINGERPRINT, *FINGERPRINT_OF_ANOTHER)} & set(str(world.status).replace("'", " ").split())
    assert "aaaaaaaaaaaa" not in str(world.status)
