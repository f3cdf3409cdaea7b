"""What an engine of the user's own is asked for next, and how far it is with what is wanted."""

from datetime import timedelta

import pytest

from finetune_inference.contract import Finding, FingerprintToken
from finetune_inference.contract.proof import Tolerances
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.domain.rollout.engines import EngineView, Failure, Known, Listed, PushTarget, WantedVersion, push_target
from finetune_operator.domain.rollout.observed import HeldState
from finetune_operator.domain.rollout.pushing import (
    Load,
    Prove,
    Unload,
    engine_finding,
    failed,
    held_versions,
    judge,
    next_step,
    others,
    still_compared,
    still_known,
    wake_at,
)
from tests.serving.rollout.world import NOON, ONE, THREE, TWO, spec, version

BASE = Listed("qwen", "/models/qwen")
FINDING = Finding(field="engine", reason="LoadRefused", message="no", way_out="Change it.")
LATER = NOON + timedelta(seconds=60)


def wanted(digest: str) -> WantedVersion:
    return WantedVersion(version(digest), f"/adapters/team/{digest[7:]}")


def listed(digest: str, root: str = "") -> Listed:
    return Listed(version(digest), root or wanted(digest).path, "qwen")


def view(*adapters: Listed, started: str = "1") -> EngineView:
    return EngineView(True, started, (BASE, *adapters))


def target(*digests: str, **changes: object) -> PushTarget:
    return PushTarget("ticket-router", tuple(wanted(digest) for digest in digests), **{"slots": 3, **changes})  # type: ignore[arg-type]


def proven(*digests: str, started: str = "1") -> dict[str, Known]:
    return {version(digest): Known(proven=started) for digest in digests}


def failure(of: PushTarget, digest: str, *, count: int = 1, withdraw: bool = False, reason: str = "LoadRefused") -> dict[str, Known]:
    finding = FINDING.model_copy(update={"reason": reason})
    return {version(digest): Known(failure=Failure(of.basis(wanted(digest)), finding, count, LATER, withdraw))}


def test_versions_are_loaded_in_order_one_at_a_time_and_each_is_proven():
    both = target(ONE, TWO)
    assert next_step(view(), both, {}, NOON) == Load(wanted(ONE))
    assert next_step(view(listed(ONE)), both, {}, NOON) == Prove(wanted(ONE), "qwen")
    assert next_step(view(listed(ONE)), both, proven(ONE), NOON) == Load(wanted(TWO))
    assert next_step(view(listed(ONE), listed(TWO)), both, proven(ONE, TWO), NOON) is None


def test_an_engine_that_has_started_anew_is_loaded_and_proven_anew():
    assert next_step(view(started="2"), target(ONE), proven(ONE), NOON) == Load(wanted(ONE))
    assert next_step(view(listed(ONE), started="2"), target(ONE), proven(ONE), NOON) == Prove(wanted(ONE), "qwen")


def test_without_a_probe_nothing_is_asked_of_it():
    assert next_step(view(listed(ONE)), target(ONE, prove=False), {}, NOON) is None


def test_a_name_that_holds_files_from_elsewhere_is_replaced():
    assert next_step(view(listed(ONE, "/elsewhere/1")), target(ONE), proven(ONE), NOON) == Load(wanted(ONE), replace=True)


def test_what_nobody_wants_goes_when_nothing_else_is_to_be_done_or_when_there_is_no_room():
    gone = view(listed(ONE), listed(TWO))
    assert next_step(gone, target(TWO), proven(TWO), NOON) == Unload(version(ONE))
    assert next_step(view(listed(ONE)), target(TWO), {}, NOON) == Load(wanted(TWO))
    assert next_step(view(listed(ONE)), target(TWO, slots=1), {}, NOON) == Unload(version(ONE))


@pytest.mark.parametrize(
    "other",
    [
        Listed("ticket-router", "/static/adapter", "qwen"),
        Listed("another--" + "1" * 12, "/adapters/" + "1" * 64, "qwen"),
        Listed(version(THREE), "/somewhere/else", "qwen"),
        Listed("qwen-too", "/models/qwen"),
    ],
)
def test_what_is_not_of_this_deployment_is_never_unloaded(other: Listed):
    assert next_step(view(listed(ONE), other), target(ONE), proven(ONE), NOON) is None
    assert next_step(view(other), target(), {}, NOON) is None


