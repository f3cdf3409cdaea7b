"""What a look at an HTTPRoute writes where the API server, or what stands before it, has its own mind; the rest is shown on a real one."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, HttpRouteSpec
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import Forbidden, NotFound
from finetune_operator.cluster.kube import Manifest, Page, Selection
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.rollout.children import REFUSED_SECONDS
from finetune_operator.control.rollout.drift import contains
from finetune_operator.control.rollout.exposures import Exposures
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.rollout.observed import Exposure
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import build_http_route
from tests.serving.rollout.world import spec

KEY = Key("support", "bot")
TRAFFIC = {"httpRoute": {"parentRefs": [{"name": "public"}], "hostnames": ["bot.example.com"]}}


class Objects:
    def http_route(self, owner: Owner, route: HttpRouteSpec) -> JsonObject:
        return build_http_route(owner, route)


class Stored:
    """One HTTPRoute: ``changes`` are made to whatever is applied, as by an admission policy; ``forbidden`` is the answer to any write."""

    def __init__(self) -> None:
        self.found: Manifest | None = None
        self.changes: Manifest = {}
        self.forbidden = ""
        self.writes = 0

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        if self.found is None:
            raise NotFound("not found", status=404)
        return self.found

    async def pages(self, resource: Resource, selection: Selection) -> AsyncIterator[Page]:
        yield Page([], "1", 0)

    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool = True) -> Manifest:
        self.writes += 1
        if self.forbidden:
            raise Forbidden(self.forbidden, status=403)
        generation = (self.found or {}).get("metadata", {}).get("generation", 0) + 1
        made = copy.deepcopy(manifest)
        self.found = {
            **made,
            "metadata": {**made["metadata"], "uid": "1", "generation": generation},
            "spec": {**made["spec"], **self.changes},
        }
        return self.found

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "") -> None:
        self.writes += 1
        if self.forbidden:
            raise Forbidden(self.forbidden, status=403)
        self.found = None


class Desk:
    def __init__(self) -> None:
        self.api, self.now = Stored(), 0.0
        self.exposures = Exposures(self.api, Objects(), clock=lambda: self.now)

    def look(self, traffic: dict[str, Any] | None = None) -> Exposure | None:
        document = spec(traffic=traffic if traffic is not None else TRAFFIC)
        status = {"conditions": [{"type": "Exposed", "status": "False"}], "route": {}}
        resource = {"metadata": {"generation": 1, "uid": "u"}, "spec": document, "status": status}
        return asyncio.run(self.exposures.look(KEY, resource, AdapterDeploymentSpec.model_validate(document)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_others_make_of_it_on_the_way_in_is_not_fought_over(desk: Desk):
    desk.api.changes = {"hostnames": ["bot.internal.example.com"]}
    for _ in range(5):
        seen = desk.look()
        assert seen is not None
        assert seen.route["spec"]["hostnames"] == ["bot.internal.example.com"]
    assert desk.api.writes == 1
    assert desk.api.found is not None
    desk.api.found["metadata"]["generation"] += 1  # somebody's edit after that
    desk.look()
    assert desk.api.writes == 2


def test_what_is_refused_is_sent_again_after_a_while_or_when_it_is_another(desk: Desk):
    desk.api.forbidden = "no httproutes here"
    for seconds, writes in ((0.0, 1), (REFUSED_SECONDS - 1, 1), (REFUSED_SECONDS, 2)):
        desk.now = seconds
        seen = desk.look()
        assert seen is not None
        assert "no httproutes here" in seen.refusal
        assert desk.api.writes == writes
    other = {"httpRoute": {**TRAFFIC["httpRoute"], "hostnames": []}}
    desk.look(other)
    assert desk.api.writes == 3
    desk.api.forbidden = ""
    desk.now += REFUSED_SECONDS
    seen = desk.look(other)
    assert seen is not None
    assert not seen.refusal


def test_one_that_may_not_be_removed_is_told_of(desk: Desk):
    desk.look()
    desk.api.forbidden = "no deletions"
    seen = desk.look({})
    assert seen is not None
    assert seen.there
    assert "no deletions" in seen.refusal
    desk.look({})
    assert desk.api.writes == 2, "a refused deletion is not sent at every look"
    desk.api.forbidden = ""
    desk.now += REFUSED_SECONDS
    seen = desk.look({})
    assert seen is not None
    assert not seen.there


def test_without_routers_of_the_operators_own_there_is_none_to_lead_to(desk: Desk):
    desk.exposures = Exposures(desk.api, None)
    seen = desk.look()
    assert seen is not None
    assert seen.refusal.startswith("spec.traffic.httpRoute: ")
    assert "--inference-image" in seen.refusal
    seen = desk.look({})
    assert seen is not None
    assert not seen.there
    assert desk.api.writes == 0


def test_one_that_was_made_when_the_operator_made_routers_goes_with_its_field(desk: Desk):
    desk.look()
    desk.exposures = Exposures(desk.api, None, clock=lambda: desk.now)
    desk.api.forbidden = "no deletions"
    seen = desk.look({})
    assert seen is not None
    assert seen.there, "it is there still, so the condition has to stay"
    assert "no deletions" in seen.refusal
    desk.api.forbidden = ""
    desk.now += REFUSED_SECONDS
    seen = desk.look({})
    assert seen is not None
    assert not seen.there
    assert desk.api.found is None


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"a": 1, "default": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        (None, {"a": 1}, False),
        ([{"a": 1, "b": 2}], [{"a": 1}], True),
        ([{"a": 1}, {"a": 1}], [{"a": 1}], False),
        ("ab", ["a", "b"], False),
    ],
)
def test_what_is_there_is_held_against_what_is_wanted(found: Any, wanted: Any, expected: bool):
    assert contains(found, wanted) is expected
