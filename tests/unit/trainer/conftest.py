"""A base model small enough to train in a second, tickets to train it on, and run specs that name both."""

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.context import Evidence, StepContext, StepOptions
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.signals import StopFlag
from finetune_trainer.pod.workspace import Workspace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
SYSTEM = "You route support tickets. Answer with one JSON object with the keys category, priority, escalate."
TICKET_SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"enum": ["billing", "shipping", "technical"]},
        "priority": {"enum": ["low", "normal", "urgent"]},
        "escalate": {"type": "boolean"},
    },
    "required": ["category", "priority", "escalate"],
    "additionalProperties": False,
}
_ISSUES = {
    "billing": "I was charged twice for the {}",
    "shipping": "my {} has not arrived after {} days",
    "technical": "the {} shows error code {}",
}
_PRODUCTS = ["router", "thermostat", "e-bike", "headset", "door lock", "tablet", "camera", "dishwasher"]


def ticket_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """``count`` distinct rows in the messages format, whose answers satisfy ``TICKET_SCHEMA``."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        category = rng.choice(sorted(_ISSUES))
        priority = rng.choice(["low", "normal", "urgent"])
        text = _ISSUES[category].format(rng.choice(_PRODUCTS), rng.randint(2, 97)) + f". My order is {seed}-{number}. It is {priority}."
        answer = json.dumps({"category": category, "priority": priority, "escalate": priority == "urgent"})
        rows.append(
            {
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": answer},
                ]
            }
        )
    return rows


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama (safetensors) and a byte-level tokenizer whose ChatML template has no generation markers."""
    return build_tiny_base(tmp_path_factory.mktemp("tiny-base"))


def build_tiny_base(folder: Path) -> Path:
    """Make the tiny base model in ``folder``: always the same weights and words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [message["content"] for row in ticket_rows(200, seed=99) for message in row["messages"]]
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["system user assistant", *texts], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
        model_max_length=1024,
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        initializer_range=0.04,
    )
    model = LlamaForCausalLM(config)
    ids = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": fast.bos_token_id}
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA random model for tests.\n", encoding="utf-8")
    return folder


@pytest.fixture
def run_spec(tmp_path: Path, tiny_base: Path) -> Callable[..., RunSpec]:
    """Make a run spec; keyword arguments are merged into its sections (camelCase or snake_case): ``run_spec(training={"maxSteps": 2})``.

    ``rows`` become the dataset file; ``data`` names a file or folder instead. Without either there are 40 tickets.
    """

    def make(*, rows: list[Any] | None = None, data: Path | None = None, **sections: Any) -> RunSpec:
        source = data or write_rows(tmp_path / "data.jsonl", ticket_rows(40) if rows is None else rows)
        document: dict[str, Any] = {
            "run": {
                "key": "a" * 64,
                "name": "tickets-0123456789",
                "number": 1,
                "job_namespace": "ns",
                "job_name": "tickets",
                "job_uid": "u",
            },
            "base_model": {"uri": "pvc://models/tiny", "path": str(tiny_base)},
            "dataset": {"uri": "pvc://data/tickets.jsonl", "path": str(source)},
            "validation": {"percent": 20},
            "task": {"type": "Instruction"},
            "tuner": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
            "training": {"max_steps": 4, "batch_size": 4, "micro_batch_size": 2, "max_sequence_length": 256},
            "evaluation": {"metrics": ["ExactMatch"], "max_items": 8, "max_new_tokens": 8},
            "artifact": {"uri": "pvc://adapters/tickets", "path": str(tmp_path / "artifact")},
        }
        for name, value in sections.items():
            snake = _snake(value)
            document[name] = {**document[name], **snake} if isinstance(snake, dict) and name in document else snake
        return RunSpec.model_validate(document)

    return make


@pytest.fixture
def step_context(tmp_path: Path) -> Iterator[Callable[..., StepContext]]:
    """Make the context of a step over ``tmp_path / "work"``; its events go to ``tmp_path / "events.jsonl"``."""
    descriptor = os.open(tmp_path / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def make(spec: RunSpec, *, attempt: int = 1, root: Path | None = None, **options: Any) -> StepContext:
        workspace = Workspace(root or tmp_path / "work")
        workspace.root.mkdir(parents=True, exist_ok=True)
        events = EventLog(attempt, descriptor)
        return StepContext(spec, workspace, attempt, StepOptions(**options), events, StopFlag(), Evidence(), tmp_path / "run.json")

    yield make
    os.close(descriptor)


def _snake(value: Any) -> Any:
    """Keys in snake_case, so that sections merge whichever spelling a test uses."""
    if not isinstance(value, dict):
        return value
    return {"".join("_" + c.lower() if c.isupper() else c for c in key): _snake(item) for key, item in value.items()}
