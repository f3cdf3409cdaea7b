"""The definition of AdapterDeployments on a real API server: mistakes are refused with field and remedy, defaults are stored once."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_inference.contract import Route
from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.apiserver import APPLY, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster.crd import ABSENT, NAMESPACE, install, path_of

PATH = path_of(ADAPTERDEPLOYMENT)
DIGEST = "sha256:" + "0" * 64
MINIMAL: dict[str, Any] = {
    "modelName": "ticket-router",
    "adapter": {"fineTuneJobRef": {"name": "ticket-router"}},
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "server": {"managed": {"replicas": 2}},
}
MERGED: dict[str, Any] = {
    "mode": "Merged",
    "merge": {"uri": "pvc://merged/bot"},
    "baseModel": {"uri": "pvc://models/tiny-chat", "digest": DIGEST},
}
PUBLIC = {"name": "public", "namespace": "infra"}
OWN = {"matchLabels": {"app": "vllm"}, "adapterMountPath": "/adapters"}


ANALYSED: dict[str, Any] = {
    "rollback.automatic": False,
    "analysis.minRequests": 50,
    "analysis.maxWaitSeconds": 60,
    "analysis.onInsufficientData": "Fail",
    "analysis.provider": "Prometheus",
    "analysis.checks.errors.maxRate": "0.1",
    "analysis.checks.errors.maxDeltaVsStable": "0.1",
    "analysis.checks.schema": {"configMapRef": {"name": "tickets"}},
    **{f"analysis.checks.{name}": {"maxSeconds": "2"} for name in ("ttft", "itl")},
    **{f"analysis.checks.{name}.quantile": "0.5" for name in ("ttft", "itl")},
    **{f"analysis.checks.{name}.maxRatioVsStable": "2" for name in ("ttft", "itl")},
}
"""What only matters where a version is watched, each with a value that is not its default."""


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Any:
    with ApiServer(t1) as connection:
        install(connection, ADAPTERDEPLOYMENT)
        yield connection


def deployment(name: str = "bot", changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The smallest AdapterDeployment with some fields changed: dotted path below ``spec`` to value, or ``ABSENT``."""
    spec = copy.deepcopy(MINIMAL)
    for path, value in (changes or {}).items():
        *parents, leaf = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            place.pop(leaf, None)
        else:
            place[leaf] = value
    return {"apiVersion": API_VERSION, "kind": "AdapterDeployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def steps(*weights: int) -> dict[str, Any]:
    return {"strategy.canary.steps": [{"weight": weight} for weight in weights]}


MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "two sources": ({"adapter.uri": "pvc://adapters/a", "adapter.digest": DIGEST}, ("spec.adapter", "one source")),
    "no source": ({"adapter": {}}, ("spec.adapter", "one source")),
    "a uri without digest": ({"adapter": {"uri": "pvc://adapters/a"}}, ("spec.adapter.digest", "copy it from status.artifact.digest")),
    "approval of a uri": (
        {"adapter": {"uri": "pvc://adapters/a", "digest": DIGEST, "promotion": "Approval"}},
        ("spec.adapter.promotion", "belongs to fineTuneJobRef"),
    ),
    "a Gateway twice": (
        {"traffic.httpRoute.parentRefs": [PUBLIC, {**PUBLIC, "sectionName": "https"}]},
        ("spec.traffic.httpRoute.parentRefs", "another listener of it in each sectionName"),
    ),
    "no Gateway": ({"traffic.httpRoute.parentRefs": []}, ("spec.traffic.httpRoute.parentRefs", "at least 1 items")),
    "an address for a host": (
        {"traffic.httpRoute": {"parentRefs": [PUBLIC], "hostnames": ["10.0.0.1"]}},
        ("spec.traffic.httpRoute.hostnames", "reach the Gateway by its address"),
    ),
    "a host that is none": ({"traffic.httpRoute": {"parentRefs": [PUBLIC], "hostnames": ["a..b"]}}, ("spec.traffic.httpRoute.hostnames",)),
    "two kinds of server": ({"server.external": OWN}, ("spec.server", "set exactly one")),
    "no server": ({"server": {}}, ("spec.server", "set exactly one")),
    "a label that nobody can have": (
        {"server": {"external": {**OWN, "matchLabels": {"a b": "c"}}}},
        ("spec.server.external.matchLabels", "no label can have"),
    ),
    "a label's prefix that is too long": (
        {"server": {"external": {**OWN, "matchLabels": {f"{'a' * 254}/app": "c"}}}},
        ("spec.server.external.matchLabels", "longer than the 253 characters"),
    ),
    "no place of the adapters": ({"server": {"external": {"matchLabels": {"app": "vllm"}}}}, ("adapterMountPath", "Required")),
    "a place that leaves the mount": (
        {"server": {"external": {**OWN, "adapterMountPath": "/a/../b"}}},
        ("adapterMountPath", "segments"),
    ),
    "a folder that is not named by its digest, where nobody hashes it": (
        {
            "adapter": {"uri": "pvc://adapters/mine", "digest": DIGEST},
            "server": {"external": OWN},
        },
        ("spec.adapter", "named by the digest"),
    ),
    "no labels": ({"server": {"external": {**OWN, "matchLabels": {}}}}, ("spec.server.external.matchLabels", "at least one label")),
    "no room for a canary": ({"server.capacity": {"maxLoras": 1, "maxCpuLoras": 1}}, ("maxCpuLoras", "at least 2")),
    "batches of one adapter": ({"server.capacity": {"maxLoras": 1, "maxCpuLoras": 4}}, ("maxLoras", "at least 2")),
    "fewer in memory than in a batch": (
        {"server": {"managed": {"engine": "vLLM"}, "capacity": {"maxLoras": 8, "maxCpuLoras": 4}}},
        ("spec.server.capacity.maxCpuLoras", "at least maxLoras"),
    ),
    "fewer in the memory of an engine of one's own than in a batch": (
        {"server": {"external": OWN, "capacity": {"maxCpuLoras": 3}}},
        ("spec.server.capacity.maxCpuLoras", "at least maxLoras"),
    ),
    "batches of an engine that makes one of all": (
        {"server.capacity": {"maxLoras": 3}},
        ("spec.server.capacity.maxLoras", "remove it, and set maxCpuLoras"),
    ),
    "accelerators of which an engine uses one": (
        {"server.managed.resources": {"gpus": 2}},
        ("spec.server.managed.resources.gpus", "use engine vLLM"),
    ),
    "the engine's own arguments": ({"server.managed.args": ["--max-loras=9"]}, ("spec.server.managed.args", "use server.capacity")),
    "an address": ({"server.managed.args": ["--admin-host", "0.0.0.0"]}, ("spec.server.managed.args", "remove it")),
    "another model": ({"server.managed.args": ["--model=/tmp/other"]}, ("spec.server.managed.args", "remove it")),
    "a managed server with a model from the hub": (
        {"baseModel.uri": "hf://org/name@main"},
        ("spec.baseModel", "copy the model to a claim"),
    ),
    "falling weights": (steps(25, 5), ("spec.strategy.canary.steps", "must rise")),
    "equal weights": (steps(5, 5), ("spec.strategy.canary.steps", "must rise")),
    "all callers in a step": (steps(100), ("weight", "less than or equal to 99")),
    "a step of both": (
        {"strategy.canary.steps": [{"weight": 5, "shadow": {"percent": 5}}]},
        ("spec.strategy.canary.steps[0]", "set exactly one"),
    ),
    "copies after callers": (
        {"strategy.canary.steps": [{"weight": 5}, {"shadow": {"percent": 5}}]},
        ("spec.strategy.canary.steps", "one shadow step"),
    ),
    "copying nothing for a while": (
        {"strategy": {"blueGreen": {"bakeSeconds": 60}}},
        ("spec.strategy.blueGreen.bakeSeconds", "set shadow"),
    ),
    **{
        f"a switch that nothing watches, and {field}": (
            {"strategy": {"blueGreen": {}}, field: value},
            ("spec.strategy.blueGreen", "set shadow, or remove them"),
        )
        for field, value in ANALYSED.items()
    },
    "approval of what is asked of nobody": (
        {"approvedVersion": DIGEST},
        ("spec.approvedVersion", "adapter.promotion is Approval", "or remove it"),
    ),
    "approval where no step has one": (
        {"approvedVersion": DIGEST, **steps(5, 50)},
        ("spec.approvedVersion", "a canary's step has approval"),
    ),
    "two strategies": ({"strategy": {"canary": {}, "blueGreen": {}}}, ("spec.strategy.blueGreen", "remove one")),
    "a check without limits": ({"analysis.checks.ttft": {}}, ("spec.analysis.checks.ttft", "needs maxSeconds")),
    "a ratio of one": ({"analysis.checks.itl": {"maxRatioVsStable": "1"}}, ("maxRatioVsStable", "above 1")),
    "no difference allowed": ({"analysis.checks.errors": {"maxDeltaVsStable": "0"}}, ("maxDeltaVsStable", "above 0")),
    "a float": ({"analysis.checks.errors": {"maxRate": 0.05}}, ("maxRate", "string")),
    "a check that a step names and nobody defines": (
        {"strategy.canary.steps": [{"weight": 5, "analysis": ["Schema"]}]},
        ("spec.strategy", "add it to analysis.checks"),
    ),
    "no place for merged models": ({**MERGED, "merge": ABSENT}, ("spec.merge", "set it with mode Merged")),
    "a place for what is not merged": ({"merge": {"uri": "pvc://merged/a"}}, ("spec.merge", "remove it otherwise")),
    "merged into servers of one's own": ({**MERGED, "server": {"external": OWN}}, ("spec.server", "needs server.managed")),
    "merged with a base of no known digest": ({**MERGED, "baseModel": {"uri": "pvc://m/a"}}, ("spec.baseModel", "needs baseModel.digest")),
    "merged, and a capacity for adapters": ({**MERGED, "server.capacity": {"maxLoraRank": 128}}, ("spec.server", "remove it")),
    "merged without effect": ({**MERGED, "preflight.effectProbe": "Off"}, ("spec.preflight", "cannot be Off in mode Merged")),
    "a field nobody knows": ({"strategy.canary.stepz": []}, ("stepz", "unknown field")),
}