def test_versions_that_a_sibling_wants_are_left_alone():
    assert next_step(view(listed(ONE)), target(spared=frozenset({version(ONE)})), {}, NOON) is None


def test_before_a_status_names_anything_nothing_is_done():
    assert next_step(view(listed(ONE)), target(begun=False), {}, NOON) is None


def test_a_full_engine_is_not_asked_for_one_more_and_says_so():
    mine = [Listed(f"mine-{number}", "/x", "qwen") for number in range(3)]
    full = view(*mine)
    assert next_step(full, target(ONE), {}, NOON) is None
    (held,) = held_versions(full, target(ONE), {})
    assert (held.state, held.reason) == (HeldState.RETRYING, "SlotsExceeded")
    assert "lists 3 adapters, and spec.server.capacity.maxCpuLoras is 3" in held.message
    assert others(full, target(ONE)) == 3


def test_an_engine_that_is_away_or_serves_another_base_is_asked_for_nothing():
    away = EngineView(reachable=False)
    assert next_step(away, target(ONE), {}, NOON) is None
    assert held_versions(away, target(ONE, trusted=frozenset({version(ONE)})), {})[0].reason == "EngineUnreachable"
    other = target(ONE, base="org/other")
    assert next_step(view(), other, {}, NOON) is None
    finding = engine_finding(view(), other)
    assert finding is not None
    assert "serves qwen, not org/other" in finding.message
    for name in ("qwen", "/models/qwen"):
        assert engine_finding(view(), target(ONE, base=name)) is None


def test_a_failure_waits_for_its_time_and_does_not_hold_up_the_next():
    both = target(ONE, TWO)
    assert next_step(view(), both, failure(both, ONE), NOON) == Load(wanted(TWO))
    assert next_step(view(), both, failure(both, ONE), LATER) == Load(wanted(ONE))
    assert wake_at(both, failure(both, ONE), NOON) == LATER
    elsewhere = target(ONE, prove=False)
    assert next_step(view(), elsewhere, failure(both, ONE), NOON) == Load(wanted(ONE)), "it was another thing that failed"


def test_a_version_that_changes_nothing_is_taken_out_and_tried_again_later():
    vain = failure(target(ONE), ONE, withdraw=True, reason="NoEffect")
    assert next_step(view(listed(ONE)), target(ONE), vain, NOON) == Unload(version(ONE))
    assert next_step(view(), target(ONE), vain, NOON) is None
    (held,) = held_versions(view(), target(ONE), vain)
    assert (held.state, held.has_effect) == (HeldState.RETRYING, False)
    assert next_step(view(), target(ONE), vain, LATER) == Load(wanted(ONE))
    assert next_step(view(listed(ONE)), target(ONE), vain, LATER) == Prove(wanted(ONE), "qwen")


@pytest.mark.parametrize(("count", "state"), [(2, HeldState.RETRYING), (3, HeldState.REJECTED)])
def test_the_third_refusal_in_a_row_is_the_engines_last_word(count: int, state: HeldState):
    (held,) = held_versions(view(), target(ONE), failure(target(ONE), ONE, count=count))
    assert held.state is state
    assert held.message == "no. Change it."


def test_a_version_counts_as_held_once_proven_or_as_soon_as_it_is_listed_if_it_has_had_traffic():
    assert held_versions(view(listed(ONE)), target(ONE), {})[0].state is HeldState.LOADING
    assert held_versions(view(listed(ONE)), target(ONE), proven(ONE))[0].has_effect is True
    trusting = target(ONE, trusted=frozenset({version(ONE)}))
    assert held_versions(view(listed(ONE)), trusting, {})[0].state is HeldState.LOADED
    assert held_versions(view(), trusting, {})[0].state is HeldState.LOADING


def test_what_is_still_there_of_a_deployment_that_goes_is_told_until_it_is_gone():
    assert [held.version for held in held_versions(view(listed(ONE)), target(), {})] == [version(ONE)]
    assert held_versions(view(), target(), {}) == ()


