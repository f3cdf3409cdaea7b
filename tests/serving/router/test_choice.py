"""Which version answers: monotone, sticky, evenly spread."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_inference.contract import POINTS, Fallback, Route, Stickiness, Track
from finetune_inference.router.choice import Choice, choose, has_canary, pinned, position, sticky_key

STABLE, CANARY = "a--aaaaaaaaaaaa", "a--bbbbbbbbbbbb"


def route(weight: int = 20, **changes: object) -> Route:
    fields = {"deployment": "dep", "alias": "a", "generation": 1, "stable": STABLE, "canary": CANARY, "weight": weight}
    return Route.model_validate(fields | {"versions": [STABLE, CANARY]} | changes)


def chosen(of: Route, key: str | None, **changes: object) -> Choice | None:
    return choose(of, key, breaker_open=bool(changes.get("breaker_open")), draw=lambda n: n - 1)


@given(place=st.integers(0, POINTS - 1), lower=st.integers(0, 100), higher=st.integers(0, 100))
def test_raising_the_weight_moves_nobody_back(place, lower, higher):
    lower, higher = sorted((lower, higher))
    assert not has_canary(place, lower) or has_canary(place, higher)


@given(salt=st.text(max_size=64), key=st.text())
def test_a_caller_stands_at_one_place_of_the_ring(salt, key):
    assert 0 <= position(salt, key) == position(salt, key) < POINTS


@given(place=st.integers(0, POINTS - 1))
def test_nobody_has_a_canary_of_weight_zero_and_everybody_one_of_a_hundred(place):
    assert not has_canary(place, 0)
    assert has_canary(place, 100)


@settings(max_examples=20, deadline=None)
@given(weight=st.integers(1, 99), salt=st.text(min_size=1, max_size=8))
def test_the_split_is_binomial(weight, salt):
    callers = 2000
    share = sum(has_canary(position(salt, f"caller-{number}"), weight) for number in range(callers))
    spread = math.sqrt(callers * weight / 100 * (1 - weight / 100))
    assert abs(share - callers * weight / 100) < 5 * spread + 1


def test_the_ring_never_changes():
    assert position("salt", "alice") == 3803
    assert position("other", "alice") != position("salt", "alice")


def test_a_caller_is_known_by_the_header_then_by_the_user_then_by_the_key():
    stickiness = Stickiness(header="x-session-id")
    assert sticky_key(stickiness, {"x-session-id": "s"}, "u", "k") == "header:s"
    assert sticky_key(stickiness, {}, "u", "k") == "User:u"
    assert sticky_key(stickiness, {}, "", "k") == "ApiKey:k"
    assert sticky_key(stickiness, {}, "", "") is None
    assert sticky_key(Stickiness(fallback=[Fallback.API_KEY]), {}, "u", "") is None


def test_a_canary_has_stable_for_a_stand_in_and_stable_has_none():
    key = next(str(n) for n in range(1000) if has_canary(position("", str(n)), 20))
    assert chosen(route(), key) == Choice(CANARY, instead=STABLE)
    assert chosen(route(weight=0), key) == Choice(STABLE)


def test_callers_without_a_key_are_drawn():
    assert choose(route(weight=50), None, breaker_open=False, draw=lambda n: 0) == Choice(CANARY, instead=STABLE)
    assert choose(route(weight=50), None, breaker_open=False, draw=lambda n: n - 1) == Choice(STABLE)


def test_an_open_breaker_takes_the_canary_away():
    assert chosen(route(weight=100), "any", breaker_open=True) == Choice(STABLE)


def test_the_first_version_of_all_has_nobody_to_stand_in_and_no_breaker():
    first = route(weight=100, stable=None, versions=[CANARY])
    assert chosen(first, "any", breaker_open=True) == Choice(CANARY)


def test_a_route_without_versions_answers_nobody():
    assert chosen(Route(deployment="dep", alias="a", generation=1), "any") is None


def test_only_listed_versions_can_be_pinned():
    assert pinned(route(), CANARY) == Choice(CANARY, Track.PROBE)
    assert pinned(route(), "a--cccccccccccc") is None
    assert pinned(route(), "a") is None
