"""The entry point: quick answers without torch, and every way to end as an exit code and a termination message."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import (
    DataSummary,
    Estimate,
    ExitCode,
    FailureClass,
    PrepareSummary,
    RunSpec,
    Step,
    Summary,
    TerminationMessage,
)
from finetune_trainer.pod.sealing import seal_result
from finetune_trainer.pod.workspace import Workspace


@dataclass(frozen=True)
class Trainer:
    """Starts the trainer as a pod would, as a process of its own."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "FINETUNE_TERMINATION_LOG": str(self.folder / "termination"), "FINETUNE_PROGRESS_PORT": "0"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "finetune_trainer.cli.main", *arguments]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(*arguments), env=self.environment, capture_output=True, text=True, check=False, timeout=120)

    def step(self, command: str, spec: RunSpec) -> "subprocess.CompletedProcess[str]":
        return self(command, "--spec", str(self.write(spec)), "--workspace", str(self.folder / "work"))

    def write(self, spec: RunSpec) -> Path:
        path = self.folder / "run.json"
        path.write_text(spec.to_json(), encoding="utf-8")
        return path

    def last_word(self) -> TerminationMessage:
        return TerminationMessage.from_json((self.folder / "termination").read_bytes())


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """A spec that names nothing which exists."""
    return RunSpec.model_validate(
        {
            "run": {"key": "b" * 64, "name": "tickets-0", "number": 1, "job_namespace": "ns", "job_name": "tickets", "job_uid": "u"},
            "base_model": {"uri": "pvc://models/none", "path": str(tmp_path / "no-base")},
            "dataset": {"uri": "pvc://data/none.jsonl", "path": str(tmp_path / "none.jsonl")},
            "tuner": {"type": "LoRA"},
            "artifact": {"uri": "pvc://adapters/none", "path": str(tmp_path / "artifact")},
        }
    )


