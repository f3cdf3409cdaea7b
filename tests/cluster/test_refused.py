"""What cannot be served is refused before any server is asked for it, with field, reason and way out: one table, with the real operator.

What the operator can tell it refuses itself: no object is made and no engine is asked for anything. What only the files tell a Job has read
before, whose command is the real one here; beside it and its network policy no object is made either.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from finetune_inference.artifact.reading import base_facts
from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import ADAPTERDEPLOYMENT
from finetune_testbed.apiserver import MERGE
from finetune_testbed.bed import Testbed
from finetune_trainer.contract import digest_of
from tests.cluster import operator_process, serving_site
from tests.cluster.checked_site import checker
from tests.cluster.finetunejobs import Object
from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.own_engines import OwnEngine, OwnSite
from tests.cluster.rest import wait_idle
from tests.cluster.serving_site import FAST, NAME, Site
from tests.engines.artifacts import BASE_DIGEST, AdapterFiles, Published, publish
from tests.engines.forked import request

KEY = "0" * 64
NOW = "2026-11-22T10:00:00Z"
OTHER_BASE = digest_of(b"the files of another base model")
TEMPLATE = {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ messages }}"}
MANAGED: Object = {"managed": {"engine": "vLLM", "image": "registry.invalid/vllm:0", "replicas": 1}}
CHILDREN = {"deployments": "apps/v1", "services": "", "poddisruptionbudgets": "policy/v1", "networkpolicies": "networking.k8s.io/v1"}


@dataclass
class Scene:
    """``site`` has one managed server pod, ``own`` engines that its user runs; ``engine`` is of the latter, and nobody may ask it."""

    site: Site
    own: OwnSite
    engine: OwnEngine
    operator: OperatorProcess

    def deploy(self, name: str, adapter: Object, app: str = "vllm", **changes: Any) -> str:
        """Behind an engine of the user's own, to which the operator would push at once, unless another server is named."""
        spec = {
            "modelName": changes.pop("modelName", name),
            "adapter": adapter,
            "baseModel": {"uri": "pvc://models/base", **changes.pop("base", {})},
            "server": changes.pop("server", None) or self.own.server(app, changes.pop("capacity", None)),
            **changes,
        }
        document = {"apiVersion": API_VERSION, "kind": ADAPTERDEPLOYMENT.kind, "metadata": {"name": name}, "spec": spec}
        self.site.deployments.add(name)
        self.site.place.server.request("POST", self.site.path(), document)
        return name


Arrange = Callable[[Scene], str]


@dataclass(frozen=True)
class Refusal:
    """``arrange`` deploys and gives the object's name; ``words`` are field, reason and way out, in the message of ``Ready``.

    ``accepted``: the refusal says nothing about the spec itself, and passes when the world changes. ``read``: the files were looked at.
    """

    arrange: Arrange
    reason: str
    words: tuple[str, ...]
    accepted: bool = False
    read: bool = False


def files(**changes: Any) -> Arrange:
    """An adapter for the managed vLLM of which only its files tell what is wrong with it."""

    def arrange(scene: Scene) -> str:
        adapter = publish(AdapterFiles(**{"seed": 40, **changes}), scene.site.volume)
        return apply(scene, adapter)

    return arrange


def apply(scene: Scene, adapter: Published) -> str:
    scene.site.apply(adapter, baseModel={"uri": "pvc://models/base", "digest": BASE_DIGEST}, server=MANAGED)
    return NAME


def another_digest(scene: Scene) -> str:
    adapter = publish(AdapterFiles(seed=41), scene.site.volume)
    return apply(scene, replace(adapter, digest=digest_of(b"other files")))


def another_template(scene: Scene) -> str:
    facts = base_facts(scene.site.program.base, None)
    assert facts.template_digest
    template = {"tokenizerDigest": facts.tokenizer_digest, "chatTemplateDigest": digest_of(b"another template")}
    return files(facts={"template": template})(scene)


def recorded(name: str, **changes: Any) -> Arrange:
    """What the FineTuneJob of that name has made."""
    return lambda scene: scene.deploy(name, {"fineTuneJobRef": {"name": name}}, **changes)


def typed(scene: Scene) -> Published:
    return publish(AdapterFiles(seed=42 + len(scene.site.deployments)), scene.site.volume)


