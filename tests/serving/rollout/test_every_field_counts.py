"""A field that is accepted and does nothing is a defect: whoever changes one alone is answered otherwise, in a small world with traffic.

What only servers are told is in `tests/unit/manifests/serving/test_every_field_counts.py`.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.observe import observed_job
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import build_http_route
from tests.serving.rollout.world import ONE, TWO, UID, Behaviour, World, spec, version
from tests.unit.api.test_every_field_counts import leaves
from tests.unit.control.rollout.samples import finetunejob

OF_THE_SERVERS = ("spec.server.", "spec.baseModel.", "spec.merge.")
SPEC = ADAPTERDEPLOYMENT.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
LEAVES = {path for path, _ in leaves(SPEC, "spec") if not path.startswith(OF_THE_SERVERS)}
KEY = Key("support", "bot")

ONE_STEP: dict[str, Any] = {"strategy__canary__steps": [{"weight": 50, "bakeSeconds": 60}]}
ERRORS: dict[str, Any] = {**ONE_STEP, "analysis__checks": {"errors": {}, "ttft": None, "itl": None}}
SCHEMA: dict[str, Any] = {
    **ONE_STEP,
    "analysis__checks": {"errors": None, "ttft": None, "itl": None, "schema": {"configMapRef": {"name": "tickets"}}},
}
COPIES: dict[str, Any] = {"strategy__canary__steps": [{"shadow": {}, "bakeSeconds": 60}]}
SWITCH: dict[str, Any] = {"strategy": {"blueGreen": {"shadow": {}}}}
TYPED: dict[str, Any] = {"adapter": {"uri": "pvc://adapters/one", "digest": ONE}, "preflight__requireEvaluation": False}
EXPOSED: dict[str, Any] = {"traffic__httpRoute": {"parentRefs": [{"name": "public"}]}}


def latency(name: str, **limits: str) -> dict[str, Any]:
    """One check of latency, and no other check."""
    return {**ONE_STEP, "analysis__checks": {"errors": None, "ttft": None, "itl": None, name: limits}}


Act = Callable[[World], None]


def nothing(world: World) -> None:
    pass


def begins(world: World) -> None:
    world.run(30)


def serves(world: World) -> None:
    world.run_until("Healthy")


def rolls_out(seconds: float = 120, *, before: float = 0, **truth: Behaviour) -> Act:
    """Another version comes while the first serves; ``truth``: what becomes of the requests of ``one`` and ``two``."""

    def act(world: World) -> None:
        serves(world)
        world.truth = {version({"one": ONE, "two": TWO}[name]): behaviour for name, behaviour in truth.items()}
        world.publish(TWO)
        world.run(seconds)

    return act


def without_traffic(world: World) -> None:
    serves(world)
    world.rate = 0.0
    world.publish(TWO)
    world.run(300)


def few_requests(world: World) -> None:
    """One of thirty fails of stable's, and two of thirty of the canary's."""
    serves(world)
    world.rate = 2.0
    world.truth = {version(ONE): Behaviour(errors=0.05, invalid=0.05), version(TWO): Behaviour(errors=0.1, invalid=0.1)}
    world.publish(TWO)
    world.run(120)


def slow_now_and_then(world: World) -> None:
    rolls_out(50)(world)
    world.truth = {version(TWO): Behaviour(seconds=3.0)}
    world.run(10)
    world.truth = {}
    world.run(60)


def cannot_be_counted(world: World) -> None:
    serves(world)
    for process in world.routers.values():
        process.unreadable = True
    world.publish(TWO)
    world.run(200)


def changes_nothing(world: World) -> None:
    """The new version answers as the base model does."""
    world.refused[version(TWO)] = HeldVersion(version(TWO), HeldState.LOADED, has_effect=False)
    rolls_out()(world)


def pods_are_slow(world: World) -> None:
    serves(world)
    world.slow_pods = set(world.pods)
    world.publish(TWO)
    world.run(120)


def is_taken_back(world: World) -> None:
    rolls_out(150, two=Behaviour(errors=0.5))(world)


def is_taken_back_and_mended(world: World) -> None:
    is_taken_back(world)
    world.truth = {}


def three_come_and_go(world: World) -> None:
    for digest in (TWO, ONE, TWO):
        world.publish(digest)
        world.run(200)


@dataclass(frozen=True)
class Case:
    """Two values that are to be answered differently: ``before`` happens with the first, then the field is changed, or not, and ``after``.

    ``base``: what the rest of the spec says.
    """

    one: Any
    other: Any
    after: Act
    before: Act = nothing
    base: dict[str, Any] = field(default_factory=dict)


STEP, GREEN, CHECKS, PARENT = "spec.strategy.canary.steps[]", "spec.strategy.blueGreen", "spec.analysis.checks", "spec.traffic.httpRoute"
BAD, SLOW = Behaviour(errors=0.1, invalid=0.1), Behaviour(seconds=3.0)

DECIDED: dict[str, Case] = {
    "spec.modelName": Case("ticket-router", "other", begins),
    "spec.mode": Case("Adapter", "Merged", begins, base={"merge": {"uri": "pvc://merged/bot"}, "baseModel__digest": "sha256:" + "b" * 64}),
    "spec.adapter.uri": Case("pvc://adapters/one", "pvc://adapters/other", begins, base=TYPED),
    "spec.adapter.digest": Case(ONE, TWO, begins, base=TYPED),
    "spec.adapter.promotion": Case("Automatic", "Approval", begins),
    "spec.preflight.requireEvaluation": Case(False, True, begins, base=TYPED),
    "spec.preflight.effectProbe": Case("Enforce", "Off", changes_nothing, base=ONE_STEP),
    f"{STEP}.shadow.percent": Case(5, 50, rolls_out(60), base=COPIES),
    f"{STEP}.shadow.maxConcurrent": Case(4, 5, rolls_out(60), base=COPIES),
    f"{STEP}.weight": Case(5, 50, rolls_out(60), base=ONE_STEP),
    f"{STEP}.bakeSeconds": Case(60, 600, rolls_out(), base=ONE_STEP),
    f"{STEP}.approval": Case(False, True, rolls_out(), base=ONE_STEP),
    f"{STEP}.analysis": Case(None, [], rolls_out(two=BAD), base=ERRORS),
    f"{GREEN}.shadow.percent": Case(5, 50, rolls_out(60), base=SWITCH),
    f"{GREEN}.shadow.maxConcurrent": Case(4, 5, rolls_out(60), base=SWITCH),
    f"{GREEN}.bakeSeconds": Case(None, 60, rolls_out(200), base=SWITCH),
    "spec.stickiness.header": Case(None, "x-session-id", begins),
    "spec.stickiness.fallback": Case(["User", "ApiKey"], ["ApiKey"], begins),
    "spec.analysis.minRequests": Case(50, 100_000, rolls_out(), base=ONE_STEP),
    "spec.analysis.maxWaitSeconds": Case(100, 3600, without_traffic, base=ONE_STEP),
    "spec.analysis.onInsufficientData": Case("Pause", "Fail", without_traffic, base={**ONE_STEP, "analysis__maxWaitSeconds": 60}),
    "spec.analysis.provider": Case("Routers", "Prometheus", cannot_be_counted, base={**ONE_STEP, "progressDeadlineSeconds": 60}),
    f"{CHECKS}.errors.maxRate": Case("0.05", "0.5", rolls_out(one=BAD, two=BAD), base=ERRORS),
    f"{CHECKS}.errors.maxDeltaVsStable": Case(
        "0.01", "0.5", few_requests, base={**ONE_STEP, "analysis__checks": {"errors": {"maxRate": "0.9"}, "ttft": None, "itl": None}}
    ),
    f"{CHECKS}.schema.samplePercent": Case(100, 10, begins, base=SCHEMA),
    f"{CHECKS}.schema.maxRate": Case("0.05", "0.5", rolls_out(one=BAD, two=BAD), base=SCHEMA),
    f"{CHECKS}.schema.maxDeltaVsStable": Case(
        "0.01",
        "0.5",
        few_requests,
        base={**SCHEMA, "analysis__checks": {**SCHEMA["analysis__checks"], "schema": {"configMapRef": {"name": "t"}, "maxRate": "0.9"}}},
    ),
    **{
        f"{CHECKS}.{name}.{limit}": Case(one, other, act, base=latency(name, **limits))
        for name in ("ttft", "itl")
        for limit, one, other, act, limits in (
            ("quantile", "0.5", "0.99", slow_now_and_then, {"maxSeconds": "1"}),
            ("maxSeconds", "1", "60", rolls_out(two=SLOW), {}),
            ("maxRatioVsStable", "1.5", "100", rolls_out(two=SLOW), {}),
        )
    },
    "spec.rollback.automatic": Case(True, False, is_taken_back, base=ERRORS),
    "spec.rollback.keepStableLoadedSeconds": Case(60, 6000, rolls_out(300), base=ONE_STEP),
    "spec.rollback.drainTimeoutSeconds": Case(10, 6000, is_taken_back, base=ERRORS),
    "spec.paused": Case(False, True, lambda world: world.run(120), before=rolls_out(40), base=ONE_STEP),
    "spec.approvedVersion": Case(
        "", TWO, begins, before=rolls_out(), base={"strategy__canary__steps": [{"weight": 50, "bakeSeconds": 60, "approval": True}]}
    ),
    "spec.retry": Case("", "again", begins, before=is_taken_back_and_mended, base=ERRORS),
    "spec.progressDeadlineSeconds": Case(60, 6000, pods_are_slow),
    "spec.revisionHistoryLimit": Case(1, 5, three_come_and_go, base=ONE_STEP),
}


def with_value(document: dict[str, Any], path: str, value: Any) -> None:
    place: Any = document
    *parents, leaf = path.removeprefix("spec.").split(".")
    for parent in parents:
        place = place[parent[:-2]][0] if parent.endswith("[]") else place.setdefault(parent, {})
    if value is None:
        place.pop(leaf, None)
    else:
        place[leaf] = value


class ConfigMaps:
    """As the API server gives them."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        return {"data": {"schema.json": f'{{"title": "{name}"}}', "other.json": "{}"}}


