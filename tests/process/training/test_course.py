"""The course of a training in one process: resuming, looking at held-out rows, stopping early, recomputing, packing."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import Lora, RunSpec
from finetune_trainer.pod.errors import ConfigurationError, DivergedError, Stopped, StorageError
from finetune_trainer.pod.resolved import RESOLVED_FILE, read_resolved
from finetune_trainer.pod.workspace import Workspace
from finetune_trainer.stages.model import load_for_training
from finetune_trainer.stages.totals import Totals, read_totals
from finetune_trainer.stages.training import train

LORA = {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": "0.1"}}
SHORT = {"maxSteps": 4, "batchSize": 4, "microBatchSize": 2, "learningRate": "1e-2"}
TRAINING = {"maxSteps": 12, "batchSize": 8, "microBatchSize": 2, "learningRate": "1e-2", "evaluateEverySteps": 3}


def weights(folder: Path) -> str:
    (file,) = folder.glob("*model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "RSLoRA", "QLoRA", "Full"])
def test_a_stopped_training_goes_on_exactly_where_it_was(
    kind: str, run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any, tmp_path: Path
) -> None:
    tuner = {"type": kind, "lora": None if kind == "Full" else LORA["lora"]}
    spec = run_spec(tuner=tuner, training={**TRAINING, "maxSteps": 6, "batchSize": 4})
    straight = training(spec)
    shutil.copytree(straight.workspace.root, tmp_path / "second")
    train(straight, None)
    expected, losses, looks = straight.checkpoints.trained(), list(recorder.losses), list(recorder.looks)
    recorder.losses.clear()
    recorder.looks.clear()
    stopped = training(spec, workspace=Workspace(tmp_path / "second"), stop_requested=lambda: len(recorder.losses) in (2, 4))
    for _ in range(2):
        with pytest.raises(Stopped):
            train(stopped, stopped.checkpoints.newest().newest)
    train(stopped, stopped.checkpoints.newest().newest)
    trained = stopped.checkpoints.trained()
    assert recorder.losses == losses
    assert recorder.looks == looks
    assert weights(trained.path) == weights(expected.path)
    assert read_totals(trained.path).tokens == read_totals(expected.path).tokens


def test_a_resume_with_half_the_micro_batch_goes_on_with_the_same_examples(
    run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    quiet = {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}}
    spec = run_spec(tuner=quiet, training={**SHORT, "evaluateEverySteps": 4})
    train(training(spec), None)
    straight = list(recorder.losses)
    recorder.losses.clear()
    halved = training(spec, stop_requested=lambda: len(recorder.losses) == 1)
    shutil.rmtree(halved.workspace.checkpoints)
    with pytest.raises(Stopped):
        train(halved, None)
    train(replace(halved, micro_batch_size=1), halved.checkpoints.newest().newest)
    assert recorder.losses == pytest.approx(straight, abs=1e-4)


def test_a_stop_while_looking_at_held_out_rows_looks_again_after_the_resume(
    run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    calls = iter(range(1000))
    made = training(run_spec(tuner=LORA, training=TRAINING), stop_requested=lambda: next(calls) == 4)
    with pytest.raises(Stopped):
        train(made, None)
    assert (len(recorder.losses), recorder.looks) == (3, [])
    train(made, made.checkpoints.newest().newest)
    assert len(recorder.looks) == 4


def test_what_was_trained_with_is_sealed_beside_the_weights(
    run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    silent = {"maxSteps": None, "epochs": "0.5", "batchSize": 8, "microBatchSize": 2, "extraArguments": {"adam_beta2": 0.98}}
    made = training(run_spec(tuner={"type": "LoRA", "lora": None}, training=silent))
    train(made, None)
    trained = made.checkpoints.trained()
    assert trained is not None
    resolved = read_resolved(trained.path)
    assert resolved is not None
    found = resolved.training
    assert (found.learning_rate, found.scheduler, found.warmup_steps, found.adam_beta2) == ("0.0002", "cosine", 1, "0.98")
    assert (found.total_steps, found.steps_per_epoch, found.epochs) == (3, 6, "0.5")
    assert (found.batch_size, found.micro_batch_size, found.accumulation, found.processes) == (8, 2, 4, 1)
    assert (found.device, found.precision, found.optimizer) == ("cpu", "FP32", "adamw_torch")
    assert (resolved.tuner.lora, resolved.tuner.quantization) == (Lora(), None)
    assert resolved.fingerprint == made.checkpoints.fingerprint
    assert resolved.versions["torch"] in resolved.fingerprint["versions"]
    assert resolved.spec == made.spec
    assert RESOLVED_FILE in json.loads((trained.path / "MANIFEST.json").read_text())["files"]


def test_early_stopping_ends_with_the_best_weights(run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any) -> None:
    hot = {**TRAINING, "maxSteps": 60, "learningRate": "0.3", "evaluateEverySteps": 2, "earlyStoppingPatience": 2}
    made = training(run_spec(tuner=LORA, training=hot))
    train(made, None)
    totals = read_totals(made.checkpoints.trained().path)
    assert totals.step < 60
    assert totals.best_loss == min(recorder.looks)
    best = made.checkpoints.root / f"best-{totals.best_step}"
    assert weights(made.checkpoints.trained().path) == weights(best)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda best: (best / "MANIFEST.json").unlink(), "was not written to its end"),
        (lambda best: os.truncate(best / "adapter_model.safetensors", 1000), "adapter_model.safetensors has 1000 bytes instead of"),
        (shutil.rmtree, "was not written to its end"),
    ],
    ids=["unfinished", "cut", "gone"],
)
def test_a_damaged_best_model_is_not_published(
    damage: Callable[[Path], object], reason: str, run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    hot = {**TRAINING, "maxSteps": 60, "learningRate": "0.3", "evaluateEverySteps": 2, "earlyStoppingPatience": 1}
    made = training(run_spec(tuner=LORA, training=hot))

    def looked(totals: Totals) -> None:
        if totals.looks_without_gain:
            damage(made.checkpoints.root / f"best-{totals.best_step}")

    recorder.looked = looked
    with pytest.raises(StorageError, match=reason) as ended:
        train(made, None)
    assert ended.value.reason == "BestModelDamaged"
    assert "spec.rerun" in ended.value.hint
    assert made.checkpoints.trained() is None


@pytest.mark.parametrize(("held_out", "evidence"), [(True, "the loss on the held-out rows is nan"), (False, "its weights are not finite")])
def test_a_last_step_that_ruins_the_weights_ends_as_diverged(
    held_out: bool,
    evidence: str,
    run_spec: Callable[..., RunSpec],
    training: Callable[..., Any],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loss is taken before the step, so the last one of a run looks healthy."""

    def with_a_gradient_that_is_no_number(*arguments: Any, **options: Any) -> Any:
        model = load_for_training(*arguments, **options)
        next(weight for weight in model.parameters() if weight.requires_grad).register_hook(lambda gradient: gradient * math.nan)
        return model

    monkeypatch.setattr("finetune_trainer.stages.training.load_for_training", with_a_gradient_that_is_no_number)
    made = training(run_spec(tuner=LORA, training={**SHORT, "maxSteps": 1}))
    if not held_out:
        made.workspace.validation_rows.unlink()
    with pytest.raises(DivergedError, match=f"diverged at step 1: {evidence}"):
        train(made, None)
    assert math.isfinite(recorder.losses[-1])
    assert math.isnan(recorder.norms[-1])
    assert made.checkpoints.trained() is None


