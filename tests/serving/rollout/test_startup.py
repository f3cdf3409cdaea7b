"""What is told of pods that do not run: the cluster's words, the field behind them, and what to do."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.cluster.projections import project_deployment, project_event
from finetune_operator.domain.rollout.observed import Unmade
from finetune_operator.domain.rollout.places import server_places
from finetune_operator.domain.rollout.startup import creation_trouble, startup_trouble
from tests.serving.rollout.world import NOON, ONE, World, serving, spec, version

LOST_CLAIM = '0/2 nodes are available: persistentvolumeclaim "{}" not found. preemption: 0/2 nodes are available.'


def asked(**changes: Any) -> dict[str, Any]:
    return {"spec": spec(**{"baseModel__uri": "pvc://models/base", **changes})}


def pod(*containers: dict[str, Any], scheduler: str = "", **status: Any) -> dict[str, Any]:
    told = [{"type": "PodScheduled", "status": "False", "message": scheduler}] if scheduler else []
    begun = (NOON - timedelta(minutes=5)).isoformat()
    return {"status": {"conditions": told, "containerStatuses": list(containers), "startTime": begun, **status}}


def waiting(name: str, reason: str, message: str = "", image: str = "") -> dict[str, Any]:
    return {"name": name, "image": image, "state": {"waiting": {"reason": reason, "message": message}}}


@dataclass(frozen=True)
class Case:
    pod: dict[str, Any]
    words: tuple[str, ...]
    asked: dict[str, Any] = field(default_factory=asked)


OWN = asked(server={"external": {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}})
IMAGE = asked(server={"managed": {"engine": "vLLM", "image": "registry.invalid/vllm:1"}})
CASES = {
    "the base model's claim is not there": Case(
        pod(scheduler=LOST_CLAIM.format("models")),
        ("it is not scheduled: spec.baseModel.uri: claim models does not exist in this namespace. Create it, or correct spec.b",),
    ),
    "the adapter's claim is not there": Case(
        pod(scheduler=LOST_CLAIM.format("hot")),
        ("spec.adapter.uri: claim hot does not exist",),
        asked(adapter={"uri": "pvc://hot/x", "digest": "sha256:" + "1" * 64}),
    ),
    "the claim of merged models is not there": Case(
        pod(scheduler=LOST_CLAIM.format("merged")), ("spec.merge.uri: claim merged",), asked(merge={"uri": "pvc://merged/x"})
    ),
    "the claim of the job's artifacts is not there": Case(
        pod(scheduler=LOST_CLAIM.format("hot")), ("claim hot does not exist", "spec.artifact.uri of FineTuneJob ticket-router")
    ),
    "a claim is not bound": Case(
        pod(scheduler="0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        ("unbound", "Check the claims of spec.baseModel.uri"),
    ),
    "a taint is in the way": Case(
        pod(scheduler="0/2 nodes are available: 2 node(s) had untolerated taint {gpu: only}."),
        ("taint {gpu: only}. Make room for it", "spec.server.managed.replicas", "tolerate the taint in spec.server.managed.resources.tol"),
    ),
    "no node has the labels": Case(
        pod(scheduler="0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        ("correct spec.server.managed.resources.nodeSelector.",),
    ),
    "the engine's image cannot be pulled": Case(
        pod(waiting("engine", "ImagePullBackOff", image="registry.invalid/vllm:1")),
        ("container engine waits: ImagePullBackOff of registry.invalid/vllm:1. Check spec.server.managed.image",),
        IMAGE,
    ),
    "the engine's image is the installation's": Case(
        pod(waiting("engine", "InvalidImageName")),
        ("container engine waits: InvalidImageName. Check image and imagePullSecrets of the op",),
    ),
    "the agent's image cannot be pulled": Case(
        pod(initContainerStatuses=[waiting("agent", "ErrImagePull")]), ("container agent waits: ", "Check image and imagePullSec"), IMAGE
    ),
    "a container cannot be made": Case(
        pod(waiting("engine", "CreateContainerConfigError", 'secret "token" not found')),
        ('secret "token" not found. Create what it names',),
    ),
    "a container crashes": Case(
        pod(waiting("engine", "CrashLoopBackOff", "back-off 40s restarting")),
        ("waits: CrashLoopBackOff. Look at the pod's events and log.",),
    ),
    "a pod of one's own has no room": Case(
        pod(scheduler="0/2 nodes are available: 2 Insufficient nvidia.com/gpu."), ("ask for less in your server's manifest",), OWN
    ),
    "the image of a pod of one's own": Case(
        pod(waiting("vllm", "ErrImagePull")), ("image and pull secrets in your server's manifest",), OWN
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_keeps_a_server_pod_from_running_has_field_and_way_out(name: str) -> None:
    case = CASES[name]
    said = startup_trouble(case.pod, server_places(case.asked), (), NOON)
    assert [word for word in case.words if word not in said] == [], said


@pytest.mark.parametrize("found", [pod(), pod(waiting("engine", "ContainerCreating")), pod(waiting("engine", "PodInitializing"))])
def test_a_pod_that_is_about_to_run_has_no_trouble(found: dict[str, Any]) -> None:
    assert startup_trouble(found, server_places(asked()), (), NOON) == ""


def test_the_words_are_the_same_while_the_trouble_is() -> None:
    """kubelet alternates between pulling and waiting, and counts the seconds of a back-off."""
    reasons = {said_of_engine(each) for each in ("ErrImagePull", "ImagePullBackOff")}
    seconds = {said_of_engine("CrashLoopBackOff", f"back-off {each}s") for each in (10, 20)}
    assert (len(reasons), len(seconds)) == (1, 1)


def said_of_engine(reason: str, message: str = "") -> str:
    return startup_trouble(pod(waiting("engine", reason, message)), server_places(IMAGE), (), NOON)


@pytest.mark.parametrize("resource", [{}, {"spec": None}, {"spec": {"server": [], "adapter": "x", "baseModel": {"uri": 7}}}])
def test_an_odd_spec_gives_words_all_the_same(resource: dict[str, Any]) -> None:
    assert "Create it" in startup_trouble(pod(scheduler=LOST_CLAIM.format("x")), server_places(resource), (), NOON)


def event(name: str, reason: str) -> dict[str, Any]:
    regarding = {"kind": "Pod", "namespace": "ns", "name": name, "uid": "u"}
    return {"metadata": {"name": f"{name}.1", "namespace": "ns"}, "type": "Warning", "involvedObject": regarding, "reason": reason}


@pytest.mark.parametrize(
    ("name", "reason", "kept"),
    [
        ("finetune-router-5d8-x", "FailedMount", True),
        ("server-tickets-5d8-x", "FailedAttachVolume", True),
        ("finetune-router-5d8-x", "FailedCreatePodSandBox", True),
        ("server-tickets-5d8-x", "Unhealthy", False),
        ("web-server-5d8-x", "FailedMount", False),
        ("tickets-0123456789-check-1-x", "Unhealthy", True),
    ],
)
def test_of_pods_that_serve_only_events_from_before_their_start_are_kept(name: str, reason: str, kept: bool) -> None:
    assert (project_event(event(name, reason)) is not None) is kept


def test_why_no_router_runs_is_told_at_once_and_costs_no_writes_while_it_lasts() -> None:
    world = World(routers=0)
    world.router_trouble = "router pod r1: Secret pins, which it mounts, does not exist in this namespace."
    world.run(20)
    for kind in ("Ready", "TrafficApplied"):
        assert world.router_trouble in world.condition(kind)[2], kind
    written = len(world.writes)
    world.run(600)
    assert len(world.writes) == written
    lost = serving()
    lost.routers, lost.router_trouble = {}, world.router_trouble
    lost.run(20)
    assert lost.condition("Ready")[1:] == ("NotServing", f"nobody answers for the alias: there is no router: {lost.router_trouble}")


QUOTA = 'pods "server-tickets-6d4f9-{}" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0'
POLICY = 'pods "server-tickets-6d4f9-{}" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'


def lacking(message: str) -> dict[str, Any]:
    """The server's Deployment, as a cache keeps it."""
    told = [
        {"type": "Available", "status": "False", "message": "Deployment does not have minimum availability."},
        {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message},
    ]
    metadata = {"name": "server-tickets", "namespace": "ns", "uid": "u", "labels": {"finetune.dev/serving-role": "server", "app": "x"}}
    kept = project_deployment({"metadata": metadata, "spec": {"replicas": 2}, "status": {"replicas": 0, "conditions": told}})
    assert kept is not None
    return kept


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (QUOTA, ("exceeded quota: small", "Free quota in this namespace, or ask for less in spec.server.managed.resources.")),
        (POLICY, ('violates PodSecurity "restricted:latest"', "ask the platform team")),
    ],
)
def test_pods_that_the_api_server_refuses_are_told_in_words_that_stay(message: str, words: tuple[str, ...]) -> None:
    said = {creation_trouble(lacking(message.format(pod)), server_places(asked())) for pod in ("abcde", "fghij")}
    (text,) = said
    assert text.startswith("the API server takes no more pods of Deployment server-tickets: ")
    assert [word for word in words if word not in text] == [], text