def schema_read(document: dict[str, Any]) -> Any:
    return asyncio.run(Schemas(ConfigMaps()).read(KEY, {"spec": document}, resting=False)).text


def http_route(document: dict[str, Any]) -> Any:
    route = AdapterDeploymentSpec.model_validate(document).traffic.http_route
    assert route is not None
    return build_http_route(Owner("support", "bot", UID), route)


def artifact_followed(document: dict[str, Any]) -> Any:
    cache = ServingCache(lambda _: None)
    for name, digest in (("ticket-router", ONE), ("other", TWO)):
        cache.artifacts.remember(Key("support", name), finetunejob(name, digest))
    found = observed_job(cache, KEY, {"spec": document})
    assert found is not None
    return found


READ: dict[str, tuple[Callable[[dict[str, Any]], Any], Any, Any, dict[str, Any]]] = {
    "spec.adapter.fineTuneJobRef.name": (artifact_followed, "ticket-router", "other", {}),
    f"{CHECKS}.schema.configMapRef.name": (schema_read, "tickets", "others", SCHEMA),
    f"{CHECKS}.schema.configMapRef.key": (schema_read, "schema.json", "other.json", SCHEMA),
    f"{PARENT}.parentRefs[].name": (http_route, "public", "other", EXPOSED),
    f"{PARENT}.parentRefs[].namespace": (http_route, None, "infra", EXPOSED),
    f"{PARENT}.parentRefs[].sectionName": (http_route, None, "https", EXPOSED),
    f"{PARENT}.hostnames": (http_route, [], ["bot.example.com"], EXPOSED),
}
"""Fields that are read on the way to a decision, or after it: by whom, two values, and what the rest of the spec says."""


