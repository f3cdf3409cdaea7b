"""Behind Gateways: what the condition says of each thing that they, or the API server, may say about the HTTPRoute."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.domain.rollout.observed import Exposure, RolloutObserved
from tests.serving.rollout.world import World, spec

GATEWAYS = [{"name": "public", "namespace": "infra"}, {"name": "inner"}]
ROUTE = {"parentRefs": GATEWAYS, "hostnames": ["bot.example.com"]}


class Exposed(World):
    """``seen`` is what a look at the HTTPRoute brought."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(spec(**changes))
        self.seen: Exposure | None = None
        self.refusal = ""

    def observe(self) -> RolloutObserved:
        return replace(super().observe(), exposure=self.seen, refusal=self.refusal)

    def look(self, seen: Exposure | None) -> tuple[str, str, str] | None:
        """The condition once that was seen."""
        self.seen = seen
        self.settle()
        kinds = {condition["type"] for condition in (self.status or {})["conditions"]}
        return self.condition("Exposed") if "Exposed" in kinds else None


def serving(**changes: Any) -> Exposed:
    world = Exposed(traffic__httpRoute=ROUTE, **changes)
    world.run_until("Healthy")
    return world


def said(kind: str, status: str = "True", *, generation: int = 3, reason: str = "Because", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation}


FINE = (said("Accepted"), said("ResolvedRefs"))


def route(*parents: tuple[dict[str, Any], tuple[dict[str, Any], ...]], generation: int = 3) -> dict[str, Any]:
    """As the API server has it: the references with their defaults, and what controllers wrote."""
    references = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "support", **each} for each in GATEWAYS]
    written = [{"parentRef": parent, "controllerName": "example.com/c", "conditions": list(words)} for parent, words in parents]
    metadata = {"name": "finetune-bot", "namespace": "support", "generation": generation}
    return {"metadata": metadata, "spec": {"parentRefs": references}, "status": {"parents": written}}


def seen(*parents: tuple[dict[str, Any], tuple[dict[str, Any], ...]], generation: int = 3) -> Exposure:
    return Exposure(1, route=route(*parents, generation=generation))


def test_without_the_field_there_is_no_such_condition():
    world = World(spec())
    world.run_until("Healthy")
    assert "Exposed" not in {condition["type"] for condition in (world.status or {})["conditions"]}


def test_a_spec_that_is_invalid_from_the_first_says_nothing_of_gateways():
    world = World(spec(analysis__minRequests="many"))
    world.run(20)
    assert world.condition("Ready")[1] == "InvalidSpec"
    assert "Exposed" not in {condition["type"] for condition in (world.status or {})["conditions"]}


def test_servers_that_are_refused_are_told_before_gateways():
    world = serving()
    world.look(Exposure(1, missing=True))
    assert world.condition("Ready")[2].endswith("see the condition Exposed")
    world.refusal = "denied by a policy"
    world.settle()
    assert world.condition("Ready")[1:] == (
        "ServersRefused",
        f"{world.stable} answers all callers, but a change of its servers is refused: denied by a policy",
    )
    assert world.condition("Exposed")[1] == "GatewayApiMissing"


def test_it_waits_for_a_version_and_then_is_about_to_be_made():
    world = Exposed(traffic__httpRoute=ROUTE)
    world.settle()
    assert world.condition("Exposed")[:2] == ("False", "NotServing")
    world.run_until("Healthy")
    assert world.condition("Exposed")[:2] == ("False", "Exposing")


def test_true_once_every_gateway_has_accepted_this_generation():
    inner = {"name": "inner", "namespace": "support", "group": "gateway.networking.k8s.io", "kind": "Gateway"}
    both = ((GATEWAYS[0], FINE), (inner, FINE))
    world = serving()
    assert (world.look(seen(*both)) or ())[:2] == ("True", "Exposed")
    assert world.condition("Ready")[2].endswith("answers all callers")
    newer = world.look(seen(*both, generation=4))
    assert newer is not None
    assert newer[:2] == ("False", "Exposing")
    assert "Gateway infra/public and support/inner has yet to answer" in newer[2]


