"""Each of the five tuners trains, seals what it learned, and what it sealed answers the same in a fresh model."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.stages.model import load_for_evaluation
from finetune_trainer.stages.processes import Process
from finetune_trainer.stages.rows import PaddedBatches, load_rows
from finetune_trainer.stages.training import train
from finetune_trainer.stages.validation import validation_loss

TUNERS: dict[str, dict[str, Any]] = {
    "Full": {"type": "Full", "lora": None},
    "LoRA": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
    "QLoRA": {"type": "QLoRA", "lora": {"rank": 4, "alpha": 8}, "quantization": {"type": "NF4", "doubleQuantization": True}},
    "DoRA": {"type": "DoRA", "lora": {"rank": 4, "alpha": 8}},
    "RSLoRA": {"type": "RSLoRA", "lora": {"rank": 4, "alpha": 8}},
}


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_tuner_lowers_the_loss_and_its_sealed_weights_answer_alike(
    tuner: str, run_spec: Callable[..., RunSpec], training: Callable[..., Any], recorder: Any, tiny_base: Path
) -> None:
    spec = run_spec(tuner=TUNERS[tuner], training={"maxSteps": 16, "batchSize": 8, "microBatchSize": 4, "learningRate": "2e-2"})
    made = training(spec)
    train(made, None)
    trained = made.checkpoints.trained()
    assert trained is not None
    assert sum(recorder.losses[-4:]) < 0.98 * sum(recorder.losses[:4])
    assert not [path for path in trained.path.iterdir() if path.suffix in (".bin", ".pt", ".pth")]
    reloaded = load_for_evaluation(spec, trained.path) if tuner == "Full" else load_for_evaluation(spec, tiny_base, trained.path)
    rows, collate = load_rows(made.workspace.validation_rows), PaddedBatches(pad_token_id=0)
    loss = validation_loss(reloaded, rows, collate, 4, process=Process(), stopped=lambda: False, compute=nullcontext)
    assert loss == pytest.approx(recorder.looks[-1], abs=1e-4)
