"""What a run leaves is loaded by a fresh process that knows the model card and no trainer, and answers with the logits it had."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.conftest import ENVIRONMENT, Run

LOGIT_TOLERANCE = 1e-4
LORA = {"rank": 4, "alpha": 8}
METHODS: dict[str, dict[str, Any]] = {
    "Full": {"tuner": {"type": "Full", "lora": None}},
    "LoRA": {"tuner": {"type": "LoRA", "lora": LORA}},
    "QLoRA": {"tuner": {"type": "QLoRA", "lora": LORA, "quantization": {"type": "NF4", "doubleQuantization": True}}},
    "DoRA": {"tuner": {"type": "DoRA", "lora": LORA}},
    "RSLoRA": {"tuner": {"type": "RSLoRA", "lora": LORA}},
    "raw text": {"stage": "ContinuedPretraining", "tuner": {"type": "LoRA", "lora": {"rank": 2, "alpha": 8}}},
}


def test_every_artifact_answers_in_a_fresh_process_with_the_logits_it_had(new_run: Callable[..., Run], tiny_base: Path) -> None:
    probes, questions = {}, []
    for method, sections in METHODS.items():
        training = {"max_steps": 8, "batch_size": 8, "micro_batch_size": 4, "learning_rate": "1e-2"}
        run = new_run(method, **sections, training=training, evaluation={"metrics": []})
        summary = run.finish()
        assert float(summary.reload_difference or "nan") <= LOGIT_TOLERANCE, method
        probe = json.loads((run.workspace.out_meta / "logit-probe.json").read_text())
        assert probe["difference"] <= LOGIT_TOLERANCE, method
        probes[method] = probe
        place = {"base": str(tiny_base), "artifact": str(run.workspace.out), "four_bit": method == "QLoRA"}
        questions.append({**place, "items": [], "probe": probe})
    for method, found in zip(METHODS, ask_a_fresh_process(questions), strict=True):
        differences = [
            abs(before - after)
            for known, again in zip(probes[method]["logits"], found["logits"], strict=True)
            for before, after in zip(known, again, strict=True)
        ]
        assert max(differences) <= LOGIT_TOLERANCE, method
    # every method learned something of its own, so none of them passed by answering as its base does
    assert len({json.dumps(probe["logits"]) for probe in probes.values()}) == len(METHODS)


def ask_a_fresh_process(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.e2e.finetunejob.reload"]
    done = subprocess.run(
        command, input=json.dumps(questions), env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(answer) for answer in json.loads(done.stdout)]
