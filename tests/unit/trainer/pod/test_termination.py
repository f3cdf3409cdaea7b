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
    Count,
    DataQuality,
    DataSummary,
    Estimate,
    EvaluationSummary,
    ExitCode,
    FailureClass,
    Finding,
    NameModel,
    PrepareSummary,
    ScanSummary,
    Severity,
    Summary,
    TerminationMessage,
    TrainSummary,
    Verdict,
)
from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.contract.model import BaseModelFindings, Licence
from finetune_trainer.data.examples import DropReason
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
    crowded = train.model_copy(update={"files": parts[:10], "documents": parts[:12]})
    text = said.model_copy(update={"summary": Summary(train=crowded)}).to_bounded_json()
    assert TerminationMessage.from_json(text).summary == Summary(train=crowded.model_copy(update={"files": []}))
    shorter = train.model_copy(update={"files": parts[:10]})
    text = said.model_copy(update={"summary": Summary(train=shorter)}).to_bounded_json()
    assert TerminationMessage.from_json(text).summary == Summary(train=shorter)


def test_all_that_prepare_can_count_fits_into_a_termination_message() -> None:
    """What people are told goes before what is decided upon."""
    digest, most = "sha256:" + "0" * 64, 10**9
    data = DataSummary(
        digest=digest,
        examples=most,
        validation_examples=most,
        evaluation_items=most,
        tokens=most,
        format="PromptCompletion",
        dropped=[Count(reason=reason.value, count=most) for reason in list(DropReason)[:8]],
        findings=[Finding(rule="x" * 64, severity=Severity.WARNING, message="y" * 256) for _ in range(4)],
        quality=DataQuality(examples=most, task_minimum=most, duplicates=most, evaluation_overlap=most),
    )
    found = dict.fromkeys(Entity, (most, most))
    model = NameModel(name="n" * 64, version="v" * 32, digest=digest)
    scan = ScanSummary(profile="IdentifiersAndNames", entire=False, rows=most, report_digest=digest, found=found, name_model=model)
    estimate = Estimate(memory_bytes=most, disk_bytes=most, seconds=most, confidence="Unfitted", fits=False, cheapest_fix="z" * 256)
    prepared = PrepareSummary(
        dataset=data,
        estimate=estimate,
        base_digest=digest,
        licence="l" * 128,
        base_model=BaseModelFindings(licences=(Licence(key="LicenseRef-scancode-llama-3.1-license-2024"),) * 8),
        total_steps=most,
        micro_batch_size=most,
        scan=scan,
    )
    text = TerminationMessage(
        step="prepare",
        run_key="a" * 64,
        outcome=FailureClass.DONE,
        reason="Done",
        message="m" * 1024,
        summary=Summary(prepare=prepared),
        result_digest=digest,
    ).to_bounded_json()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    told = TerminationMessage.from_json(text).summary
    assert told is not None
    assert told.prepare is not None
    assert told.prepare.scan == scan
    assert told.prepare.dataset.quality == data.quality
