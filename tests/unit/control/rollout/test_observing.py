"""What is known of pods, jobs and other deployments, as decisions get it."""

from pathlib import Path
from typing import Any

import pytest

from finetune_inference.contract import FingerprintToken, VersionState
from finetune_operator.api.adapterdeployment.conditions import ConditionType
from finetune_operator.cluster.cache import Key
from finetune_operator.control.rollout.artifacts import offer_of
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.held import FINAL, held_versions
from finetune_operator.control.rollout.observe import claims_of, observe
from finetune_operator.control.rollout.pace import pace_of
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.schemas import NO_SCHEMA
from finetune_operator.domain.rollout.observed import HeldState, JobArtifact, JobStanding, RolloutSettings
from finetune_trainer.contract import Verdict
from tests.serving.rollout.world import NOON
from tests.unit.control.rollout.samples import DIGEST, KEY, VERSION, agent, deployment, finetunejob, pod
from tests.unit.control.rollout.test_pods_out_of_sight import Silent
from tests.unit.domain.samples import ADAPTER
from tests.unit.domain.world import World, begun, finished

OTHER = "sha256:" + "b" * 64


def served(*deployments: str) -> tuple[ServingCache, list[Key]]:
    woken: list[Key] = []
    cache = ServingCache(woken.append)
    for name in deployments:
        cache.deployments.put(deployment(name))
    woken.clear()
    return cache, woken


@pytest.mark.parametrize(
    ("state", "version", "wanted", "effect"),
    [
        (VersionState.LOADED, {"effect": "0.5"}, HeldState.LOADED, True),
        (VersionState.PENDING, {}, HeldState.LOADING, None),
        (VersionState.FETCHING, {}, HeldState.LOADING, None),
        (VersionState.VERIFIED, {"reason": "EngineUnreachable"}, HeldState.LOADING, None),
        (VersionState.FAILED, {"reason": "RankTooHigh", "failures": 1}, HeldState.REJECTED, None),
        (VersionState.FAILED, {"reason": "ArtifactMissing", "failures": 9}, HeldState.RETRYING, None),
        (VersionState.FAILED, {"reason": "LoadRefused", "failures": 2}, HeldState.RETRYING, None),
        (VersionState.FAILED, {"reason": "LoadRefused", "failures": 3}, HeldState.REJECTED, None),
        (VersionState.FAILED, {"reason": "NoEffect", "failures": 1}, HeldState.RETRYING, False),
    ],
)
def test_what_an_agent_says_of_a_version(state: VersionState, version: dict[str, object], wanted: HeldState, effect: bool | None) -> None:
    (held,) = held_versions(agent(state, **version))
    assert (held.version, held.state, held.has_effect) == (VERSION, wanted, effect)


def test_message_and_way_out_are_told_together() -> None:
    (held,) = held_versions(agent(VersionState.FAILED, reason="RankTooHigh", message="r is 128.", way_out="Raise it."))
    assert held.message == "r is 128. Raise it."


def test_every_final_reason_is_one_of_the_agents() -> None:
    text = (Path(__file__).parents[4] / "docs/serving/agent.md").read_text(encoding="utf-8")
    assert {reason for reason in FINAL if f"`{reason}`" not in text} == set()


def test_an_artifact_counts_as_gated_only_with_the_gate_of_its_own_run() -> None:
    assert offer_of(finetunejob("j", DIGEST)).artifact == JobArtifact("pvc://adapters/j", DIGEST, gated=True)
    assert offer_of(finetunejob("j", DIGEST, gate="NotGated")).artifact == JobArtifact("pvc://adapters/j", DIGEST, gated=False)
    later = finetunejob("j", DIGEST, currentRun={"number": 2}, history=[{"number": 1, "gate": "GatePassed", "artifactDigest": DIGEST}])
    assert offer_of(later).artifact == JobArtifact("pvc://adapters/j", DIGEST, gated=True)
    ungated = finetunejob("j", DIGEST, currentRun={"number": 2, "gate": "GatePassed", "adapterDigest": OTHER})
    assert offer_of(ungated).artifact == JobArtifact("pvc://adapters/j", DIGEST, gated=False)