def test_a_deployment_that_lacks_nothing_has_no_trouble() -> None:
    ended = lacking(QUOTA)
    ended["status"]["conditions"][0]["status"] = "False"
    odd: list[dict[str, Any]] = [{}, {"status": []}, ended, {"status": {"conditions": [{"type": "Progressing", "status": "True"}]}}]
    for found in odd:
        assert creation_trouble(found, server_places(asked())) == ""


def test_servers_that_cannot_be_made_are_told_wherever_they_are_missed() -> None:
    world = World(pods=0)
    world.unmade = (Unmade("the API server takes no more pods of Deployment server-tickets: exceeded quota."),)
    world.run(20)
    assert world.condition("Ready")[1] == "NoPods"
    assert world.unmade[0].why in world.condition("Ready")[2]
    written = len(world.writes)
    world.run(600)
    assert len(world.writes) == written
    lost = serving()
    lost.pods, lost.unmade = {}, world.unmade
    lost.run(20)
    assert lost.condition("Ready")[1] == "NotServing"
    assert lost.condition("Loaded")[1] == "NoPods"
    for kind in ("Ready", "Loaded"):
        assert lost.unmade[0].why in lost.condition(kind)[2], kind


def test_of_servers_of_other_versions_nothing_is_said() -> None:
    lost = serving()
    lost.pods, lost.unmade = {}, (Unmade("exceeded quota", serves="222222222222"),)
    lost.run(20)
    assert lost.condition("Ready")[2] == f"no server pod holds {version(ONE)}; clients get 503 until one does"