def test_one_of_two_gateways_is_not_enough():
    world = serving()
    waiting = world.look(seen((GATEWAYS[0], FINE)))
    assert waiting is not None
    assert waiting[:2] == ("False", "Exposing")
    assert "support/inner" in waiting[2]
    assert "infra/public" not in waiting[2]
    assert "see the condition Exposed" in world.condition("Ready")[2]
    assert world.condition("Ready")[0] == "True", "the routers answer all the same"


@pytest.mark.parametrize(
    "against",
    [
        said("Accepted", "False", reason="NotAllowedByListeners", message="namespace support is not allowed"),
        said("ResolvedRefs", "False", reason="BackendNotFound", message="no Service finetune-router"),
        said("PartiallyInvalid", reason="UnsupportedValue", message="a rule was dropped"),
    ],
    ids=lambda against: against["type"],
)
def test_a_gateway_that_refuses_is_told_with_its_words(against: dict[str, Any]):
    conditions = tuple(each for each in FINE if each["type"] != against["type"])
    found = serving().look(seen((GATEWAYS[0], (*conditions, against)), (GATEWAYS[1], FINE)))
    assert found is not None
    assert found[:2] == ("False", "GatewayRefuses")
    assert found[2] == f"Gateway infra/public says {against['type']} {against['status']}, {against['reason']}: {against['message']}"


def test_the_word_about_an_older_generation_and_that_of_others_count_for_nothing():
    old = said("Accepted", "False", generation=2)
    other = ({"name": "public", "namespace": "elsewhere"}, (said("Accepted", "False"),))
    section = ({**GATEWAYS[0], "sectionName": "https"}, (said("Accepted", "False"),))
    found = serving().look(seen((GATEWAYS[0], (old, *FINE)), (GATEWAYS[1], FINE), other, section))
    assert found is not None
    assert found[:2] == ("True", "Exposed")


def test_what_the_api_server_says_is_told_with_the_way_out():
    world = serving()
    missing = world.look(Exposure(1, missing=True))
    assert missing is not None
    assert missing[:2] == ("False", "GatewayApiMissing")
    assert "spec.traffic.httpRoute" in missing[2]
    assert "Install the Gateway API" in missing[2]
    assert world.look(Exposure(1, refusal="a quota")) == ("False", "RouteRefused", "a quota")


def test_where_nobody_could_look_the_last_word_stays_until_something_else_is_asked_for():
    world = serving()
    both = seen((GATEWAYS[0], FINE), (GATEWAYS[1], FINE))
    before = world.look(both)
    assert world.look(None) == before
    world.change(traffic__httpRoute={**ROUTE, "hostnames": []})
    assert (world.look(None) or ())[:2] == ("False", "Exposing")


def test_the_condition_stays_until_the_route_is_gone():
    world = serving()
    before = world.look(seen((GATEWAYS[0], FINE), (GATEWAYS[1], FINE)))
    world.change(traffic__httpRoute=None)
    assert world.look(None) == before
    stays = world.look(Exposure(2, refusal="forbidden"))
    assert stays is not None
    assert stays[:2] == ("True", "RouteRefused")
    assert world.look(Exposure(2)) is None


@pytest.mark.parametrize("status", [{"parents": 7}, {"parents": [{"parentRef": "x", "conditions": [{"type": 1}, None]}]}, None, []])
def test_a_status_that_makes_no_sense_is_none(status: Any):
    odd = {**route(), "status": status}
    assert (serving().look(Exposure(1, route=odd)) or ())[:2] == ("False", "Exposing")
    assert serving().look(Exposure(1)) == ("False", "Exposing", "the HTTPRoute is about to be made or changed"), "removed meanwhile"
    assert (serving().look(Exposure(1, route={"metadata": 5, "spec": {"parentRefs": ["x"]}})) or ())[:2] == ("False", "Exposing")


def test_a_condition_of_another_operator_version_is_kept_as_far_as_it_can_be_read():
    world = serving()
    assert world.status is not None
    condition = next(each for each in world.status["conditions"] if each["type"] == "Exposed")
    condition["reason"] = "FromTheFuture"
    assert (world.look(None) or ())[:2] == ("False", "Exposing")
