"""What an agent reads of its AdapterDeployment."""

import copy
from typing import Any

import pytest

from finetune_inference.agent.deployment import desired_set
from finetune_inference.agent.knowledge import basis_of
from finetune_inference.agent.sources import SourceAway
from finetune_inference.contract import DesiredSet, EngineKind, EngineLimits
from finetune_trainer.contract import digest_of

DIGEST = digest_of(b"adapter")
NAME = f"bot--{DIGEST.removeprefix('sha256:')[:12]}"
OBJECT: dict[str, Any] = {
    "metadata": {"name": "bot"},
    "spec": {
        "modelName": "bot",
        "baseModel": {"uri": "pvc://models/base", "digest": digest_of(b"base")},
        "server": {"managed": {"engine": "Transformers", "replicas": 2}, "capacity": {"maxLoras": 3, "maxCpuLoras": 6, "maxLoraRank": 32}},
    },
    "status": {
        "phase": "Healthy",
        "desired": {
            "generation": 4,
            "versions": [{"name": NAME, "uri": "pvc://a/b", "digest": DIGEST, "keepUntil": "2026-01-01T00:00:00Z", "required": False}],
        },
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(OBJECT)
    *parents, leaf = path.split(".")
    place = document
    for parent in parents:
        place = place[parent] if not isinstance(place, list) else place[int(parent)]
    place[leaf] = value
    return document


def test_spec_and_status_make_a_desired_set() -> None:
    found = desired_set(OBJECT, "base")
    assert isinstance(found, DesiredSet)
    assert (found.generation, found.base.name, found.base.digest) == (4, "base", digest_of(b"base"))
    assert (found.engine.kind, found.engine.limits) == (
        EngineKind.TRANSFORMERS,
        EngineLimits(max_loras=3, max_cpu_loras=6, max_lora_rank=32),
    )
    (version,) = found.versions
    assert (version.name, version.uri, version.required) == (NAME, "pvc://a/b", False)
    assert version.keep_until is not None
    assert version.keep_until.isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(("preflight", "required"), [({"effectProbe": "Off"}, False), ({"effectProbe": "Enforce"}, True), ({}, True)])
def test_whether_an_effect_is_required_is_in_the_spec(preflight: dict[str, str], required: bool) -> None:
    found = desired_set(changed("spec.preflight", preflight), "base")
    assert isinstance(found, DesiredSet)
    assert found.require_effect is required


def test_beside_an_engine_of_ones_own_it_is_vllm() -> None:
    found = desired_set(changed("spec.server", {"external": {"matchLabels": {"app": "x"}}}), "base")
    assert isinstance(found, DesiredSet)
    assert (found.engine.kind, found.engine.limits) == (EngineKind.VLLM, EngineLimits())


def test_what_has_to_be_proven_is_an_order_that_may_be_absent() -> None:
    proof = {"publicKeys": ["PEM"], "level": "internal", "regimes": ["pii"], "versions": [NAME]}
    found = desired_set(changed("status.desired.proof", proof), "base")
    assert isinstance(found, DesiredSet)
    assert found.proof is not None
    assert found.proof_of(found.versions[0]) is found.proof
    plain = desired_set(OBJECT, "base")
    assert isinstance(plain, DesiredSet)
    assert plain.proof_of(plain.versions[0]) is None
    assert basis_of(found.versions[0], found) != basis_of(plain.versions[0], plain), "what was checked without it is looked at again"


def test_an_order_of_a_newer_operator_leaves_the_rest_as_it_is() -> None:
    assert desired_set(changed("status.desired.orderOfTomorrow", {"a": 1}), "base") == desired_set(OBJECT, "base")


def test_an_empty_set_is_a_set() -> None:
    found = desired_set(changed("status.desired", {"generation": 5}), "base")
    assert isinstance(found, DesiredSet)
    assert found.versions == []


@pytest.mark.parametrize("status", [None, {}, {"desired": None}])
def test_before_anything_is_wanted_that_is_said(status: Any) -> None:
    found = desired_set(changed("status", status), "base")
    assert found == SourceAway("status.desired: nothing is wanted yet")


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("status.desired.generation", "hidden", "status.desired.generation"),
        ("status.desired.versions", [{"name": NAME, "uri": "pvc://a/b", "digest": "hidden"}], "status.desired.versions.0.digest"),
        ("status.desired.versions", "hidden", "status.desired.versions"),
        ("spec.server.capacity", {"maxLoras": "hidden"}, "spec.server.capacity.maxLoras"),
        ("spec.server.managed", {"engine": "hidden"}, "spec.server.managed.engine"),
        ("spec.baseModel", {"digest": "hidden"}, "spec.baseModel.digest"),
    ],
)
def test_a_mistake_names_the_field_of_the_object_and_no_value(path: str, value: Any, place: str) -> None:
    found = desired_set(changed(path, value), "base")
    assert isinstance(found, SourceAway)
    assert found.message.startswith(f"{place}: ")
    assert "hidden" not in found.message
