"""What is told of a pod whose volumes or sandbox its node cannot make: events are all the evidence, and come as a kubelet sends them."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout.places import OWN_PLACES, ROUTER_PLACES, Places, server_places
from finetune_operator.domain.rollout.startup import startup_trouble
from tests.serving.rollout.world import NOON, spec

PIN = 'MountVolume.SetUp failed for volume "pin" : secret "pins" not found'
NO_ENTRY = 'MountVolume.SetUp failed for volume "pin" : references non-existent secret key: token'
NO_ROOT_CA = 'MountVolume.SetUp failed for volume "token" : configmap "kube-root-ca.crt" not found'
NO_MAP = 'MountVolume.SetUp failed for volume "extra" : configmap "chat" not found'
SUMMARY = "Unable to attach or mount volumes: unmounted volumes=[pin], unattached volumes=[], failed to process volumes=[]: {}"
NO_CLAIM = SUMMARY.format('error processing PVC ns/models: failed to fetch PVC from API server: persistentvolumeclaims "models" not found')
SANDBOX = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "{}": '
    'plugin type="calico" failed (add): no addresses are left'
)
SERVER_PLACES = server_places({"spec": spec(baseModel__uri="pvc://models/base")})


def pod(ready_to_start: str = "", minutes_old: float = 5.0, *states: str) -> dict[str, Any]:
    conditions = [{"type": "PodReadyToStartContainers", "status": ready_to_start}] if ready_to_start else []
    containers = [{"name": "main", "state": {state: {"reason": "ContainerCreating"}}} for state in states or ("waiting",)]
    begun = (NOON - timedelta(minutes=minutes_old)).isoformat()
    return {"spec": {"nodeName": "node-7"}, "status": {"conditions": conditions, "containerStatuses": containers, "startTime": begun}}


def event(message: str, seconds_ago: float = 20.0, reason: str = "FailedMount") -> WarningEvent:
    return WarningEvent(ObjectReference("v1", "Pod", "ns", "p", "u"), reason, message, NOON - timedelta(seconds=seconds_ago))


def sandbox(number: int = 7, seconds_ago: float = 20.0, before: str = "") -> WarningEvent:
    return event(before + SANDBOX.format(f"{number:064x}"), seconds_ago, "FailedCreatePodSandBox")


def told(*events: WarningEvent, of: dict[str, Any] | None = None, places: Places = ROUTER_PLACES) -> str:
    return startup_trouble(of or pod(), places, events, NOON)


def test_a_secret_that_a_router_waits_for_is_named_with_what_asks_for_it() -> None:
    said = told(event(PIN))
    assert said.startswith("Secret pins, which it mounts, does not exist in this namespace. Create it with the entry token")
    assert "unset serving.pinSecret of the operator's installation" in said


@pytest.mark.parametrize(
    ("message", "places", "words"),
    [
        (
            NO_ENTRY,
            ROUTER_PLACES,
            "the Secret that serving.pinSecret of the operator's installation names has no entry token. Add it, or uns",
        ),
        (NO_ROOT_CA, ROUTER_PLACES, "ConfigMap kube-root-ca.crt, which it mounts, does not exist in this namespace. Ask the platform team"),
        (PIN, OWN_PLACES, "Secret pins, which it mounts, does not exist in this namespace. Create it, or correct your server's manifest."),
        (NO_MAP, OWN_PLACES, "ConfigMap chat, which it mounts, does not exist in this namespace. Create it, or correct your server's mani"),
        (
            NO_CLAIM,
            SERVER_PLACES,
            "spec.baseModel.uri: claim models does not exist in this namespace. Create it, or correct spec.baseModel.uri.",
        ),
        ("AttachVolume failed: timed out", SERVER_PLACES, "AttachVolume failed: timed out. Check the claims of spec.baseModel.uri"),
    ],
)
def test_what_is_missing_is_named_with_the_field_behind_it_and_what_to_do(message: str, places: Places, words: str) -> None:
    said = told(event(message), places=places)
    assert said.startswith(words), said


def test_a_sandbox_that_cannot_be_made_is_told_of_the_node_in_words_that_stay() -> None:
    tries = {told(sandbox(1)), told(sandbox(2)), told(sandbox(3, before="(combined from similar events): "))}
    (said,) = tries
    assert said == (
        'node-7 cannot make its sandbox: failed to setup network for sandbox: plugin type="calico" failed (add): no addresses are left. '
        "Ask the platform team about the network and the runtime of the node."
    )


def test_a_summary_does_not_hide_what_names_the_secret() -> None:
    for message in (PIN, 'fetching it failed: secret "pins" not found'):
        assert told(event(message, 100.0), event(SUMMARY.format("timed out"), 1.0)).startswith("Secret pins")
    assert told(event(SUMMARY.format("timed out"), 1.0)).startswith("Unable to attach or mount volumes: unmounted volumes=[pin]")


def test_of_two_that_are_missing_always_the_same_is_told_until_it_is_there() -> None:
    both = {told(event(PIN, first), event(NO_ROOT_CA, 30.0)) for first in (20.0, 40.0)}
    assert len(both) == 1
    cured = told(event(PIN, 1.0), event(NO_ROOT_CA, 200.0), of=pod("False"))
    assert cured.startswith("Secret pins")


@pytest.mark.parametrize("seconds_ago", [200.0, 400.0])
@pytest.mark.parametrize("told_so_far", [event, sandbox])
def test_it_is_told_between_events_that_have_become_rare(told_so_far: Any, seconds_ago: float) -> None:
    """After an hour without its Secret a pod's events come every five minutes: the condition must not fall silent in between."""
    found = event(PIN, seconds_ago) if told_so_far is event else sandbox(seconds_ago=seconds_ago)
    assert told(found, of=pod("False", 90.0)) != ""


@pytest.mark.parametrize(
    ("found", "seconds_ago"),
    [
        pytest.param(pod(minutes_old=0.4), 20.0, id="at first"),
        pytest.param(pod(), 200.0, id="long ago, and nobody says whether it lasts"),
        pytest.param(pod("False"), 700.0, id="very long ago"),
        pytest.param(pod("True"), 20.0, id="volumes and sandbox are there since"),
        pytest.param(pod("", 5.0, "running"), 20.0, id="it runs"),
        pytest.param(pod("", 5.0, "waiting", "terminated"), 20.0, id="it has run"),
    ],
)
def test_what_has_passed_is_no_trouble(found: dict[str, Any], seconds_ago: float) -> None:
    assert told(event(PIN, seconds_ago), sandbox(seconds_ago=seconds_ago), of=found) == ""


def test_the_newest_kind_of_trouble_is_told() -> None:
    """Volumes come before the sandbox: what stood in their way is over once a sandbox is tried."""
    assert told(event(PIN, 60.0), sandbox(seconds_ago=5.0)).startswith("node-7 cannot make its sandbox")
    assert told(event(PIN, 5.0), sandbox(seconds_ago=60.0)).startswith("Secret pins")
