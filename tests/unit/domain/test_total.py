"""``decide`` answers for everything: whatever lies in an object, its children or its status, there is a plan and no exception."""

import copy
import json
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_operator.domain.decide import decide
from finetune_operator.domain.observed import Observed
from finetune_operator.domain.plan import Plan
from tests.unit.domain.samples import NOON, SETTINGS
from tests.unit.domain.world import World, begun, finished, training

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["True", "2026-11-22T12:00:00Z", "pvc://a/b", "Failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a document."""
    found = [path] if path else []
    if isinstance(document, dict):
        for name, value in document.items():
            found += places(value, (*path, name))
    elif isinstance(document, list):
        for position, value in enumerate(document):
            found += places(value, (*path, position))
    return found


def spoiled(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with something else at ``path``."""
    copied = copy.deepcopy(document)
    place = copied
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return copied


def documents() -> list[dict[str, Any]]:
    """Observations of several states, as plain documents."""
    waiting = training()
    waiting.end_pod(137)
    waiting.settle()
    failed = begun()
    failed.end_pod(65)
    running = training()
    running.report(10)
    pending = training(queueName="gpu")
    pending.pend_pod("0/3 nodes are available")
    pending.tick(10)
    pending.change(resources={"gpusPerNode": 1}, artifact__uri="pvc://elsewhere/x")
    dying = training()
    dying.pods[dying.active]["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    states: list[World] = [World(), begun(), running, waiting, pending, dying, failed, finished()]
    return [{"resource": dict(o.resource), "jobs": list(o.jobs), "pods": list(o.pods)} for o in (world.observe() for world in states)]


DOCUMENTS = documents()
PLACES = [places(document) for document in DOCUMENTS]


def plan_for(document: Any) -> Plan:
    as_list = {name: value if isinstance(value, list) else [value] for name, value in document.items() if name != "resource"}
    observed = Observed(resource=document["resource"], settings=SETTINGS, **{name: tuple(value) for name, value in as_list.items()})
    return decide(observed, NOON + timedelta(hours=1))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_anything_odd_anywhere_gives_a_plan_that_can_be_written(data: st.DataObject):
    number = data.draw(st.integers(0, len(DOCUMENTS) - 1))
    path = data.draw(st.sampled_from(PLACES[number]))
    plan = plan_for(spoiled(DOCUMENTS[number], path, data.draw(ODD)))
    assert isinstance(plan, Plan)
    json.dumps(plan.status)


@given(ODD, st.lists(ODD, max_size=2), st.lists(ODD, max_size=2))
@settings(max_examples=60, deadline=None)
def test_nonsense_gives_an_empty_plan(resource: Any, jobs: list[Any], pods: list[Any]):
    assert decide(Observed(resource=resource, settings=SETTINGS, jobs=tuple(jobs), pods=tuple(pods)), NOON).empty


def test_a_status_that_cannot_be_read_starts_nothing_and_is_left_alone():
    document = spoiled(DOCUMENTS[-1], ("resource", "status", "history"), "gone")
    plan = plan_for(document)
    assert plan.creates == ()
    assert plan.status is None
    assert [event.type for event in plan.events] == ["Warning"]


def test_an_object_being_deleted_is_left_to_garbage_collection():
    document = spoiled(DOCUMENTS[1], ("resource", "metadata", "deletionTimestamp"), "2026-11-22T12:00:00Z")
    assert plan_for(document).empty
