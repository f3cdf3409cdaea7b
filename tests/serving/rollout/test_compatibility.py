"""What the record of an adapter's run says against serving it, before any pod is touched."""

from dataclasses import replace

import pytest

from finetune_operator.control.rollout.artifacts import offer_of
from finetune_operator.domain.rollout.observed import ArtifactRecord
from tests.serving.rollout.world import ONE, TWO, World, spec

OWN = {"external": {"matchLabels": {"app": "x"}, "adapterMountPath": "/adapters"}}
VLLM = {"managed": {"engine": "vLLM"}}
OURS = {"managed": {"engine": "Transformers"}}
FINE = ArtifactRecord(ONE, "pvc://models/base", "LoRA", 16)
ELSEWHERE = replace(FINE, base_uri="hf://org/base@main")


def judged(server: object, record: ArtifactRecord, **base: str) -> tuple[str, str, str]:
    world = World(spec(server=server, baseModel={"uri": "pvc://models/base", **base}))
    observe = world.observe
    world.observe = lambda: replace(observe(), record=record)  # type: ignore[method-assign]
    world.settle()
    assert world.status is not None
    assert ("desired" in world.status) == (world.condition("Accepted")[0] == "True"), "what is refused is wanted of nobody"
    return world.condition("Accepted")


REFUSED = {
    "another base": (OURS, replace(FINE, base_digest=TWO), {"digest": ONE}, ("spec.baseModel.digest", "Serve that base model")),
    "a base at another place": (
        OURS,
        ELSEWHERE,
        {},
        ("spec.baseModel.uri is pvc://models/base", "trained on hf://org/base@main", f"set spec.baseModel.digest to {ONE}"),
    ),
    "a base at the same place, changed since": (OURS, FINE, {"digest": TWO}, ("spec.baseModel.digest",)),
    "a rank too high": (OWN, replace(FINE, rank=128), {}, ("spec.server.capacity.maxLoraRank is 64", "rank 128", "Raise it")),
    "DoRA on one's own vLLM": (OWN, replace(FINE, tuner="DoRA"), {}, ("spec.server", "no DoRA", "Transformers")),
    "DoRA on a managed vLLM": (VLLM, replace(FINE, tuner="DoRA"), {}, ("no DoRA",)),
    "modules saved beside it": (VLLM, replace(FINE, saves_modules=True), {}, ("modulesToSave", "train it again")),
    "a whole model": (OURS, replace(FINE, tuner="Full"), {}, ("spec.adapter", "whole model")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_field_reason_and_way_out(name: str):
    server, record, base, words = REFUSED[name]
    status, reason, message = judged(server, record, **base)
    assert (status, reason) == ("False", "Incompatible")
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("server", "record", "base"),
    [
        (OURS, replace(FINE, tuner="DoRA", saves_modules=True), {}),
        (OWN, FINE, {"digest": ONE}),
        (OWN, ArtifactRecord(), {"digest": ONE}),
        (OURS, ELSEWHERE, {"digest": ONE}),
        (VLLM, replace(FINE, tuner="QLoRA"), {}),
    ],
)
def test_what_can_be_served_or_is_not_known_is_accepted(server: object, record: ArtifactRecord, base: dict[str, str]):
    assert judged(server, record, **base)[0] == "True"


@pytest.mark.parametrize(
    ("record", "base", "words"),
    [
        (FINE, {"digest": ONE}, ""),
        (FINE, {}, "their digests were not compared"),
        (ArtifactRecord(), {}, "was not compared: spec.baseModel.digest is not set"),
        (ArtifactRecord(), {"digest": ONE}, "by whoever reads the adapter's files"),
        (ArtifactRecord(ONE), {}, "lacks uri or digest"),
        (ArtifactRecord(base_uri="pvc://models/other"), {}, "lacks uri or digest"),
    ],
)
def test_what_was_not_compared_is_said(record: ArtifactRecord, base: dict[str, str], words: str):
    status, reason, message = judged(OURS, record, **base)
    assert (status, reason) == ("True", "Accepted")
    assert words in message if words else not message


def job(key: str = "k", generation: int = 2, **status: object) -> dict[str, object]:
    run = {"key": "k", "adapterDigest": ONE, "reason": "GatePassed", "inputs": {"baseDigest": TWO, "baseUri": "pvc://m/a"}}
    found = {"accepted": {"generation": generation, "key": key}, "currentRun": run, **status}
    tuner = {"type": "DoRA", "lora": {"rank": 8, "modulesToSave": ["lm_head"]}}
    return {"metadata": {"namespace": "n", "name": "j", "generation": 2}, "spec": {"tuner": tuner}, "status": found}


@pytest.mark.parametrize(
    ("found", "record"),
    [
        (job(), ArtifactRecord(TWO, "pvc://m/a", "DoRA", 8, saves_modules=True)),
        (job(key="another"), ArtifactRecord(TWO, "pvc://m/a")),
        (job(generation=1), ArtifactRecord(TWO, "pvc://m/a")),
        (job(currentRun={"adapterDigest": ONE}), ArtifactRecord()),
        (job(currentRun={}, history=[{"artifactDigest": ONE, "inputs": {"baseDigest": ONE}}]), ArtifactRecord(ONE)),
    ],
)
def test_a_job_tells_the_tuner_only_as_long_as_its_spec_is_the_runs(found: dict[str, object], record: ArtifactRecord):
    assert dict(offer_of(found).records) == {ONE: record}