def full(scene: Scene) -> str:
    return scene.deploy("full", source(typed(scene)), capacity={"maxLoras": 2, "maxCpuLoras": 2}, preflight={"requireEvaluation": False})


def same_alias(scene: Scene) -> str:
    scene.deploy("older", {"fineTuneJobRef": {"name": "nobody"}}, modelName="shared")
    until(lambda: scene.site.status("older").get("phase"))
    seen = scene.site.get("older")["metadata"]["creationTimestamp"]
    name = scene.deploy("younger", {"fineTuneJobRef": {"name": "nobody"}}, modelName="shared")
    if scene.site.get(name)["metadata"]["creationTimestamp"] == seen:  # of one second: the uid decides
        name = max(("older", name), key=lambda each: scene.site.get(each)["metadata"]["uid"])
    return name


def source(adapter: Published) -> Object:
    return {"uri": adapter.uri, "digest": adapter.digest}


REFUSED: dict[str, Refusal] = {
    "wrong digest": Refusal(another_digest, "ArtifactRefused", ("DigestMismatch", "digest:", "Correct the digest"), read=True),
    "wrong base": Refusal(
        recorded("other-base", base={"digest": BASE_DIGEST}),
        "Incompatible",
        ("spec.baseModel.digest", "trained on", "Serve that base model"),
    ),
    "wrong base, of which no digest is said": Refusal(
        recorded("base-elsewhere"),
        "Incompatible",
        ("spec.baseModel.uri is pvc://models/base", "trained on pvc://models/elsewhere", f"set spec.baseModel.digest to {BASE_DIGEST}"),
    ),
    "rank above the server's": Refusal(
        recorded("high-rank"), "Incompatible", ("spec.server.capacity.maxLoraRank is 64", "rank 128", "Raise it")
    ),
    "DoRA on vLLM": Refusal(
        recorded("dora", server=MANAGED), "Incompatible", ("spec.server", "vLLM, which serves no DoRA", "Transformers, or train it again")
    ),
    "prompt tuning on vLLM": Refusal(
        files(config={"peft_type": "PROMPT_TUNING"}),
        "ArtifactRefused",
        ("PeftTypeUnsupported", "adapter_config.json:peft_type", "serve it with engine Transformers"),
        read=True,
    ),
    "extra saved modules": Refusal(recorded("saves", server=MANAGED), "Incompatible", ("spec.server", "modulesToSave", "train it again")),
    "template hash mismatch": Refusal(
        another_template,
        "ArtifactRefused",
        ("TemplateMismatch", "finetune.json:template.chatTemplateDigest", "Serve the base model with the template"),
        read=True,
    ),
    "slots exceeded": Refusal(
        full, "WaitingForCapacity", ("spec.server.capacity.maxCpuLoras is 2", "2 that nobody here has loaded", "Raise it"), accepted=True
    ),
    "two deployments with one alias": Refusal(same_alias, "AliasTaken", ("spec.modelName shared", "which is older", "Choose another name")),
    "an ungated adapter": Refusal(
        recorded("ungated", server=MANAGED),
        "NotEvaluated",
        ("spec.preflight.requireEvaluation", "has no gate", "Add spec.evaluation.gates there"),
    ),
    "pickle weights": Refusal(
        files(extra={"adapter_model.bin": b"x"}), "ArtifactRefused", ("PickleRefused", "adapter_model.bin", "safe_serialization"), read=True
    ),
    "a selector that matches nothing": Refusal(
        lambda scene: scene.deploy("nowhere", source(typed(scene)), app="no-such-pod", preflight={"requireEvaluation": False}),
        "NoPods",
        ("spec.server.external.matchLabels", "app=no-such-pod", "correct it, or start your server"),
        accepted=True,
    ),
}

JOBS: dict[str, tuple[Object, Object]] = {
    "other-base": ({}, {"inputs": {"baseDigest": OTHER_BASE}}),
    "base-elsewhere": ({}, {"inputs": {"baseDigest": BASE_DIGEST, "baseUri": "pvc://models/elsewhere"}}),
    "high-rank": ({"tuner": {"type": "LoRA", "lora": {"rank": 128}}}, {}),
    "dora": ({"tuner": {"type": "DoRA", "lora": {"rank": 8}}}, {}),
    "saves": ({"tuner": {"type": "LoRA", "lora": {"rank": 8, "modulesToSave": ["embed_tokens"]}}}, {}),
    "ungated": ({}, {"reason": "NotGated", "gate": "NotGated"}),
}
"""FineTuneJobs that have ended: what differs in spec and run."""


