"""On an accelerator: train, be stopped, resume and evaluate, with the versions this machine has.

Each method is a test of its own and says by name why it cannot run where something is missing.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import Stopped
from finetune_trainer.stages.totals import read_totals
from tests.process.training.conftest import Recorder, recorder, training, workspace  # noqa: F401 - fixtures
from tests.unit.trainer.conftest import run_spec, tiny_base  # noqa: F401 - fixtures

torch = pytest.importorskip("torch", reason="torch is not installed: nothing can run on the accelerator")
GPUS = 1
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator: torch.cuda.is_available() is false on this machine"),
]

LORA = {"rank": 8, "alpha": 16}
TUNERS: dict[str, dict[str, Any]] = {
    "LoRA": {"type": "LoRA", "lora": LORA},
    "QLoRA": {"type": "QLoRA", "lora": LORA, "quantization": {"type": "NF4", "doubleQuantization": True}},
    "DoRA": {"type": "DoRA", "lora": LORA},
    "RSLoRA": {"type": "RSLoRA", "lora": LORA},
    "Full": {"type": "Full", "lora": None},
}
TRAINING = {"maxSteps": 16, "batchSize": 8, "microBatchSize": 4, "learningRate": "1e-2", "precision": "BF16", "evaluateEverySteps": 4}
MISSING = {"QLoRA": "bitsandbytes"}


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_method_trains_resumes_and_evaluates_in_bf16(
    tuner: str,
    run_spec: Callable[..., RunSpec],  # noqa: F811
    training: Callable[..., Any],  # noqa: F811
    recorder: Recorder,  # noqa: F811
    tiny_base: Path,  # noqa: F811
) -> None:
    if tuner in MISSING and importlib.util.find_spec(MISSING[tuner]) is None:
        pytest.skip(f"{tuner} cannot run: {MISSING[tuner]} is not installed")
    from finetune_trainer.evaluation import AdapterCandidate, Candidate, FullCandidate, evaluate
    from finetune_trainer.stages.model import load_for_evaluation, load_tokenizer
    from finetune_trainer.stages.probe import compare_with_probe, read_probe
    from finetune_trainer.stages.training import train

    spec = run_spec(
        tuner=TUNERS[tuner],
        training=TRAINING,
        resources={"gpus": GPUS},
        evaluation={"metrics": ["ExactMatch", "Perplexity"], "maxItems": 4},
    )
    made = training(spec, stop_requested=lambda: len(recorder.losses) == 6)
    with pytest.raises(Stopped):
        train(made, None)
    sealed = made.checkpoints.newest().newest
    assert sealed is not None
    assert sealed.step == 7
    train(made, sealed)
    trained = made.checkpoints.trained()
    assert read_totals(trained.path).step == 16
    assert len(recorder.losses) == 16
    assert sum(recorder.losses[-4:]) < sum(recorder.losses[:4])
    items = made.workspace.evaluation_items
    prompt = [{"role": "user", "content": "my router shows error code 3"}]
    items.write_text("".join(json.dumps({"row": row, "prompt": prompt, "reference": "technical"}) + "\n" for row in range(4)))
    if tuner == "Full":
        candidate: Candidate = FullCandidate(load_for_evaluation(spec, trained.path), lambda: load_for_evaluation(spec, tiny_base))
    else:
        candidate = AdapterCandidate(load_for_evaluation(spec, tiny_base, trained.path))
    with candidate.as_tuned() as reloaded:
        compare_with_probe(reloaded, read_probe(trained.path))  # raises where a logit differs by more than rounding steps of bf16
    summary = evaluate(candidate, load_tokenizer(tiny_base), spec, items_path=items, report_folder=made.workspace.out_meta)
    assert summary.items == 4
    assert {metric.name.value for metric in summary.metrics} == {"ExactMatch", "Perplexity"}


def test_memory_that_does_not_suffice_is_told_with_what_would(
    run_spec: Callable[..., RunSpec],  # noqa: F811
    training: Callable[..., Any],  # noqa: F811
) -> None:
    from finetune_trainer.pod.errors import OutOfMemoryError
    from finetune_trainer.stages.training import train

    torch.cuda.set_per_process_memory_fraction(64 * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    try:
        spec = run_spec(tuner=TUNERS["Full"], training={**TRAINING, "batchSize": 48, "microBatchSize": 48}, resources={"gpus": GPUS})
        with pytest.raises(OutOfMemoryError) as told:
            train(training(spec), None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert "microBatchSize to 24" in told.value.hint
