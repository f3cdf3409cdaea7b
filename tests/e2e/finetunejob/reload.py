"""Loads published artifacts as the model card says, in a process that took no part in their training, and measures them again.

    python -m tests.e2e.finetunejob.reload < questions.json

One JSON list of ``{"base", "artifact", "four_bit", "items", "probe"}`` comes in; of each go out the likelihoods ``[[nats, tokens], …]``
of the items, and the logits of the probe's columns after its token sequences.
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


def measure(question: dict[str, Any]) -> dict[str, Any]:
    artifact = Path(question["artifact"])
    tokenizer = AutoTokenizer.from_pretrained(artifact, local_files_only=True)
    model = load(Path(question["base"]), artifact, four_bit=question["four_bit"])
    items = [tokenize(EvaluationItem(**item), tokenizer) for item in question["items"]]
    nats = reference_nats(model, items, batch_size=BATCH_SIZE, stop=lambda: False, progress=lambda _: None)
    return {"nats": nats, "logits": logits(model, question["probe"]["tokens"], question["probe"]["columns"])}


def logits(model: Any, tokens: list[list[int]], columns: list[int]) -> list[list[float]]:
    """One sequence at a time, as an own program would ask; nothing here is the trainer's."""
    with torch.inference_mode():
        answers = [model(input_ids=torch.tensor([sequence])).logits[0, -1, columns] for sequence in tokens]
    return [[float(value) for value in answer] for answer in answers]


if __name__ == "__main__":
    json.dump([measure(question) for question in json.load(sys.stdin)], sys.stdout)
