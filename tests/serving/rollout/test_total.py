"""``decide`` answers for everything: whatever lies in an object, its status, or what routers and pods say, there is a plan."""

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_inference.contract import Route
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.domain.analysis.counters import Sample
from finetune_operator.domain.children import JobState
from finetune_operator.domain.rollout.decide import decide
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, JobArtifact, JobAttempt, RolloutObserved, Router, ServerPod
from finetune_operator.domain.rollout.plan import RolloutPlan
from tests.serving.rollout import governed_world
from tests.serving.rollout.checked_world import PICKLE, CheckedWorld
from tests.serving.rollout.world import ALIAS, ONE, THREE, TWO, World, baking, serving, version, with_truth

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(
        ["True", "2026-11-22T12:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "pvc://a/b", "Baking", ONE, "1e308"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def worlds() -> list[World]:
    held = with_truth(serving(rollback__automatic=False), TWO, errors=0.5)
    held.publish(TWO)
    held.run(300)
    failed = with_truth(serving(), TWO, errors=0.5)
    failed.publish(TWO)
    failed.run_until("Degraded")
    deleted = baking(3)
    deleted.deleted = True
    deleted.tick()
    checking, refused = CheckedWorld(), CheckedWorld()
    checking.stuck, refused.verdicts = True, [(PICKLE,)]
    checking.settle()
    refused.run_until("Degraded")
    answers, graced, revoked = governed_world.updated(), governed_world.updated(), governed_world.updated()
    graced.clear_for("public")
    graced.tick()
    revoked.withdraw()
    revoked.reconcile()
    return [World(), serving(), baking(1), baking(3), held, failed, deleted, checking, refused, answers, graced, revoked]


WORLDS = worlds()


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(document, dict):
        for name, value in document.items():
            found += places(value, (*path, name))
    elif isinstance(document, list):
        for position, value in enumerate(document):
            found += places(value, (*path, position))
    return found


def spoiled(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    copied = copy.deepcopy(document)
    place = copied
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return copied


PLACES = [places(world.resource) for world in WORLDS]


def sensible(plan: RolloutPlan) -> None:
    """A plan that can be written and read back, and whose route a router accepts."""
    assert isinstance(plan, RolloutPlan)
    assert plan.requeue_after is None or plan.requeue_after >= 0
    if plan.status is not None:
        status = AdapterDeploymentStatus.model_validate(json.loads(json.dumps(plan.status)))
        assert status.route is None or Route.model_validate(plan.status["route"]) == status.route


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_anything_odd_anywhere_in_the_object_gives_a_plan_that_can_be_written(data: st.DataObject):
    number = data.draw(st.integers(0, len(WORLDS) - 1))
    world = WORLDS[number]
    resource = spoiled(world.resource, data.draw(st.sampled_from(PLACES[number])), data.draw(ODD))
    observed = world.observe()
    later = world.now + timedelta(seconds=data.draw(st.sampled_from([0, 10, 100_000])))
    sensible(decide(RolloutObserved(**{**vars(observed), "resource": resource}), later))


@given(ODD)
@settings(max_examples=60, deadline=None)
def test_nonsense_gives_an_empty_plan(resource: Any):
    assert decide(RolloutObserved(resource=resource), WORLDS[0].now).empty


def _verdict(findings: Any, left_out: Any) -> str:
    """Nearly one of the files that are being read."""
    known = {"apiVersion": "finetune.dev/v1alpha1", "kind": "PreflightResult", "digest": ONE, "compatible": False}
    return json.dumps({**known, "findings": findings, "leftOut": left_out})


HELD = st.builds(
    HeldVersion,
    st.sampled_from([version(ONE), version(TWO), version(THREE), "other"]),
    st.sampled_from(HeldState),
    st.sampled_from(["", "UnsupportedRank"]),
    st.text(max_size=3000),
    st.none() | st.booleans(),
)
SAMPLES = st.builds(
    Sample,
    st.sampled_from(["adapter_router_requests_total", "adapter_router_ttft_seconds_bucket", "up", ""]),
    st.fixed_dictionaries(
        {"namespace": st.just("support"), "deployment": st.just("bot"), "version": st.sampled_from([version(ONE), version(TWO), ""])},
        optional={
            "track": st.sampled_from(["live", "shadow", "new"]),
            "outcome": st.sampled_from(["ok", "error", "odd"]),
            "le": st.sampled_from(["0.1", "+Inf", "NaN", "far", ""]),
        },
    ),
    st.floats(),
)


@given(
    st.integers(0, len(WORLDS) - 1),
    st.lists(st.lists(HELD, max_size=4), max_size=4),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.none() | st.lists(SAMPLES, max_size=6)), max_size=4),
    st.none() | st.sampled_from([ONE, TWO, THREE]),
)
@settings(max_examples=150, deadline=None)
def test_whatever_routers_pods_and_jobs_say_there_is_a_plan(
    number: int, pods: list[list[HeldVersion]], routers: list[tuple[bool, bool, list[Sample] | None]], digest: str | None
):
    world = WORLDS[number]
    known = [router.applied for router in world.observe().routers]
    observed = RolloutObserved(
        resource=world.resource,
        job=JobArtifact("pvc://adapters/x", digest) if digest else None,
        pods=tuple(ServerPod(f"server-{position}", tuple(held)) for position, held in enumerate(pods)),
        routers=tuple(
            Router(
                f"router-{position}",
                f"router-{position}",
                "p1",
                reachable,
                known[0] if applied else None,
                None if samples is None else tuple(samples),
            )
            for position, (reachable, applied, samples) in enumerate(routers)
        ),
    )
    sensible(decide(observed, world.now))


@given(
    st.text(max_size=40) | ODD.map(json.dumps) | st.builds(_verdict, ODD, ODD), st.none() | st.integers(-1, 300), st.sampled_from(JobState)
)
@settings(max_examples=100, deadline=None)
def test_whatever_the_pod_of_a_check_says_last_there_is_a_plan(said: str, code: int | None, state: JobState):
    world = CheckedWorld()
    world.stuck = True
    world.settle()
    ((name, (order, attempt)),) = world.jobs.items()
    job = replace(attempt.job, state=state)
    world.jobs[name] = (order, JobAttempt(job, world.pod(job, said, code)))
    sensible(world.decide())


def test_an_artifact_whose_digest_is_no_digest_is_waited_for():
    world = serving()
    world.job = JobArtifact("pvc://adapters/x", "latest")
    sensible(world.decide())
    world.tick()
    assert world.condition("Ready")[1] == "WaitingForArtifact"
    assert ALIAS in world.stable