@pytest.mark.parametrize(("changes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_with_field_and_remedy(server: ApiServer, changes: dict[str, Any], words: tuple[str, ...]):
    with pytest.raises(RequestError) as refusal:
        server.request("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", deployment(changes=changes))
    assert refusal.value.status in (400, 422), str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


ACCEPTED: dict[str, dict[str, Any]] = {
    "the smallest one": {},
    "behind two listeners and another Gateway": {
        "traffic.httpRoute": {
            "parentRefs": [{**PUBLIC, "sectionName": "http"}, {**PUBLIC, "sectionName": "https"}, {"name": "public"}],
            "hostnames": ["bot.example.com", "*.example.org"],
        }
    },
    "a typed digest": {"adapter": {"uri": "pvc://adapters/a", "digest": DIGEST}, "preflight.requireEvaluation": False},
    "a server of one's own": {"server": {"external": {**OWN, "port": 8001, "baseModelName": "org/name"}}},
    "arguments of the engine": {"server.managed.args": ["--max-model-len", "4096", "--model-impl=auto"]},
    "a model from the hub behind a server of one's own": {
        "baseModel.uri": "hf://org/name@main",
        "server": {"external": OWN},
    },
    "all kinds of steps": {
        "strategy.canary.steps": [{"shadow": {}}, {"weight": 5, "analysis": ["Errors", "Schema"]}, {"weight": 50, "approval": True}],
        "analysis.checks.schema": {"configMapRef": {"name": "tickets"}},
    },
    "merged": {**MERGED, "merge.resources": {"limits": {"memory": "8Gi"}}},
    "few adapters in one batch": {"server.capacity": {"maxCpuLoras": 2}},
    "vLLM over many accelerators": {"server": {"managed": {"engine": "vLLM", "resources": {"gpus": 4}}, "capacity": {"maxLoras": 3}}},
    "one accelerator": {"server.managed.resources": {"gpus": 1}},
    "blue/green": {"strategy": {"blueGreen": {"shadow": {"percent": 10}}}, **ANALYSED},
    "blue/green that nothing watches": {
        "strategy": {"blueGreen": {}},
        "rollback": {"automatic": True, "keepStableLoadedSeconds": 7200},
        "analysis": {"minRequests": 200, "checks": {"ttft": {"maxRatioVsStable": "1.5"}}},
    },
    "approval of an artifact": {"adapter.promotion": "Approval", "approvedVersion": DIGEST},
    "approval of a step": {"strategy.canary.steps": [{"weight": 5}, {"weight": 50, "approval": True}], "approvedVersion": DIGEST},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_meant_is_accepted_and_stored_as_the_models_read_it(server: ApiServer, changes: dict[str, Any]):
    stored = server.request("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", deployment(changes=changes))
    assert AdapterDeployment.from_manifest(stored).spec == AdapterDeployment.from_manifest(deployment(changes=changes)).spec


def test_in_mode_merged_names_are_shorter_and_neither_mode_nor_base_model_can_change(server: ApiServer):
    with pytest.raises(RequestError, match="at most 40 characters in mode Merged"):
        apply(server, deployment("a" * 41, MERGED))
    apply(server, deployment("a" * 40, MERGED))
    with pytest.raises(RequestError, match="mode cannot change"):
        apply(server, {**deployment("a" * 40)})
    other = {**MERGED, "baseModel": {"uri": "pvc://models/other", "digest": DIGEST}}
    with pytest.raises(RequestError, match="baseModel cannot change in mode Merged"):
        apply(server, deployment("a" * 40, other))


def apply(server: ApiServer, manifest: dict[str, Any], subresource: str = "") -> dict[str, Any]:
    path = f"{PATH}/{manifest['metadata']['name']}{subresource}?fieldManager=somebody&force=true&fieldValidation=Strict"
    stored: dict[str, Any] = server.request("PATCH", path, manifest, APPLY)
    return stored


def test_a_second_apply_changes_nothing_and_the_alias_cannot_change(server: ApiServer):
    first, second = apply(server, deployment("twice")), apply(server, deployment("twice"))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    with pytest.raises(RequestError, match="modelName cannot change"):
        apply(server, deployment("twice", {"modelName": "other"}))
    with pytest.raises(RequestError, match="server cannot change"):
        apply(server, deployment("twice", {"server": {"external": OWN}}))


def test_the_manifest_in_the_page_about_ones_own_vllm_is_accepted(server: ApiServer):
    page = (Path(__file__).parents[2] / "docs/serving/your-own-vllm.md").read_text(encoding="utf-8")
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    (manifest,) = [document for document in found if document["kind"] == ADAPTERDEPLOYMENT.kind]
    manifest["metadata"].pop("namespace")
    server.request("POST", f"{PATH}?dryRun=All&fieldValidation=Strict", manifest)


def test_a_status_with_its_route_is_stored_as_it_was_written(server: ApiServer):
    apply(server, deployment("route"))
    route = Route(deployment="route", alias="ticket-router", generation=3, stable="a--0123456789ab", versions=["a--0123456789ab"])
    status = AdapterDeploymentStatus(observed_generation=1, route=route, loaded="2/2", replicas=2, ready_replicas=2, selector="app=bot")
    manifest = {key: value for key, value in deployment("route").items() if key != "spec"}
    stored = apply(server, {**manifest, "status": status.to_manifest()}, "/status")
    assert AdapterDeployment.from_manifest(stored).status == status


def test_the_scale_subresource_is_that_of_the_managed_server(server: ApiServer):
    apply(server, deployment("scaled"))
    scale = server.request("GET", f"{PATH}/scaled/scale")
    assert scale["spec"]["replicas"] == 2
