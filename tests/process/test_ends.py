"""How trainings end that cannot succeed: the class as an exit code, the reason and the next action as the last word."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from finetune_trainer.cli.run import execute
from finetune_trainer.contract import SCAN_REPORT, FailureClass, Step
from finetune_trainer.pod.basefiles import file_set_digest
from finetune_trainer.pod.context import Evidence, StepContext, StepOptions
from finetune_trainer.pod.datamanifest import seal_data, verified_data
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.events import EventLog, Value
from finetune_trainer.pod.signals import StopFlag
from tests.process.conftest import Run

SECTIONS: dict[str, Any] = {
    "tuner": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
    "training": {"max_steps": 200, "batch_size": 8, "micro_batch_size": 4, "learning_rate": "2e-3"},
    "evaluation": {"metrics": ["Perplexity"], "max_items": 4},
}


def test_an_absurd_learning_rate_ends_as_diverged(new_run: Callable[..., Run]) -> None:
    hot = {**SECTIONS, "tuner": {"type": "Full", "lora": None}, "training": {**SECTIONS["training"], "learning_rate": "10000"}}
    attempt = new_run("hot", **hot).start()
    assert attempt.wait() == 71, attempt.errors()
    message = attempt.message()
    assert (message.outcome, message.reason) == (FailureClass.DIVERGED, "Diverged")
    assert "diverged at step" in message.message
    assert "learningRate" in message.hint


def test_exhausted_memory_names_the_micro_batch_that_needs_half(new_run: Callable[..., Run]) -> None:
    big = {**SECTIONS, "training": {**SECTIONS["training"], "batch_size": 128, "micro_batch_size": 128, "max_sequence_length": 512}}
    run = new_run("big", rows=256, longest=512, more_memory=320 << 20, **big)
    attempt = run.start()
    assert attempt.wait() == 70, (attempt.events()[-2:], attempt.errors())
    message = attempt.message()
    assert message.outcome is FailureClass.OUT_OF_MEMORY
    assert "128 examples" in message.message
    assert "microBatchSize to 64" in message.hint
    again = run.start("--micro-batch-size", "2")
    assert again.wait_for("training")["micro_batch_size"] == 2
    again.wait_for("progress")
    again.signal(signal.SIGTERM)
    assert again.wait() == 75


@pytest.mark.parametrize(
    ("argument", "reason", "hint"),
    [
        ({"learning_rate": 1}, "ArgumentHasField", "training.learningRate"),
        ({"adam_beta3": 0.9}, "UnknownArgument", "adam_beta"),
        ({"push_to_hub": True}, "ArgumentNotOpen", "adam_beta1"),
        ({"adam_beta1": "high"}, "InvalidArgument", "Correct"),
        ({"optim": "no-such-optimizer"}, "ArgumentsRefused", "Correct"),
    ],
)
def test_extra_arguments_are_checked(argument: dict[str, Any], reason: str, hint: str, new_run: Callable[..., Run]) -> None:
    attempt = new_run("extra", **{**SECTIONS, "training": {**SECTIONS["training"], "extra_arguments": argument}}).start()
    assert attempt.wait() == 64, attempt.errors()
    message = attempt.message()
    assert message.reason == reason
    assert "training.extraArguments" in message.message
    assert hint in message.hint


def test_a_dataset_that_was_sealed_anew_is_not_the_one_that_was_approved(new_run: Callable[..., Run]) -> None:
    run = new_run("sealed_anew", **{**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 2}})
    approved, base = verified_data(run.workspace).content_digest(), file_set_digest(run.workspace.base_model(run.spec))
    rows = run.workspace.train_rows
    rows.write_bytes(run.workspace.validation_rows.read_bytes())
    seal_data(run.workspace, [rows.name], [], {})
    attempt = run.start("--data-digest", approved, "--base-digest", base)
    assert attempt.wait() == 65, attempt.errors()
    assert attempt.message().reason == "DigestMismatch"
    assert not run.workspace.out.exists()


def test_a_dataset_that_is_the_approved_one_makes_the_same_adapter(new_run: Callable[..., Run]) -> None:
    short = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 2}}
    run, plain = new_run("approved", **short), new_run("plain", **short)
    approved, base = verified_data(run.workspace).content_digest(), file_set_digest(run.workspace.base_model(run.spec))
    run.workspace.data_scan.write_text("{}")
    assert run.finish("--data-digest", approved, "--base-digest", base).adapter_digest == plain.finish().adapter_digest
    assert (run.workspace.out_meta / SCAN_REPORT).read_text() == "{}"


def test_rows_that_are_not_what_was_sealed_are_not_trained_on(new_run: Callable[..., Run]) -> None:
    run = new_run("damaged", **SECTIONS)
    rows = run.workspace.train_rows
    rows.write_bytes(rows.read_bytes()[:-1] + b"\0")
    attempt = run.start()
    assert attempt.wait() == 65
    assert attempt.message().reason == "DatasetDamaged"


def test_without_the_prepare_step_nothing_is_trained(new_run: Callable[..., Run]) -> None:
    run = new_run("unprepared", **SECTIONS)
    run.workspace.result(Step.PREPARE).unlink()
    attempt = run.start()
    assert attempt.wait() == 65
    assert attempt.message().reason == "NotPrepared"


@pytest.fixture
def own_base(tiny_base: Path, tmp_path: Path) -> Path:
    """A base model that a test may change."""
    return Path(shutil.copytree(tiny_base, tmp_path / "changing-base"))


def change(base: Path) -> None:
    """Other weights in files of the same names and sizes."""
    weights = base / "model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})


SHORT = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 4}}


def test_a_base_model_that_changed_since_the_prepare_step_is_not_trained_on(new_run: Callable[..., Run], own_base: Path) -> None:
    run = new_run("waited", base_model={"uri": "pvc://models/tiny", "path": str(own_base)}, **SHORT)
    change(own_base)
    attempt = run.start()
    assert attempt.wait() == 66, attempt.errors()
    message = attempt.message()
    assert (message.outcome, message.reason) == (FailureClass.MODEL, "BaseModelChanged")
    assert message.message.startswith("baseModel: ")
    assert "spec.rerun" in message.hint
    assert not attempt.events("training")


def test_a_run_does_not_go_on_with_another_base_model(new_run: Callable[..., Run], own_base: Path) -> None:
    long = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 5000}}
    run = new_run("resumed", base_model={"uri": "pvc://models/tiny", "path": str(own_base)}, **long)
    attempt = run.start()
    attempt.wait_for("progress")
    attempt.signal(signal.SIGTERM)
    assert attempt.wait() == 75
    (own_base / "tokenizer_config.json").unlink()
    following = run.start()
    assert following.wait() == 66, following.errors()
    assert following.message().reason == "BaseModelChanged"
    assert not following.events("training")


class ChangesTheBase(EventLog):
    """Changes the base model after it was verified and trained on, right before the artifact is loaded again."""

    def __init__(self, descriptor: int, base: Path) -> None:
        super().__init__(1, descriptor)
        self._base = base

    def emit(self, event: str, **fields: Value) -> None:
        super().emit(event, **fields)
        if event == "artifact_assembled":
            change(self._base)


def test_an_artifact_that_answers_otherwise_than_the_trained_model_is_refused(
    new_run: Callable[..., Run], own_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model changes under the run: every file of the artifact is whole, and the model is another one."""
    monkeypatch.setenv("FINETUNE_PROGRESS_PORT", "0")
    run = new_run("changed", base_model={"uri": "pvc://models/tiny", "path": str(own_base)}, **SHORT)
    with (tmp_path / "events").open("wb") as file:
        events = ChangesTheBase(file.fileno(), own_base)
        context = StepContext(run.spec, run.workspace, 1, StepOptions(), events, StopFlag(), Evidence(), tmp_path / "run.json")
        with pytest.raises(ModelError, match="a logit differs by") as refused:
            execute(context)
    assert refused.value.reason == "ReloadDiffers"
    assert not run.workspace.result(Step.TRAIN).exists()