def test_every_field_has_a_case():
    assert DECIDED.keys() | READ.keys() == LEAVES
    assert not DECIDED.keys() & READ.keys()


@pytest.mark.parametrize("path", sorted(DECIDED))
def test_a_field_changes_what_is_decided(path: str):
    case = DECIDED[path]
    answers = []
    for value in (case.one, case.other):
        document = copy.deepcopy(spec(**case.base))
        with_value(document, path, case.one)
        AdapterDeploymentSpec.model_validate(document)
        world = World(document)
        case.before(world)
        with_value(world.spec, path, value)
        AdapterDeploymentSpec.model_validate(world.spec)
        world.generation += 1
        case.after(world)
        answers.append(answer(world))
    assert answers[0] != answers[1]


@pytest.mark.parametrize("path", sorted(READ))
def test_a_field_changes_what_is_read_or_made(path: str):
    reader, one, other, base = READ[path]
    answers = []
    for value in (one, other):
        document = copy.deepcopy(spec(**base))
        with_value(document, path, value)
        answers.append(reader(document))
    assert answers[0] != answers[1]


def answer(world: World) -> dict[str, Any]:
    """What becomes of versions and callers: no words, in which a value may be named and do nothing."""
    status = world.status
    assert status is not None
    rollout = world.rollout
    return {
        "phase": world.phase,
        "stable": world.stable,
        "rollout": [rollout.get(name) for name in ("version", "stage", "step", "hold")],
        "conditions": [(condition["type"], condition["status"], condition["reason"]) for condition in status["conditions"]],
        "route": {name: value for name, value in (status.get("route") or {}).items() if name != "generation"},
        "desired": [{**wanted, "keepUntil": None} for wanted in status.get("desired", {}).get("versions", [])],
        "failed": [failed["digest"] for failed in status.get("failedVersions", [])],
        "history": [ended["outcome"] for ended in status.get("history", [])],
    }
