"""The models read what the API server stores, also what a newer definition has put there, and write it back unchanged."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from finetune_operator.api import defaults
from finetune_operator.api.base import rfc3339
from finetune_operator.api.conditions import Condition, ConditionStatus, ConditionType
from finetune_operator.api.finetunejob import FineTuneJob
from finetune_operator.api.governance.dataset import TrainingDatasetSpec
from finetune_operator.api.governance.vocabulary import DATASET_FIELDS
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.uris import VolumePath, volume_path
from finetune_trainer.contract import LossOn, Metric, RunSpec, Training

MINIMAL: dict[str, Any] = {
    "baseModel": {"uri": "hf://org/name@main"},
    "dataset": {"inline": {"uri": "pvc://data/tickets.jsonl"}},
    "artifact": {"uri": "pvc://adapters/support"},
}


def spec(**changes: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate({**MINIMAL, **changes})


def test_fields_of_a_newer_version_are_ignored() -> None:
    job = FineTuneJob.from_manifest(
        {"metadata": {"name": "a", "namespace": "b", "managedFields": []}, "spec": {**MINIMAL, "schedule": {"cron": "0 3 * * 0"}}}
    )
    assert "schedule" not in job.spec.to_manifest()


def test_a_spec_that_does_not_fit_names_the_field() -> None:
    with pytest.raises(ValidationError) as error:
        spec(tuner={"type": "LoRA", "lora": {"rank": "many"}})
    assert error.value.errors()[0]["loc"] == ("tuner", "lora", "rank")


@pytest.mark.parametrize(("year", "text"), [(2026, "2026-11-22T17:00:00Z"), (1, "0001-11-22T17:00:00Z")])
def test_a_moment_is_written_so_that_it_can_be_read(year: int, text: str) -> None:
    assert rfc3339(datetime(year, 11, 22, 17, 0, 0, 999, tzinfo=UTC)) == text
    assert datetime.fromisoformat(text).year == year


def test_what_is_unset_is_not_written() -> None:
    written = spec().to_manifest()
    assert "licence" not in written["baseModel"]
    assert "workspace" not in written


@pytest.mark.parametrize("epochs", [3, "3"])
def test_epochs_may_be_typed_as_a_number(epochs: int | str) -> None:
    assert spec(training={"epochs": epochs}).training.epochs == "3"


def test_a_float_is_refused_rather_than_guessed() -> None:
    with pytest.raises(ValidationError):
        spec(training={"epochs": 0.5})


def test_ephemeral_storage_keeps_its_kubernetes_spelling() -> None:
    requests = {"ephemeral-storage": "1Gi", "cpu": 2}
    assert spec(resources={"requests": requests}).to_manifest()["resources"]["requests"] == {"cpu": "2", "ephemeral-storage": "1Gi"}


def test_moments_are_whole_seconds_in_utc_in_and_out() -> None:
    moment = datetime(2026, 11, 22, 18, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    condition = Condition(
        type=ConditionType.READY, status=ConditionStatus.TRUE, reason="RunSucceeded", observed_generation=1, last_transition_time=moment
    )
    assert condition.last_transition_time == datetime(2026, 11, 22, 17, 0, 0, tzinfo=UTC)
    assert condition.to_manifest()["lastTransitionTime"] == "2026-11-22T17:00:00Z"
    assert Condition.model_validate(condition.to_manifest()) == condition


@pytest.mark.parametrize("moment", ["2026-11-22T17:00:00", "2026-11-22", "1795000000", 1795000000, 7.5])
def test_a_moment_without_zone_or_in_seconds_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError):
        FineTuneJob.from_manifest({"metadata": {"name": "a", "namespace": "b", "creationTimestamp": moment}, "spec": MINIMAL})


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("pvc://data/tickets.jsonl", VolumePath("data", "tickets.jsonl")),
        ("pvc://data/a/b c".replace(" ", "+"), VolumePath("data", "a/b+c")),
        ("hf://org/name@main", None),
    ],
)
def test_a_volume_uri_has_a_claim_and_a_path(uri: str, place: VolumePath | None) -> None:
    assert volume_path(uri) == place


@pytest.mark.parametrize(
    "uri", ["pvc://data", "pvc://data/", "pvc://data/../x", "pvc://data/a/./b", "pvc://data//a", "pvc:///a", "pvc://D/a"]
)
def test_a_path_that_could_leave_its_claim_is_refused_also_when_read(uri: str) -> None:
    with pytest.raises(ValidationError):
        spec(artifact={"uri": uri})
    with pytest.raises(ValueError, match="pvc://CLAIM/PATH"):
        volume_path(uri)


SCHEMA = {"outputSchema": {"configMapRef": {"name": "routing"}}}


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({}, [Metric.PERPLEXITY]),
        ({"task": {"type": "Format"}}, [Metric.JSON_VALIDITY, Metric.EXACT_MATCH]),
        ({"task": {"type": "Classification"}}, [Metric.EXACT_MATCH]),
        ({"task": SCHEMA}, [Metric.JSON_VALIDITY, Metric.SCHEMA_COMPLIANCE, Metric.FIELD_COMPLETENESS, Metric.EXACT_MATCH]),
        ({"stage": "ContinuedPretraining"}, [Metric.PERPLEXITY]),
        ({"evaluation": {"metrics": []}}, []),
        ({"evaluation": {"gates": {"improvement": {"metric": "ExactMatch"}}}}, [Metric.PERPLEXITY, Metric.EXACT_MATCH]),
    ],
)
def test_metrics_suit_the_task_unless_listed(changes: dict[str, Any], metrics: list[Metric]) -> None:
    assert list(defaults.metrics_of(spec(**changes))) == metrics


def test_raw_text_is_packed_and_learnt_whole() -> None:
    pretraining = spec(stage="ContinuedPretraining")
    assert (defaults.packing(pretraining), defaults.loss_on(pretraining)) == (True, LossOn.ALL)
    assert (defaults.packing(spec()), defaults.loss_on(spec())) == (False, LossOn.ASSISTANT)


def test_only_adapters_have_a_shape_and_only_qlora_a_quantization() -> None:
    assert defaults.lora_of(spec(tuner={"type": "Full"})) is None
    lora = defaults.lora_of(spec())
    assert lora is not None
    assert lora.rank == 16
    assert defaults.quantization_of(spec()) is None
    assert defaults.quantization_of(spec(tuner={"type": "QLoRA"})) is not None


def test_arguments_are_what_their_text_says() -> None:
    texts = {"adam_beta2": "0.95", "torch_compile": "true", "optim": "adamw_torch", "neftune_noise_alpha": "NaN"}
    assert defaults.extra_arguments(spec(training={"extraArguments": texts})) == {
        "adam_beta2": 0.95,
        "torch_compile": True,
        "optim": "adamw_torch",
        "neftune_noise_alpha": "NaN",
    }


def test_the_defaults_of_training_are_those_of_the_trainers_contract() -> None:
    """A spec that is silent and a run spec that is silent must ask for the same run."""
    ours, theirs = spec().training.to_manifest(), Training().model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in set(ours) & set(theirs):
        assert ours[name] == theirs[name], name
    assert {"scheduler", "warmupFraction", "batchSize", "seed"} <= set(ours) & set(theirs)


def test_bounds_are_within_those_of_the_trainers_contract() -> None:
    """What the API server admits, the trainer's contract admits too: bounds are compared field by field."""
    contract, ours = RunSpec.model_json_schema(), FineTuneJobSpec.model_json_schema()
    pairs = {("Lora", "LoraSpec"), ("Training", "TrainingSpec"), ("Evaluation", "EvaluationSpec"), ("Checkpoint", "CheckpointSpec")}
    compared = 0
    for theirs_name, ours_name in pairs:
        theirs_fields, ours_fields = contract["$defs"][theirs_name]["properties"], ours["$defs"][ours_name]["properties"]
        for name in theirs_fields.keys() & ours_fields.keys():
            for low, high in _number_bounds(theirs_fields[name]):
                for our_low, our_high in _number_bounds(ours_fields[name]):
                    assert our_low >= low, (ours_name, name)
                    assert our_high <= high, (ours_name, name)
                    compared += 1
    assert compared >= 8


def _number_bounds(field: dict[str, Any]) -> list[tuple[float, float]]:
    variants = field.get("anyOf", [field])
    integers = [variant for variant in variants if variant.get("type") == "integer"]
    return [(variant.get("minimum", float("-inf")), variant.get("maximum", float("inf"))) for variant in integers]


def test_a_version_of_data_is_everything_but_its_withdrawal_and_whom_to_ask() -> None:
    assert {*DATASET_FIELDS, "owner", "withdrawn"} == {field.alias for field in TrainingDatasetSpec.model_fields.values()}