def test_an_accelerator_that_is_not_there_is_missed_by_name(new_run: Callable[..., Run]) -> None:
    attempt = new_run("blind", environment={"CUDA_VISIBLE_DEVICES": ""}, resources={"gpus": 1}, **SECTIONS).start()
    assert attempt.wait() == 64, attempt.errors()
    assert attempt.message().reason == "AcceleratorMissing"


def test_a_full_volume_ends_as_storage_and_the_run_goes_on_when_there_is_room(new_run: Callable[..., Run], small_volume: Path) -> None:
    frequent = {**SECTIONS, "training": {**SECTIONS["training"], "max_steps": 5000}, "checkpoint": {"every_seconds": 1}}
    run = new_run("full", **frequent)
    run.workspace.checkpoints.symlink_to(small_volume)
    attempt = run.start()
    attempt.wait_for("checkpoint")
    filler = small_volume / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"0" * 4096):
            pass
    assert attempt.wait() == 74, attempt.errors()
    message = attempt.message()
    assert (message.outcome, message.reason) == (FailureClass.STORAGE, "DiskFull")
    assert "bytes free" in message.message
    filler.unlink()
    following = run.start()
    assert following.wait_for("training")["from_step"] > 0
    following.signal(signal.SIGTERM)
    assert following.wait() == 75


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of four megabytes."""
    folder = tmp_path / "volume"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no volume can be filled: this user may not mount one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
