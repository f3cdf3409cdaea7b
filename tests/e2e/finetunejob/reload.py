"""Loads published artifacts as the model card says, in a process that took no part in their training, and measures them again.

    python -m tests.e2e.finetunejob.reload < questions.json

One JSON list of ``{"base", "artifact", "four_bit", "items"}`` comes in; the likelihoods ``[[nats, tokens], …]`` of each go out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.evaluation.likelihood import reference_nats
from finetune_trainer.evaluation.prompts import tokenize

BATCH_SIZE = 16


def load(base: Path, artifact: Path, *, four_bit: bool) -> Any:
    """A model of its own, or an adapter on its base."""
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "use_safetensors": True}
    if not (artifact / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(artifact, **options).eval()
    if four_bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
        )
        options["device_map"] = {"": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(base, **options)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # that kernel rounds to bf16, whatever the compute type asks for
            module.support_avx512bf16_for_cpu = False
    return PeftModel.from_pretrained(model, artifact).eval()


def measure(question: dict[str, Any]) -> list[tuple[float, int]]:
    artifact = Path(question["artifact"])
    tokenizer = AutoTokenizer.from_pretrained(artifact, local_files_only=True)
    model = load(Path(question["base"]), artifact, four_bit=question["four_bit"])
    items = [tokenize(EvaluationItem(**item), tokenizer) for item in question["items"]]
    return reference_nats(model, items, batch_size=BATCH_SIZE, stop=lambda: False, progress=lambda _: None)


if __name__ == "__main__":
    json.dump([measure(question) for question in json.load(sys.stdin)], sys.stdout)