def test_recomputing_activations_changes_nothing_but_memory(
    run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    train(training(run_spec(tuner=LORA, training=SHORT)), None)
    plain = list(recorder.losses)
    recorder.losses.clear()
    train(training(run_spec(tuner=LORA, training={**SHORT, "gradientCheckpointing": True})), None)
    assert recorder.losses == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("tuner", [LORA, {"type": "Full", "lora": None}], ids=["LoRA", "Full"])
def test_packed_examples_lose_what_padded_ones_lose(
    tuner: dict[str, Any], run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    quiet = {**tuner, "lora": {"rank": 4, "alpha": 8}} if tuner["lora"] else tuner
    train(training(run_spec(tuner=quiet, training=SHORT)), None)
    padded, tokens = list(recorder.losses), recorder.totals.tokens
    recorder.losses.clear()
    train(training(run_spec(tuner=quiet, training={**SHORT, "packing": True})), None)
    assert recorder.losses == pytest.approx(padded, abs=1e-3)
    assert recorder.totals.tokens == tokens


def test_looking_at_held_out_rows_changes_nothing_in_the_training(
    run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    quantized = {"type": "QLoRA", "lora": {"rank": 4, "alpha": 8, "dropout": "0.1"}, "quantization": {"type": "NF4"}}
    train(training(run_spec(tuner=quantized, training=SHORT)), None)
    undisturbed = list(recorder.losses), list(recorder.norms)
    recorder.losses.clear()
    recorder.norms.clear()
    recorder.looks.clear()
    train(training(run_spec(tuner=quantized, training={**SHORT, "evaluateEverySteps": 1})), None)
    assert len(recorder.looks) == SHORT["maxSteps"]
    assert (recorder.losses, recorder.norms) == undisturbed


def test_continued_pretraining_takes_every_token(run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any) -> None:
    spec = run_spec(stage="ContinuedPretraining", tuner=LORA, training=TRAINING)
    train(training(spec), None)
    assert recorder.losses[-1] < recorder.losses[0]


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"targetModules": ["no_such_layer"]}, "UnknownModules"),
        ({"targetModules": ["lm_head"]}, "HeadNotAdaptable"),
        ({"modulesToSave": ["embed_tokens"]}, "TiedEmbeddings"),
        ({"targetModules": ["input_layernorm"]}, "AdapterRefused"),
    ],
)
def test_adapters_that_cannot_be_are_refused_before_the_first_step(
    lora: dict[str, Any], reason: str, run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        train(training(run_spec(tuner={"type": "LoRA", "lora": lora}, training=SHORT)), None)
    assert refused.value.reason == reason
    assert refused.value.hint
    assert not recorder.losses
