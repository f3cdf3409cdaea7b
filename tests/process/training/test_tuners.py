"""Each of the five tuners trains, seals what it learned, and what it sealed answers the same in a fresh model."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.stages.model import load_for_evaluation
from finetune_trainer.stages.probe import TOLERANCE, compare_with_probe, read_probe
from finetune_trainer.stages.processes import Process
from finetune_trainer.stages.rows import PaddedBatches, load_rows
from finetune_trainer.stages.training import train
from finetune_trainer.stages.validation import validation_loss

LORA = {"rank": 4, "alpha": 8}
METHODS: dict[str, dict[str, Any]] = {
    "Full": {"tuner": {"type": "Full", "lora": None}},
    "LoRA": {"tuner": {"type": "LoRA", "lora": LORA}},
    "QLoRA": {"tuner": {"type": "QLoRA", "lora": LORA, "quantization": {"type": "NF4", "doubleQuantization": True}}},
    "DoRA": {"tuner": {"type": "DoRA", "lora": LORA}},
    "RSLoRA": {"tuner": {"type": "RSLoRA", "lora": LORA}},
    "raw text": {"stage": "ContinuedPretraining", "tuner": {"type": "LoRA", "lora": LORA}},
    "Full in BF16": {"tuner": {"type": "Full", "lora": None}, "precision": "BF16"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_tuner_lowers_the_loss_and_its_sealed_weights_answer_alike(
    method: str, run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any, tiny_base: Path
) -> None:
    """Whatever precision the training computed in: the reload has the weights, and no mixed precision around them."""
    sections = dict(METHODS[method])
    precision = sections.pop("precision", "FP32")
    settings = {"maxSteps": 16, "batchSize": 8, "microBatchSize": 4, "learningRate": "2e-2", "precision": precision}
    spec = run_spec(**sections, training=settings)
    made = training(spec)
    train(made, None)
    trained = made.checkpoints.trained()
    assert trained is not None
    assert sum(recorder.losses[-4:]) < 0.98 * sum(recorder.losses[:4])
    assert not [path for path in trained.path.iterdir() if path.suffix in (".bin", ".pt", ".pth")]
    full = sections["tuner"]["type"] == "Full"
    reloaded = load_for_evaluation(spec, trained.path) if full else load_for_evaluation(spec, tiny_base, trained.path)
    probe = read_probe(trained.path)
    compared = compare_with_probe(reloaded, probe)
    assert probe.tolerance == TOLERANCE
    assert compared.difference is not None
    assert compared.difference <= TOLERANCE
    if precision == "FP32":
        rows, collate = load_rows(made.workspace.validation_rows), PaddedBatches(pad_token_id=0)
        loss = validation_loss(reloaded, rows, collate, 4, process=Process(), stopped=lambda: False, compute=nullcontext)
        assert loss == pytest.approx(recorder.looks[-1], abs=1e-4)
