"""What makes two specs ask for the same result, today and after upgrades."""

from typing import Any

import pytest

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain import acceptance, runkey
from tests.unit.domain.samples import spec
from tests.unit.domain.world import begun


def key(**changes: Any) -> str:
    return runkey.run_key(FineTuneJobSpec.model_validate(spec(**changes)))


def test_the_key_of_a_spec_never_changes():
    """Stored keys of existing objects depend on it: a failure here means that an upgrade would retrain them all."""
    assert key() == "bbb2c632569163fecedd0926fcfb3fe2ca6a7e2893c1d40bf4a4c24898ee408f"


@pytest.mark.parametrize(
    "change",
    [
        {"baseModel__uri": "pvc://models/other"},
        {"baseModel__digest": "sha256:" + "0" * 64},
        {"dataset__inline__uri": "pvc://tickets/other.jsonl"},
        {"dataset__inline__format": "Alpaca"},
        {"dataset__validation": {"percent": 20}},
        {"dataset__maxDroppedPercent": 0},
        {"task__type": "Style"},
        {"task__outputSchema__configMapRef__name": "other"},
        {"stage": "ContinuedPretraining"},
        {"tuner__type": "DoRA"},
        {"tuner__lora__rank": 16},
        {"training__learningRate": "2e-3"},
        {"training__seed": 1},
        {"training__earlyStopping": {}},
        {"training__extraArguments": {"adam_beta2": "0.95"}},
        {"evaluation__maxItems": 100},
        {"evaluation__gates__improvement__minDelta": "0.1"},
        {"evaluation__onInconclusive": "Pass"},
        {"evaluation__judge": {"endpoint": "http://judge/v1", "model": "critic"}},
        {"rerun": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_defines_the_result_changes_the_key(change: dict[str, Any]):
    assert key(**change) != key()


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"resources": {"gpusPerNode": 4, "limits": {"memory": "64Gi"}}},
        {"queueName": "gpu"},
        {"checkpoint": {"everySeconds": 1, "keep": 5}},
        {"runPolicy": {"maxAttempts": 9, "concurrency": "Replace"}},
        {"healthPolicy": "WhenAccepted"},
        {"workspace": {"claimName": "scratch"}},
        {"baseModel__credentialsSecretRef": {"name": "hub"}},
        {"baseModel__licence": "MIT"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_define_the_result_keeps_the_key(change: dict[str, Any]):
    assert key(**change) == key()


def test_who_asks_a_judge_defines_no_result() -> None:
    judge = {"endpoint": "http://judge/v1", "model": "critic"}
    assert key(evaluation__judge=judge) == key(evaluation__judge={**judge, "credentialsSecretRef": {"name": "judge"}})


@pytest.mark.parametrize(
    "change",
    [
        {"training__batchSize": 32},
        {"training__seed": 42},
        {"tuner__lora__targetModules": ["all-linear"]},
        {"dataset__validation": {"percent": 10}},
        {"evaluation__maxNewTokens": 256},
        {"rerun": ""},
        {"stage": "SFT"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_default_written_out_is_the_same_as_one_left_out(change: dict[str, Any]):
    assert key(**change) == key()


def test_the_order_of_a_set_does_not_matter():
    one = key(evaluation__metrics=["JSONValidity", "SchemaCompliance"])
    assert one == key(evaluation__metrics=["SchemaCompliance", "JSONValidity"])


def test_every_default_of_a_result_defining_field_is_omitted():
    """A default that is hashed would make the key depend on whether the object was stored before or after the field came."""
    minimal = {"baseModel": {"uri": "pvc://m/x"}, "dataset": {"inline": {"uri": "pvc://d/x"}}, "artifact": {"uri": "pvc://a/x"}}
    document = FineTuneJobSpec.model_validate(minimal).to_manifest()
    left = [path for path, _ in _leaves(document) if _defines(path) and path not in ("baseModel.uri", "dataset.inline.uri")]
    covered = set(runkey.OMITTED_VALUES)
    assert [path for path in left if path not in covered and path.rsplit(".", 1)[0] not in covered] == []


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{path}.{name}" if path else name)]
    return [(path, value)]


def _defines(path: str) -> bool:
    top, _, rest = path.partition(".")
    parts = runkey.RESULT_DEFINING.get(top)
    return parts is not None and (not parts or rest.split(".")[0] in parts)


def test_a_run_recorded_under_an_older_form_of_the_key_keeps_it(monkeypatch: pytest.MonkeyPatch):
    world = begun()
    old = world.run["key"]
    monkeypatch.setattr(runkey, "FORMS", (lambda wanted: "e" * 64 if wanted.rerun == "" else "f" * 64, *runkey.FORMS))
    world.change(checkpoint={"everySeconds": 5})
    world.settle()
    assert world.status is not None
    assert world.status["accepted"] == {"generation": 2, "key": old}
    world.change(rerun="now")
    world.settle()
    assert world.status["accepted"]["key"] == "f" * 64


def test_the_key_of_a_generation_is_computed_once(monkeypatch: pytest.MonkeyPatch):
    world = begun()
    monkeypatch.setattr(acceptance, "run_key", lambda _: pytest.fail("computed again"))
    monkeypatch.setattr(acceptance, "same_run_keys", lambda _: pytest.fail("computed again"))
    world.finish()
    assert world.run["outcome"] == "Succeeded"