def test_what_the_operator_writes_of_a_run_is_what_a_deployment_reads_of_it() -> None:
    """Both sides of one contract: a run's life as its own decisions tell it, from its gate to a result that is pointed at again."""
    world = finished()
    assert passed(world) == {ADAPTER}
    world.change(training__learningRate="5e-4")
    world.settle()
    world.finish()
    world.change(training__learningRate="1e-3")
    world.settle()
    assert world.says("Ready") == ("True", "ArtifactReused")
    assert passed(world) == {ADAPTER}
    for verdict in (Verdict.NOT_GATED, Verdict.FAIL, Verdict.INCONCLUSIVE):
        other = begun()
        other.verdict = verdict
        other.finish()
        assert passed(other) == frozenset()


def test_a_job_without_an_artifact_is_told_as_its_own_decisions_left_it() -> None:
    job = {"metadata": {"generation": 1}, "status": {}}
    assert offer_of(job).standing == JobStanding(), "it has just been made"
    world = begun()
    assert offer_of(document_of(world)).standing == JobStanding(world.status["phase"])
    for verdict, reason in ((Verdict.FAIL, "GateRejected"), (Verdict.INCONCLUSIVE, "GateInconclusive")):
        ended = begun()
        ended.verdict = verdict
        ended.finish()
        standing = offer_of(document_of(ended)).standing
        assert standing is not None
        assert (standing.stalled, standing.reason, standing.message) == (True, reason, ended.condition("Stalled")["message"])
        edited = document_of(ended)
        edited["metadata"]["generation"] += 1
        assert offer_of(edited).standing == JobStanding(standing.phase), "nobody has looked at the edit yet"
    assert offer_of(document_of(finished())).standing is None, "what has an artifact may go on as it likes"


def document_of(world: World) -> dict[str, Any]:
    return {"metadata": {"generation": world.status["observedGeneration"]}, "status": world.status}


def passed(world: World) -> frozenset[str]:
    offer = offer_of({"status": world.status})
    assert offer.artifact is None or offer.artifact.gated == (offer.artifact.digest in offer.evaluated)
    return offer.evaluated


@pytest.mark.parametrize("status", [None, [], {"artifact": 3}, {"artifact": {"uri": 1}}, {"history": "x", "currentRun": []}])
def test_an_odd_job_offers_nothing(status: object) -> None:
    job = finetunejob("j", DIGEST)
    offer = offer_of({**job, "status": status})
    assert (offer.artifact, offer.evaluated) == (None, frozenset())


def test_a_changed_artifact_wakes_its_followers_and_nobody_twice() -> None:
    cache, woken = served("by-digest")
    cache.deployments.put(deployment("follower", spec={"adapter": {"fineTuneJobRef": {"name": "j"}}}))
    cache.deployments.put(deployment("foreign", spec={"adapter": {"fineTuneJobRef": {"name": "k"}}}))
    woken.clear()
    cache.job_seen(Key("ns", "j"), finetunejob("j", DIGEST))
    assert sorted(woken) == [Key("ns", "by-digest"), Key("ns", "follower")]
    cache.job_seen(Key("ns", "j"), finetunejob("j", DIGEST))
    assert len(woken) == 2
    assert cache.artifacts.evaluated("ns") == {DIGEST}
    cache.job_gone(Key("ns", "j"))
    assert len(woken) == 4
    assert cache.artifacts.of(Key("ns", "j")) is None


def test_a_job_that_is_made_or_changes_its_phase_wakes_who_waits_for_it() -> None:
    cache, woken = served("bot")
    key, following = Key("ns", "j"), {"adapter": {"fineTuneJobRef": {"name": "j"}}}
    resource = deployment(spec=following)
    cache.deployments.put(resource)
    woken.clear()

    def standing() -> JobStanding | None:
        found = observe(cache, Readings(Silent()), KEY, resource, RolloutSettings(), schema=NO_SCHEMA, refusal="", now=NOON)
        return found.standing

    assert standing() is None
    bare = {"metadata": {"name": "j", "generation": 1}, "spec": {}}
    cache.job_seen(key, bare)
    assert (len(woken), standing()) == (1, JobStanding())
    cache.job_seen(key, {**bare, "status": {"phase": "Training", "currentRun": {"step": 3}}})
    assert (len(woken), standing()) == (2, JobStanding("Training"))
    cache.job_seen(key, {**bare, "status": {"phase": "Training", "currentRun": {"step": 4}}})
    assert len(woken) == 2, "its steps concern nobody here"
    cache.job_gone(key)
    assert (len(woken), standing()) == (3, None)