def test_what_failed_in_one_rollout_does_not_count_in_the_next():
    refused = failure(target(ONE), ONE, count=3)
    again = PushTarget("ticket-router", (WantedVersion(version(ONE), wanted(ONE).path, "later"),), slots=3)
    assert held_versions(view(), target(ONE), refused)[0].state is HeldState.REJECTED
    assert held_versions(view(), again, refused)[0].state is HeldState.LOADING
    assert next_step(view(), again, refused, NOON) == Load(again.versions[0])


def test_failures_add_up_while_the_same_is_tried_and_are_forgotten_with_the_version():
    once = failed(Known(), "a", FINDING, NOON, 5.0)
    assert once.failure is not None
    twice = failed(once, "a", FINDING, NOON, 5.0)
    assert (once.failure.count, twice.failure.count if twice.failure else 0) == (1, 2)
    assert failed(once, "b", FINDING, NOON, 5.0).failure == Failure("b", FINDING, 1, NOON + timedelta(seconds=5))
    known = {version(ONE): once, version(TWO): once, "another--" + "1" * 12: once}
    assert set(still_known(view(), target(TWO), known)) == {version(TWO), "another--" + "1" * 12}


def test_a_proof_is_held_against_the_noise_and_against_the_first_one():
    tokens = (FingerprintToken(token="a" * 12, logprob="-0.5"),)
    apart = (FingerprintToken(token="a" * 12, logprob="-1.5"),)
    limits = Tolerances()
    assert judge(0.5, 0.0, tokens, None, limits) is None
    assert judge(0.5, 0.0, tokens, tokens, limits) is None
    for effect, noise, first, reason in (
        (0.0, 0.0, None, "NoEffect"),
        (0.5, 0.3, None, "NoEffect"),
        (0.5, 0.0, apart, "FingerprintChanged"),
    ):
        found = judge(effect, noise, tokens, first, limits)
        assert found is not None
        assert found.reason == reason


def test_what_was_proven_first_holds_until_the_version_is_wanted_no_more():
    one, two = (FingerprintToken(token="a" * 12, logprob="-0.5"),), (FingerprintToken(token="b" * 12, logprob="-0.5"),)
    first = {version(ONE): one, version(TWO): two}
    assert still_compared(target(ONE), first) == {version(ONE): one}
    assert still_compared(target(ONE, TWO, prove=False), first) == {}, "switched off and on again, all are compared anew"
    assert still_compared(target(begun=False), first) == first


def read(*, rolling: bool = False, **external: object) -> PushTarget:
    document = spec(server={"external": {"matchLabels": {"app": "x"}, "adapterMountPath": "/adapters", **external}})
    document["baseModel"] = {"uri": "hf://org/name@main"}
    parsed = AdapterDeploymentSpec.model_validate(document)
    assert parsed.server.external is not None
    entries = [
        {"name": version(ONE), "uri": f"pvc://claim/team/{ONE[7:]}", "digest": ONE},
        {"name": version(TWO), "uri": f"pvc://claim/team/{TWO[7:]}", "digest": TWO, "keepUntil": "2026-11-22T11:59:59Z"},
    ]
    stable = {"version": version(ONE), "digest": ONE, "uri": "pvc://claim/x", "since": "2026-11-22T11:00:00Z"}
    began = {"generation": 1, "stage": "Loading", "startedAt": "2026-11-22T11:30:00Z", "stageSince": "2026-11-22T11:30:00Z"}
    rollout = {"version": version(ONE), "digest": ONE, "uri": "pvc://claim/x", **began} if rolling else None
    desired = {"generation": 1, "versions": entries}
    status = AdapterDeploymentStatus.model_validate({"desired": desired, "stable": stable, "rollout": rollout})
    return push_target(parsed, parsed.server.external, status, (), NOON)


def test_what_is_wanted_follows_from_what_is_stored():
    found = read()
    assert found.versions == (WantedVersion(version(ONE), f"/adapters/team/{ONE[7:]}"),)
    assert (found.base, found.slots, found.begun, found.trusted) == ("org/name", 8, True, {version(ONE)})
    assert read(rolling=True).versions[0].attempt.startswith("2026-11-22T11:30")
    assert read(baseModelName="qwen").base == "qwen"
    assert read(adapterMountPath="/mnt").versions[0].path == f"/mnt/team/{ONE[7:]}"
