"""A work folder as the train step leaves it: an adapter saved by the libraries, with all that must not go on, and its sealed result."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_trainer.artifact import Artifact, assemble
from finetune_trainer.contract import (
    DataSummary,
    Estimate,
    EvaluationSummary,
    Precision,
    PrepareSummary,
    RunSpec,
    Step,
    Summary,
    TrainSummary,
    Verdict,
)
from finetune_trainer.pod.resolved import ResolvedRun, ResolvedTraining
from finetune_trainer.pod.sealing import seal_result
from finetune_trainer.pod.workspace import Workspace

BASE_DIGEST = "sha256:" + "b" * 64
Assembled = Callable[..., Artifact]


@dataclass(frozen=True)
class Trained:
    """Everything up to, and without, publishing."""

    workspace: Workspace
    spec: RunSpec
    artifact: Artifact
    destination: Path


@pytest.fixture(scope="session")
def adapter_once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_base, tmp_path_factory.mktemp("adapter") / "saved")


@pytest.fixture
def saved_adapter(adapter_once: Path, tmp_path: Path) -> Path:
    """What ``save_pretrained`` leaves: weights, a config with the base's path in this pod, a generated card."""
    return copy_folder(adapter_once, tmp_path / "saved")


def save_adapter(base: Path, folder: Path) -> Path:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "work")
    workspace.data.mkdir(parents=True)
    workspace.data_report.write_text('{"rows": 40}\n')
    return workspace


@pytest.fixture
def trained(workspace: Workspace, run_spec: Callable[..., RunSpec], saved_adapter: Path, tokenizer: Any) -> Callable[..., Trained]:
    """Make a finished train step whose gate gave ``verdict``; keyword arguments go to the run spec."""

    def make(verdict: Verdict = Verdict.PASS, **sections: Any) -> Trained:
        spec = run_spec(**sections)
        resolved_run(spec).write(saved_adapter)
        artifact = assemble(workspace, spec, saved=saved_adapter, tokenizer=tokenizer, base_digest=BASE_DIGEST)
        (workspace.out_meta / "evaluation-items.jsonl").write_text('{"row":1,"base":{},"tuned":{}}\n')
        data = DataSummary(
            digest="sha256:" + "d" * 64, examples=32, validation_examples=8, evaluation_items=8, tokens=999, format="Messages"
        )
        estimate = Estimate(memory_bytes=1, disk_bytes=1, seconds=1, confidence="Fitted")
        prepared = PrepareSummary(
            dataset=data, estimate=estimate, base_digest=BASE_DIGEST, licence="apache-2.0", total_steps=4, micro_batch_size=2
        )
        seal_result(workspace, spec, Step.PREPARE, Summary(prepare=prepared))
        seal_train(workspace, spec, artifact.digest, verdict)
        return Trained(workspace, spec, artifact, Path(spec.artifact.path))

    return make


def resolved_run(spec: RunSpec) -> ResolvedRun:
    """What the train step seals beside the weights."""
    training = ResolvedTraining(
        learning_rate="0.0002",
        scheduler="cosine",
        warmup_steps=1,
        total_steps=4,
        steps_per_epoch=8,
        epochs="0.5",
        batch_size=4,
        micro_batch_size=2,
        accumulation=2,
        processes=1,
        device="cpu",
        precision=Precision.FP32,
        optimizer="adamw_torch",
        adam_beta1="0.9",
        adam_beta2="0.999",
        adam_epsilon="1e-08",
        weight_decay="0",
        max_gradient_norm="1",
        seed=42,
    )
    return ResolvedRun(training=training, tuner=spec.tuner, fingerprint={"data": "d"}, versions={"torch": "1"}, spec=spec)


def seal_train(workspace: Workspace, spec: RunSpec, digest: str, verdict: Verdict) -> None:
    evaluation = EvaluationSummary(verdict=verdict, items=8, message="ExactMatch 0.0% -> 90.0%")
    train = TrainSummary(
        steps=4,
        epoch="1",
        loss="0.13",
        tokens=999,
        seconds=12,
        adapter_digest=digest,
        reload_difference="2.5e-07",
        evaluation=evaluation,
    )
    seal_result(workspace, spec, Step.TRAIN, Summary(train=train))


def copy_folder(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