def test_others_of_the_namespace_are_known_and_those_on_the_same_servers_count() -> None:
    cache, woken = served()
    status = {"desired": {"generation": 1, "versions": [{"name": "x"}, {"name": "y", "keepUntil": "2026-11-22T10:00:00Z"}]}}
    for name in ("bot", "near", "far"):
        cache.deployments.put(deployment(name, status=status))
    seen = [(sibling.name, sibling.versions, sibling.answering) for sibling in cache.siblings.of(KEY, [Key("ns", "near")])]
    assert seen == [("far", 0, 0), ("near", 2, 1)], "near also holds one that has no traffic any more"
    assert cache.siblings.versions_of_others(KEY) == {"x", "y"}
    woken.clear()
    cache.deployments.remove(Key("ns", "near"))
    assert sorted(key.name for key in woken) == ["bot", "far"]
    assert [sibling.name for sibling in cache.siblings.of(KEY)] == ["far"]


def test_of_a_namespace_without_deployments_nothing_is_kept() -> None:
    cache, _ = served("bot", "other")
    cache.deployments.remove(Key("ns", "bot"), uid="uid-bot")
    assert [*cache.siblings.keys_of("ns")] == [Key("ns", "other")]
    cache.deployments.remove(Key("ns", "other"), uid="uid-other")
    assert len(cache.siblings) == 0


def test_pods_are_found_by_role_and_those_that_leave_are_not() -> None:
    cache, woken = served("bot", "other")
    for found in (pod("s1"), pod("s2", of="other"), pod("s3", phase="Pending", podIP=""), pod("s4", phase="Failed"), pod("r1", "router")):
        cache.pods.put(found)
    leaving = pod("s5")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z"
    cache.pods.put(leaving)
    assert [each["metadata"]["name"] for each in cache.servers(KEY)] == ["s1", "s3"]
    assert [each["metadata"]["name"] for each in cache.routers("ns")] == ["r1"]
    assert cache.routers("elsewhere") == []
    assert woken.count(Key("ns", "other")) == 2, "its own server, and the router"