@pytest.mark.parametrize("arguments", [["--version"], ["estimate", "--help"], ["validate"], ["clean"]])
def test_quick_answers_import_no_torch(arguments: list[str], trainer: Trainer, spec: RunSpec) -> None:
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        arguments = [*arguments, "--spec", str(trainer.write(spec)), "--workspace", str(trainer.folder / "work")]
    program = (
        "import sys\nfrom finetune_trainer.cli.main import main\n"
        f"try:\n    code = main({arguments!r})\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], env=trainer.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_mistake_in_the_spec_is_told_by_field(trainer: Trainer, spec: RunSpec) -> None:
    document = json.loads(spec.to_json())
    document["training"]["epochz"] = 3
    document["tuner"]["type"] = "LoRAA"
    (trainer.folder / "run.json").write_text(json.dumps(document))
    done = trainer("prepare", "--spec", str(trainer.folder / "run.json"))
    assert done.returncode == ExitCode.CONFIGURATION
    word = trainer.last_word()
    assert (word.outcome, word.reason) == (FailureClass.CONFIGURATION, "InvalidSpec")
    assert "training.epochz" in word.message
    assert "tuner.type" in word.message


@pytest.mark.parametrize("arguments", [["frobnicate"], [], ["prepare", "--attempt", "0"], ["run", "--micro-batch-size", "none"]])
def test_a_wrong_command_line_is_a_configuration_error(arguments: list[str], trainer: Trainer) -> None:
    assert trainer(*arguments).returncode == ExitCode.CONFIGURATION


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "epochs and steps": ({"training": {"epochs": "1", "max_steps": 2}}, "training.epochs"),
    "micro batch that does not divide": ({"training": {"batch_size": 8, "micro_batch_size": 3}}, "training.microBatchSize"),
    "rank on Full": ({"tuner": {"type": "Full", "lora": {"rank": 8}}}, "tuner"),
    "quantized LoRA": ({"tuner": {"type": "LoRA", "quantization": {}}}, "tuner.quantization"),
    "schema metric without a schema": ({"evaluation": {"metrics": ["SchemaCompliance"]}}, "evaluation.metrics"),
    "gate on what is not measured": (
        {"evaluation": {"metrics": ["Perplexity"], "improvement": {"metric": "ExactMatch"}}},
        "evaluation.improvement",
    ),
    "gate without held-out rows": (
        {"evaluation": {"metrics": ["ExactMatch"], "improvement": {"metric": "ExactMatch"}}, "validation": {}},
        "validation",
    ),
    "early stopping without held-out rows": ({"training": {"early_stopping_patience": 2}, "validation": {}}, "training.earlyStopping"),
    "raw text measured by its answers": (
        {"stage": "ContinuedPretraining", "evaluation": {"metrics": ["ExactMatch"]}},
        "evaluation.metrics",
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_validate_refuses_what_cannot_be_and_names_the_field(case: str, trainer: Trainer, spec: RunSpec) -> None:
    changes, field = INVALID[case]
    document = spec.model_dump(exclude_unset=True)
    broken = RunSpec.model_validate({**document, **changes})
    done = trainer.step("validate", broken)
    assert done.returncode == ExitCode.CONFIGURATION
    assert trainer.last_word().message.startswith(field)
    assert trainer.last_word().hint


def test_a_step_answers_from_its_sealed_result_at_once(trainer: Trainer, spec: RunSpec) -> None:
    digest = "sha256:" + "1" * 64
    data = DataSummary(digest=digest, examples=1, validation_examples=0, evaluation_items=0, tokens=9, format="Messages")
    estimate = Estimate(memory_bytes=1, disk_bytes=1, seconds=1, confidence="Fitted")
    prepared = PrepareSummary(dataset=data, estimate=estimate, base_digest=digest, total_steps=1, micro_batch_size=1)
    sealed = seal_result(Workspace(trainer.folder / "work"), spec, Step.PREPARE, Summary(prepare=prepared))
    done = trainer.step("prepare", spec)  # neither base nor data exist
    assert done.returncode == ExitCode.DONE
    word = trainer.last_word()
    assert word.result_digest == sealed.content_digest()
    assert word.summary == sealed.summary


def test_the_result_of_another_run_answers_nothing(trainer: Trainer, spec: RunSpec) -> None:
    other = spec.model_copy(update={"run": spec.run.model_copy(update={"key": "c" * 64})})
    seal_result(Workspace(trainer.folder / "work"), other, Step.PREPARE, Summary())
    done = trainer.step("prepare", spec)
    assert done.returncode == ExitCode.MODEL
    assert trainer.last_word().reason == "BaseModelMissing"


@pytest.fixture
def starting(trainer: Trainer, spec: RunSpec) -> Iterator["subprocess.Popen[str]"]:
    """A prepare step that has begun and is importing its libraries."""
    arguments = trainer.command("prepare", "--spec", str(trainer.write(spec)), "--workspace", str(trainer.folder / "work"))
    with subprocess.Popen(arguments, env=trainer.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "start"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_anything_is_sealed_ends_at_once(number: int, trainer: Trainer, starting: "subprocess.Popen[str]") -> None:
    starting.send_signal(number)
    assert starting.wait(30) == ExitCode.STOPPED
    word = trainer.last_word()
    assert (word.outcome, word.step, word.run_key) == (FailureClass.STOPPED, "prepare", "b" * 64)


def test_ranks_share_the_threads_of_the_container(trainer: Trainer, spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_PROCESSES", str(len(os.sched_getaffinity(0))))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = trainer.step("run", spec)
    told = [event["threads"] for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "environment"]
    assert set(told) == {1}  # the launcher's, and what the first rank got


def test_standard_output_carries_events_only(trainer: Trainer, spec: RunSpec) -> None:
    done = trainer.step("prepare", spec)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {event["attempt"] for event in events} == {1}
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")
    assert events[-1]["reason"] == "BaseModelMissing"


def test_clean_removes_the_work_folder_and_may_be_repeated(trainer: Trainer, spec: RunSpec) -> None:
    (trainer.folder / "work" / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (trainer.folder / "work" / "checkpoints" / "checkpoint-3" / "weights").write_bytes(b"123")
    (trainer.folder / "work" / "link").symlink_to(trainer.folder)
    assert trainer.step("clean", spec).returncode == 0
    assert not (trainer.folder / "work").exists()
    assert (trainer.folder / "run.json").exists()
    assert trainer.step("clean", spec).returncode == 0


def test_estimate_prints_the_estimate_alone(trainer: Trainer, run_spec: Callable[..., RunSpec]) -> None:
    done = trainer.step("estimate", run_spec())
    assert done.returncode == 0, done.stderr
    estimate = Estimate.from_json(done.stdout)
    assert estimate.fits
    assert estimate.memory_bytes > 100 << 20
