"""A field that is accepted and does nothing is a defect: each one changes what the pods are told, or what is decided."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from finetune_operator.api.crd import FINETUNEJOB
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.manifests.job import Attempt, build_job
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.pod import PodEnvironment
from finetune_operator.manifests.runspec import build_run_spec
from finetune_trainer.contract import Step
from tests.unit.domain.governed import policy, view
from tests.unit.domain.world import World, begun

OWNER = Owner("support", "ticket-router", "0-1-2")
KEY = "0" * 64


def _after_two_runs(world: World) -> None:
    for word in ("first", "second"):
        world.finish()
        world.change(rerun=word)
        world.settle()
    world.finish()


def _after_two_failures(world: World) -> None:
    for word in ("first", "second"):
        world.end_pod(65)
        world.settle()
        world.change(rerun=word)
        world.settle()
    world.end_pod(65)


def _trains(world: World) -> None:
    world.step_through()
    world.run_pod()
    world.settle()


def _trains_for_a_while(world: World) -> None:
    _trains(world)
    world.tick(100)


def _is_killed(world: World) -> None:
    _trains(world)
    world.end_pod(137)


def _is_edited(world: World) -> None:
    _trains(world)
    world.change(training__learningRate="5e-4")


def _is_asked_why(world: World) -> None:
    world.governance = view(policy(requireJustification=True), labels={})


def _is_asked_what_for(world: World) -> None:
    world.governance = view(policy(purposes=["triage"]), labels={})


DECIDED: dict[str, tuple[Callable[[World], None], Any, Any]] = {
    "spec.suspend": (_trains, False, True),
    "spec.healthPolicy": (_trains, "WhenComplete", "WhenAccepted"),
    "spec.justification": (_is_asked_why, "", "the router answers too slowly"),
    "spec.purpose": (_is_asked_what_for, None, "triage"),
    "spec.rerun": (World.finish, "", "again"),
    "spec.runPolicy.concurrency": (_is_edited, "QueueLatest", "Replace"),
    "spec.runPolicy.cancel": (_trains, 0, 1),
    "spec.runPolicy.maxAttempts": (_is_killed, 3, 1),
    "spec.runPolicy.activeDeadlineSeconds": (_trains_for_a_while, 3600, 60),
    "spec.runPolicy.successfulRunsHistoryLimit": (_after_two_runs, 5, 1),
    "spec.runPolicy.failedRunsHistoryLimit": (_after_two_failures, 5, 1),
}
"""Fields that no pod needs to know: what happened before, and two values that must then be answered differently."""

FULL: dict[str, Any] = {
    "baseModel": {"uri": "hf://org/name@main", "credentialsSecretRef": {"name": "hub"}},
    "dataset": {"inline": {"uri": "pvc://data/tickets.jsonl"}, "validation": {"uri": "pvc://data/held-out.jsonl"}},
    "task": {"outputSchema": {"configMapRef": {"name": "routing"}}},
    "tuner": {"type": "QLoRA", "lora": {}, "quantization": {}},
    "training": {"earlyStopping": {}},
    "evaluation": {
        "dataset": {"uri": "pvc://data/items.jsonl"},
        "gates": {"improvement": {"metric": "ExactMatch"}},
        "judge": {"endpoint": "http://judge.models/v1", "model": "critic", "credentialsSecretRef": {"name": "judge"}},
    },
    "resources": {"gpusPerNode": 1, "requests": {}, "limits": {}, "tolerations": [{"operator": "Exists"}]},
    "artifact": {"uri": "pvc://adapters/support"},
    "workspace": {"claimName": "scratch"},
    "tracking": {"mlflow": {"uri": "http://mlflow.mlops:5000", "experiment": "support", "credentialsSecretRef": {"name": "mlflow"}}},
}
"""A spec in which every optional object is there, so that each of its fields can be changed alone."""

OTHER: dict[str, Any] = {
    "spec.tuner.type": "DoRA",
    "spec.tuner.quantization.type": None,
    "spec.dataset.validation.percent": None,
    "spec.evaluation.metrics": ["ExactMatch"],
    "spec.evaluation.judge.endpoint": "http://judge.models/v2",
    "spec.baseModel.uri": "pvc://models/other",
    "spec.baseModel.digest": "sha256:" + "1" * 64,
    "spec.dataset.inline.digest": "sha256:" + "1" * 64,
    "spec.dataset.validation.digest": "sha256:" + "1" * 64,
    "spec.evaluation.dataset.digest": "sha256:" + "1" * 64,
    "spec.resources.nodeSelector": {"disk": "fast"},
    "spec.training.extraArguments": {"adam_beta2": "0.9"},
    "spec.training.epochs": "7",
    "spec.tracking.mlflow.uri": "https://tracker.mlops/mlflow",
    "spec.dataset.ref.name": None,
}
"""Values for fields where the schema does not suggest one; None: nothing else may stand there beside the rest."""


def leaves(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if schema.get("type") == "object" and "properties" in schema:
        for name, child in schema["properties"].items():
            yield from leaves(child, f"{path}.{name}")
    elif schema.get("type") == "array" and schema["items"]["type"] == "object":
        yield from leaves(schema["items"], f"{path}[]")
    else:
        yield path, schema


SPEC = FINETUNEJOB.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
LEAVES = dict(leaves(SPEC, "spec"))


def children(spec: dict[str, Any]) -> list[Any]:
    """Everything the pods of a run are told."""
    read = FineTuneJobSpec.model_validate(spec)
    document = build_run_spec(OWNER, read, key=KEY, name="ticket-router-0123456789", number=1, token_digest="sha256:" + "0" * 64)
    attempts = [Attempt(KEY, "ticket-router-0123456789", step, 1) for step in Step]
    return [document.to_json(), *(build_job(OWNER, read, attempt, PodEnvironment(image="trainer:1")) for attempt in attempts)]


def other_value(path: str, field: dict[str, Any], value: Any) -> Any:
    """A value that the schema admits and that is not ``value``."""
    if path in OTHER:
        return OTHER[path]
    if "enum" in field:
        return next(choice for choice in reversed(field["enum"]) if choice != value)
    kind = field.get("type", "string")
    if kind == "boolean":
        return not value
    if kind == "integer":
        return field.get("minimum", 1) + 1 if value != field.get("minimum", 1) + 1 else field.get("minimum", 1) + 2
    if kind == "array":
        return ["other"]
    return "pvc://other/place" if path.endswith(".uri") else "0.125" if "double(self)" in str(field) else "3"


def with_other(path: str, field: dict[str, Any]) -> dict[str, Any] | None:
    spec: dict[str, Any] = copy.deepcopy(FULL)
    place: Any = spec
    *parents, leaf = path.removeprefix("spec.").split(".")
    for parent in parents:
        place = place[parent[:-2]][0] if parent.endswith("[]") else place.setdefault(parent, {})
    value = other_value(path, field, place.get(leaf, field.get("default")))
    if value is None:
        return None
    place[leaf] = value
    return spec


@pytest.mark.parametrize("path", sorted(LEAVES.keys() - DECIDED.keys() - {path for path, value in OTHER.items() if value is None}))
def test_a_field_changes_what_the_pods_are_told(path: str) -> None:
    changed = with_other(path, LEAVES[path])
    assert changed is not None
    assert children(changed) != children(FULL)


def test_a_share_of_validation_changes_what_the_pods_are_told() -> None:
    share = copy.deepcopy(FULL)
    share["dataset"]["validation"] = {"percent": 5}
    assert children(share) != children(FULL)


@pytest.mark.parametrize("path", sorted(DECIDED))
def test_a_field_changes_what_is_decided(path: str) -> None:
    happened, *values = DECIDED[path]
    assert path in LEAVES
    answers = []
    for value in values:
        world = begun()
        happened(world)
        world.change(**{path.removeprefix("spec.").replace(".", "__"): value, "justForAnotherGeneration": True})
        world.settle()
        answers.append(_answer(world))
    assert answers[0] != answers[1]


def _answer(world: World) -> dict[str, Any]:
    """What a person or a tool sees of a decision."""
    assert world.status is not None
    deleted = [name for name, job in world.jobs.items() if job["metadata"].get("deletionTimestamp")]
    conditions = [(condition["type"], condition["status"], condition["reason"]) for condition in world.status["conditions"]]
    return {"created": world.created, "deleted": deleted, "conditions": conditions, "history": len(world.history)}