def test_a_router_that_is_not_ready_counts_as_long_as_its_process_runs() -> None:
    cache, _ = served("bot")
    running, waiting = {"state": {"running": {}}}, {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    cache.pods.put(pod("r1", "router", ready=False, containerStatuses=[running]))
    cache.pods.put(pod("r2", "router", ready=False, containerStatuses=[waiting]))
    cache.pods.put(pod("r3", "router", ready=False))
    assert [each["metadata"]["name"] for each in cache.routers("ns")] == ["r1"]


def test_router_pods_that_do_not_run_are_none_and_say_why() -> None:
    cache, _ = served("bot")
    starting = pod("r1", "router", ready=False, podIP="", startTime="2026-11-22T11:58:00Z")
    leaving = pod("r0", "router", ready=False, podIP="")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T10:00:00Z"
    for found in (leaving, starting):
        cache.pods.put(found)
    event = {
        "involvedObject": {"name": "r1", "uid": "uid-r1"},
        "reason": "FailedMount",
        "message": 'MountVolume.SetUp failed for volume "pin" : secret "pins" not found',
        "lastSeen": "2026-11-22T11:59:00Z",
    }
    summary = {**event, "message": "Unable to attach or mount volumes: unmounted volumes=[pin]", "lastSeen": "2026-11-22T11:59:30Z"}

    def said(uid: str) -> list[dict[str, Any]]:
        return [event, summary] if uid == "uid-r1" else []

    readings = Readings(Silent())
    found = observe(cache, readings, KEY, deployment(), RolloutSettings(), schema=NO_SCHEMA, refusal="", warnings=said, now=NOON)
    assert found.routers == ()
    assert found.router_trouble.startswith("router pod r1: Secret pins, which it mounts, does not exist")
    assert "serving.pinSecret" in found.router_trouble


def test_a_pod_that_is_gone_is_told() -> None:
    gone: list[tuple[str, str]] = []
    cache = ServingCache(lambda _key: None, pod_gone=lambda namespace, uid: gone.append((namespace, uid)))
    cache.pods.put(pod("s1"))
    assert gone == []
    cache.pods.remove(pod("s1", version=2))
    assert gone == [("ns", "uid-s1")]


def test_claims_are_those_of_what_is_loaded_and_of_what_comes_next() -> None:
    desired = {"generation": 1, "versions": [{"uri": "pvc://adapters/x"}, {"uri": "pvc://other/y"}, {"uri": "hf://z"}]}
    cache, _ = served()
    following = {"adapter": {"fineTuneJobRef": {"name": "j"}}}
    found = deployment(spec=following, status={"desired": desired})
    assert claims_of(cache, KEY, found) == ["adapters", "other"]
    cache.job_seen(Key("ns", "j"), {**finetunejob("j", DIGEST), "spec": {"artifact": {"uri": "pvc://third/z"}}, "status": {}})
    assert claims_of(cache, KEY, found) == ["adapters", "other", "third"], "where the first artifact will lie"
    cache.job_seen(Key("ns", "j"), {**finetunejob("j", DIGEST), "spec": {"artifact": {"uri": "pvc://moved/z"}}})
    assert claims_of(cache, KEY, deployment(spec=following)) == ["adapters", "moved"]


def conditions(**states: str) -> dict[str, object]:
    return {"conditions": [{"type": kind, "status": status} for kind, status in states.items()]}


def test_pace() -> None:
    settings = RolloutSettings()
    loaded, applied = ConditionType.LOADED.value, ConditionType.TRAFFIC_APPLIED.value
    rest = pace_of(deployment(status=conditions(**{loaded: "True", applied: "True"})), settings, 300.0)
    assert (rest.resting, rest.samples, rest.look_in) == (True, False, 300.0)
    assert pace_of(deployment(status=conditions(**{loaded: "Unknown"})), settings, 300.0).resting
    missing = pace_of(deployment(status=conditions(**{loaded: "False"})), settings, 300.0)
    assert (missing.resting, missing.look_in) == (False, 10.0)
    for stage, samples in (("Loading", False), ("Applying", True), ("Baking", True), ("RollingBack", False)):
        pace = pace_of(deployment(status={"rollout": {"stage": stage}}), settings, 300.0)
        assert (pace.samples, pace.max_age, pace.resting) == (samples, 1.0, False)
    assert pace_of(deployment(deletionTimestamp="2026-11-22T10:00:00Z"), settings, 300.0).look_in == 2.0


def test_of_a_refusal_only_as_much_is_kept_as_a_message_can_hold() -> None:
    cache, _ = served("bot")
    seen = observe(cache, Readings(Silent()), KEY, deployment(), RolloutSettings(), schema=NO_SCHEMA, refusal="x" * 5000, now=NOON)
    assert len(seen.refusal) == 1024


def test_a_router_is_known_by_its_pods_uid_and_called_by_its_name() -> None:
    cache, _ = served("bot")
    cache.pods.put(pod("r1", "router"))
    seen = observe(cache, Readings(Silent()), KEY, deployment(), RolloutSettings(), schema=NO_SCHEMA, refusal="", now=NOON)
    assert [(router.uid, router.name) for router in seen.routers] == [("uid-r1", "r1")]


def test_the_fingerprint_an_agent_reports_is_kept_for_comparison() -> None:
    tokens = [FingerprintToken(token="0123456789ab", logprob="-0.5")]
    (held,) = held_versions(agent(fingerprint=tokens))
    assert held.fingerprint == tuple(tokens)
