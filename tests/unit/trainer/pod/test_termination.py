"""Every exception has a class of end; what a library's message may quote never gets out."""

import errno
import os
from pathlib import Path

import pytest
import torch

from finetune_trainer.contract import (
    MOST_FILES,
    TERMINATION_MESSAGE_LIMIT,
    ArtifactPart,
    EvaluationSummary,
    ExitCode,
    Summary,
    TerminationMessage,
    TrainSummary,
    Verdict,
)
from finetune_trainer.pod.errors import DataError, StepError
from finetune_trainer.pod.termination import step_error


def ended_by(action: object, tmp_path: Path) -> StepError:
    try:
        action()  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 - whatever it is, it gets a class
        return step_error(error, tmp_path)
    raise AssertionError("nothing was raised")


def write_to_a_full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


def raise_os_error(number: int, path: Path) -> None:
    raise OSError(number, os.strerror(number), str(path))


def test_a_full_disk_names_its_volume_and_may_be_retried(tmp_path: Path) -> None:
    error = ended_by(write_to_a_full_disk, tmp_path)
    assert (error.exit_code, error.reason) == (ExitCode.STORAGE, "DiskFull")
    assert error.message.startswith("disk full: the volume at /")


def test_a_full_disk_is_recognised_in_what_other_languages_say(tmp_path: Path) -> None:
    def rust() -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    assert ended_by(rust, tmp_path).reason == "DiskFull"


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EIO, "VolumeFailed"), (errno.EROFS, "VolumeNotWritable"), (errno.EACCES, "VolumeNotWritable")]
)
def test_a_failing_volume_is_storage_trouble(number: int, reason: str, tmp_path: Path) -> None:
    error = ended_by(lambda: raise_os_error(number, tmp_path / "deep" / "file"), tmp_path)
    assert (error.exit_code, error.reason) == (ExitCode.STORAGE, reason)


@pytest.mark.parametrize("action", [lambda: bytearray(1 << 62), lambda: torch.empty(1 << 58, dtype=torch.float32)], ids=["python", "torch"])
def test_memory_that_does_not_suffice_has_its_own_class(action: object, tmp_path: Path) -> None:
    error = ended_by(action, tmp_path)
    assert error.exit_code == ExitCode.OUT_OF_MEMORY
    assert "microBatchSize" in error.hint


def test_a_cause_is_found_behind_what_wraps_it(tmp_path: Path) -> None:
    def wrapped() -> None:
        try:
            write_to_a_full_disk()
        except OSError as error:
            raise ValueError("could not save") from error

    assert ended_by(wrapped, tmp_path).reason == "DiskFull"


def test_an_error_of_ours_is_told_as_it_is(tmp_path: Path) -> None:
    ours = DataError("EmptyDataset", "dataset: no row", "Add rows.")

    def raising() -> None:
        raise ours

    assert ended_by(raising, tmp_path) is ours


def test_what_nobody_foresaw_tells_type_and_place_but_no_value(tmp_path: Path) -> None:
    def secret() -> None:
        raise KeyError("the patient has a cold")

    error = ended_by(secret, tmp_path)
    assert error.exit_code == ExitCode.INTERNAL
    assert "KeyError at test_termination.py:" in error.message
    assert "patient" not in f"{error} {error.message} {error.hint}"


def test_the_last_word_keeps_its_figures_when_there_is_no_room_for_the_names_of_files() -> None:
    parts = [ArtifactPart(name=f"{number:0128d}", digest="sha256:" + "f" * 64) for number in range(MOST_FILES)]
    train = TrainSummary(
        steps=1, epoch="1", loss="1", tokens=1, seconds=1, adapter_digest="sha256:" + "a" * 64, files=parts,
        evaluation=EvaluationSummary(verdict=Verdict.PASS, items=1),
    )  # fmt: skip
    said = TerminationMessage(step="train", run_key="k", outcome="Done", reason="Succeeded", message="", summary=Summary(train=train))
    text = said.to_bounded_json()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    kept = TerminationMessage.from_json(text).summary
    assert kept is not None
    assert kept.train == train.model_copy(update={"files": []})
    shorter = train.model_copy(update={"files": parts[:10]})
    text = said.model_copy(update={"summary": Summary(train=shorter)}).to_bounded_json()
    assert TerminationMessage.from_json(text).summary == Summary(train=shorter)