def end_job(site: Site, name: str) -> None:
    """As it lies there once its run has published."""
    spec, run = JOBS[name]
    place, digest = site.place, digest_of(name.encode())
    place.apply(name, **{path.replace(".", "__"): value for path, value in spec.items()})
    entry = {
        "key": KEY,
        "name": f"{name}-0123456789",
        "number": 1,
        "generation": 1,
        "inputs": {"baseDigest": BASE_DIGEST},
        "outcome": "Succeeded",
        "reason": "GatePassed",
        "gate": "GatePassed",
        "startedAt": NOW,
        "finishedAt": NOW,
        "adapterDigest": digest,
        "artifactUri": f"pvc://adapters/team/{digest.removeprefix('sha256:')}",
        **run,
    }
    artifact = {"uri": entry["artifactUri"], "digest": digest, "runNumber": 1}
    status = {"observedGeneration": 1, "accepted": {"generation": 1, "key": KEY}, "currentRun": entry, "artifact": artifact}
    place.server.request("PATCH", f"{place.job_path(name)}/status", {"status": status}, MERGE)


@pytest.fixture(scope="module")
def scene(t1: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("refused")
    with serving_site.site(t1, folder) as site:
        (site.program.base / "tokenizer_config.json").write_text(json.dumps(TEMPLATE))
        own = OwnSite(site, [])
        engine = own.add_engine("vllm")
        mine = publish(AdapterFiles(seed=1), site.volume)
        for number in range(2):
            engine.load(f"mine-{number}", str(mine.folder))
        for name in JOBS:
            end_job(site, name)
        arguments = ("--namespace", site.place.namespace, *FAST, "--inference-image", "registry.invalid/finetune-inference:0")
        arguments += ("--rollout-rest-seconds", "1", "--rollout-audit-seconds", "1")
        with checker(site), operator_process.running(t1.kubeconfig, folder, arguments) as operator:
            yield Scene(site, own, engine, operator)


def test_all_twelve_are_in_the_table() -> None:
    assert len(REFUSED) == 12 + 1, "a wrong base is told by its digest, or by its uri"


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_any_engine_is_asked(scene: Scene, case: str) -> None:
    refusal = REFUSED[case]
    asked = asked_of(scene)
    name = refusal.arrange(scene)
    scene.site.wait(lambda _: holds(scene, name, refusal), refusal.reason, name)
    wait_idle(scene.operator, 2 * len(scene.site.deployments) + 1)  # each is looked at every second, this one among them
    assert holds(scene, name, refusal), scene.site.condition("Ready", name)
    assert asked_of(scene) == asked, "an engine was asked for something"
    status, accepted = scene.site.status(name), scene.site.condition("Accepted", name)
    assert not status.get("route")
    assert "desired" not in status
    assert (accepted["status"], accepted["reason"]) == (("True", "Accepted") if refusal.accepted else ("False", refusal.reason))
    assert children_of(scene, name) == [f"check-{name}"] * refusal.read, "what closes the pod of the check, and nothing that serves"


def holds(scene: Scene, name: str, refusal: Refusal) -> bool:
    ready = scene.site.condition("Ready", name)
    return ready.get("reason") == refusal.reason and all(word in ready["message"] for word in refusal.words)


def asked_of(scene: Scene) -> list[Any]:
    """What the engines were asked for so far: loads, unloads, and requests for tokens."""
    managed = [json_of(f"http://{server.ip}:8000/faults") for server in scene.site.servers]
    return [(told["log"], told["counts"]["mostLoading"], told["requests"]) for told in (*managed, scene.engine.told())]


def json_of(url: str) -> Any:
    return json.loads(request("GET", url)[1])


def children_of(scene: Scene, name: str) -> list[str]:
    """Objects in the cluster that this AdapterDeployment owns."""
    uid, place, found = scene.site.get(name)["metadata"]["uid"], scene.site.place, []
    for plural, group in CHILDREN.items():
        for item in place.server.request("GET", place.path(plural, group=group))["items"]:
            owners = [reference["uid"] for reference in item["metadata"].get("ownerReferences") or []]
            found += [item["metadata"]["name"]] if uid in owners else []
    return found
