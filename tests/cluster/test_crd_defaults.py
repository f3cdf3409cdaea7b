"""What the API server stores is what the user meant: defaults once, no difference on the second apply, and any later edit possible."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from finetune_operator.api.base import FIELD_MANAGER, rfc3339
from finetune_operator.api.crd import FINETUNEJOB
from finetune_operator.api.finetunejob import FineTuneJob
from finetune_testbed.apiserver import APPLY, ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster.crd import PATH, install, job

USER = "somebody"
KEY, DIGEST, NOW = "0" * 64, "sha256:" + "0" * 64, rfc3339(datetime.now(UTC))


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Any:
    with ApiServer(t1) as connection:
        install(connection)
        yield connection


@pytest.fixture
def name(server: ApiServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.split("[")[0].replace("_", "-")[-60:].strip("-")
    yield name
    server.request("DELETE", f"{PATH}/{name}")


def apply(server: ApiServer, manifest: dict[str, Any], manager: str = USER, subresource: str = "") -> dict[str, Any]:
    path = f"{PATH}/{manifest['metadata']['name']}{subresource}?fieldManager={manager}&force=true&fieldValidation=Strict"
    stored: dict[str, Any] = server.request("PATCH", path, manifest, APPLY)
    return stored


def test_a_second_apply_changes_nothing(server: ApiServer, name: str) -> None:
    first, second = apply(server, job(name)), apply(server, job(name))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert second["metadata"]["generation"] == 1


def test_the_stored_defaults_are_those_the_models_read(server: ApiServer, name: str) -> None:
    stored = apply(server, job(name))
    without_server = FineTuneJob.from_manifest(job(name)).spec
    assert FineTuneJob.from_manifest(stored).spec == without_server
    unstored = {"validation"}
    written = without_server.to_manifest()
    written["dataset"] = {key: value for key, value in written["dataset"].items() if key not in unstored}
    assert stored["spec"] == written


def test_a_defaulted_object_and_one_with_the_defaults_typed_out_are_equal(server: ApiServer, name: str) -> None:
    stored = apply(server, job(name))
    typed = apply(server, {**job(name), "spec": stored["spec"]})
    assert typed["spec"] == stored["spec"]
    assert typed["metadata"]["generation"] == 1


EDITS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a share becomes a file", {}, {"dataset.validation": {"uri": "pvc://data/held-out.jsonl"}}),
    ("epochs become steps", {"training.epochs": 3}, {"training.maxSteps": 10}),
    ("an adapter becomes all weights", {"tuner": {"type": "LoRA", "lora": {"rank": 8}}}, {"tuner": {"type": "Full"}}),
    ("QLoRA becomes LoRA", {"tuner": {"type": "QLoRA", "quantization": {"type": "NF4"}}}, {"tuner": {"type": "LoRA"}}),
    ("a gate goes", {"evaluation.gates.improvement": {"metric": "ExactMatch"}}, {}),
    ("a schema goes", {"task.outputSchema.configMapRef.name": "routing"}, {"stage": "ContinuedPretraining"}),
    ("a GPU goes", {"resources": {"gpusPerNode": 1, "gpuMemory": "80Gi"}}, {}),
    ("early stopping goes", {"training.earlyStopping": {"patience": 2}}, {"dataset.validation.percent": 0, "evaluation.metrics": []}),
]


@pytest.mark.parametrize(("before", "after"), [edit[1:] for edit in EDITS], ids=[edit[0] for edit in EDITS])
def test_a_stored_default_never_stands_in_the_way_of_an_edit(
    server: ApiServer, name: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    apply(server, job(name, before))
    edited = apply(server, job(name, after))
    fresh = server.request("POST", f"{PATH}?dryRun=All", job(f"{name}-fresh"[-60:].strip("-"), after))
    assert edited["spec"] == fresh["spec"]


def whole_status() -> dict[str, Any]:
    """A status with every list filled."""
    run = {"number": 1, "key": KEY, "name": "ticket-router-0123456789", "generation": 1}
    metric = {"name": "ExactMatch", "base": "0", "tuned": "0.98", "delta": "0.98", "low": "0.9", "high": "1", "verdict": "Pass"}
    condition = {"observedGeneration": 1, "lastTransitionTime": NOW, "message": "said"}
    return {
        "observedGeneration": 1,
        "phase": "Training",
        "accepted": {"generation": 1, "key": KEY},
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "Training", **condition},
            {"type": "Reconciling", "status": "True", "reason": "Training", **condition},
        ],
        "currentRun": {**run, "activeStep": "train", "attempt": 2, "stepText": "120/300", "loss": "0.7312", "eta": "4m", "startedAt": NOW},
        "history": [
            {
                **run,
                "finishedAt": NOW,
                "outcome": "Succeeded",
                "reason": "RunSucceeded",
                "metrics": [{"name": "ExactMatch", "base": "0", "tuned": "1"}],
            }
        ],
        "dataset": {"digest": DIGEST, "format": "Messages", "examples": 240, "tokens": 9000, "dropped": [{"reason": "Empty", "count": 1}]},
        "estimate": {"memoryBytes": 1, "diskBytes": 1, "seconds": 1, "confidence": "Fitted"},
        "evaluation": {"verdict": "Pass", "items": 60, "metrics": [metric]},
        "artifact": {"uri": "pvc://adapters/support/0", "digest": DIGEST, "runNumber": 1},
    }


def test_a_status_is_stored_as_it_is_written_and_a_second_write_changes_nothing(server: ApiServer, name: str) -> None:
    apply(server, job(name))
    manifest = {key: value for key, value in job(name).items() if key != "spec"}
    written = {**manifest, "status": whole_status()}
    first = apply(server, written, FIELD_MANAGER, "/status")
    assert first["status"] == whole_status()
    assert apply(server, written, FIELD_MANAGER, "/status")["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert FineTuneJob.from_manifest(first).status.history[0].outcome == "Succeeded"


def test_a_status_write_leaves_the_spec_alone_and_the_other_way_round(server: ApiServer, name: str) -> None:
    created = apply(server, {**job(name), "status": {"phase": "Ready"}})
    assert "status" not in created
    manifest = {**job(name, {"rerun": "sneaked-in"}), "status": {"observedGeneration": 1}}
    written = server.request("PUT", f"{PATH}/{name}/status", {**created, **manifest, "metadata": created["metadata"]})
    assert written["spec"]["rerun"] == ""
    assert written["status"] == {"observedGeneration": 1}


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def test_the_columns_show_what_people_ask_for(server: ApiServer, name: str) -> None:
    apply(server, job(name))
    apply(server, {**{key: value for key, value in job(name).items() if key != "spec"}, "status": whole_status()}, FIELD_MANAGER, "/status")
    table = table_of(server, name)
    shown = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    narrow = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert narrow == ["Name", "Ready", "Reason", "Stage", "Tuner", "Step", "Loss", "ETA", "Age"]
    assert [shown[column] for column in narrow[1:-1]] == ["False", "Training", "SFT", "LoRA", "120/300", "0.7312", "4m"]
    assert (shown["Run"], shown["Dataset"], shown["Artifact"], shown["Message"]) == (1, DIGEST, "pvc://adapters/support/0", "said")


def table_of(server: ApiServer, name: str) -> dict[str, Any]:
    """The answer that ``kubectl get`` prints."""
    table: dict[str, Any] = server.request("GET", f"{PATH}/{name}", accept=TABLE)
    return table


def test_the_definition_is_accepted_whole_and_without_complaint(server: ApiServer) -> None:
    definition = server.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{FINETUNEJOB.name}")
    conditions = {condition["type"]: condition["status"] for condition in definition["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    wanted = FINETUNEJOB.to_manifest()["spec"]["versions"][0]["schema"]
    assert definition["spec"]["versions"][0]["schema"] == wanted
