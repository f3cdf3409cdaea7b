"""Adapters of many kinds on the tiny base model, saved by the library, and merges of them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, get_peft_model
from transformers import AutoModelForCausalLM

from finetune_trainer.artifact import inspect
from finetune_trainer.cli.merge import execute
from finetune_trainer.contract import MergeRequest, MergeSummary
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.events import EventLog
from tests.unit.trainer.conftest import tiny_base

__all__ = ["tiny_base"]


def save_adapter(base: Path, folder: Path, config: PeftConfig, scale: float = 0.1) -> Path:
    """An adapter that has an effect: every weight that it trains is moved by random numbers."""
    torch.manual_seed(5)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., MergeRequest]:
    def make(base: Path, adapter: Path, **fields: Any) -> MergeRequest:
        document = {
            "base_path": str(base),
            "base_digest": file_set_digest(base),
            "base_uri": "pvc://models/tiny",
            "adapter_path": str(adapter),
            "adapter_digest": inspect(adapter).digest,
            "out_path": str(tmp_path / "merged"),
            "out_uri": "pvc://models/merged",
        }
        return MergeRequest.model_validate({**document, **fields})

    return make


@pytest.fixture
def merge(tmp_path: Path) -> Iterator[Callable[[MergeRequest], MergeSummary]]:
    descriptor = os.open(tmp_path / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(request: MergeRequest) -> MergeSummary:
        summary = execute(request, 1, EventLog(1, descriptor)).summary.merge
        assert summary is not None
        return summary

    yield run
    os.close(descriptor)
