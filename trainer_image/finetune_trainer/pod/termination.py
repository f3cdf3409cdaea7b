"""The last word of a pod: which class of end it was, as an exit code, and the evidence for it, where kubelet picks it up.

Every exception becomes a ``StepError`` here. What the libraries raise for a full disk or for exhausted memory has no type of its own, so it
is recognised by its error number or its fixed words. What nobody foresaw is an internal error: its message may quote a row, so only its
type and place are told.
"""

import errno
import os
import shutil
import sys
import traceback
from pathlib import Path

from finetune_trainer.contract import CLASS_OF_EXIT, TERMINATION_LOG, ExitCode, FailureClass, StepResult, TerminationMessage
from finetune_trainer.pod.context import Evidence
from finetune_trainer.pod.errors import DeniedError, OutOfMemoryError, StepError, StorageError, UnsafeModelError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BROKEN = {errno.EIO, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_FULL_WORDS = ("No space left on device", "os error 28", "Disk quota exceeded", "file write failed", "unexpected pos")
_MEMORY_WORDS = ("DefaultCPUAllocator", "can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "std::bad_alloc")


class InternalError(StepError):
    """A defect of the trainer or of a library: not the user's to mend."""

    exit_code = ExitCode.INTERNAL


def step_error(error: BaseException, volume: Path) -> StepError:
    """The ``StepError`` behind any exception; ``volume`` is named when a full disk does not say which file it was."""
    for cause in _chain(error):
        if isinstance(cause, StepError):
            return cause
        found = _memory(cause) or _storage(cause, volume)
        if found is not None:
            return found
    return InternalError(
        "InternalError",
        f"{type(error).__name__} at {place_of(error)}",
        "This is a defect of the trainer: report it with this message and the trainer's version.",
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether exhausted memory of host or device is behind this exception."""
    return any(_memory(cause) is not None for cause in _chain(error))


def place_of(error: BaseException) -> str:
    """``file:line in function`` of the innermost frame of ours, or of the innermost frame at all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    ours = [frame for frame in frames if "finetune_trainer" in frame.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def frames_of(error: BaseException) -> list[str]:
    """The call stack without any value: file, line and function, outermost first."""
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)][-24:]


def done(step: str, run_key: str, evidence: Evidence, result: StepResult | None) -> TerminationMessage:
    return TerminationMessage(
        step=step,
        run_key=run_key,
        outcome=FailureClass.DONE,
        reason="Succeeded",
        message=f"{step} finished",
        summary=result.summary if result else None,
        result_digest=result.content_digest() if result else None,
        last_step=evidence.last_step,
        checkpoint=evidence.checkpoint,
        skipped_checkpoints=evidence.skipped(),
        egress=evidence.egress,
        tracker=evidence.tracker,
    )


def failed(error: StepError, step: str, run_key: str, evidence: Evidence) -> TerminationMessage:
    return TerminationMessage(
        step=step,
        run_key=run_key,
        outcome=CLASS_OF_EXIT[error.exit_code],
        reason=error.reason,
        message=error.message[:1024],
        hint=error.hint[:512],
        refusals=error.refusals if isinstance(error, DeniedError) else (),
        base_model=error.findings if isinstance(error, UnsafeModelError) else None,
        last_step=evidence.last_step,
        checkpoint=evidence.checkpoint,
        skipped_checkpoints=evidence.skipped(),
        egress=evidence.egress,
        tracker=evidence.tracker,
    )


def write_termination_message(message: TerminationMessage) -> None:
    """Write to ``$FINETUNE_TERMINATION_LOG`` or kubelet's file; where neither can exist (a laptop) nothing is written."""
    path = Path(os.environ.get("FINETUNE_TERMINATION_LOG") or TERMINATION_LOG)
    if not path.parent.is_dir() or (path.parent == Path("/dev") and not path.exists()):
        return
    try:
        path.write_text(message.to_bounded_json(), encoding="utf-8")
    except OSError as error:  # the exit code still tells the class
        sys.stderr.write(f"finetune-trainer: no termination message at {path}: {error.strerror}\n")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def _memory(error: BaseException) -> StepError | None:
    torch = sys.modules.get("torch")
    of_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    by_words = isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)
    if not (isinstance(error, MemoryError) or of_device or by_words):
        return None
    where = "the accelerator's memory" if of_device or "CUDA" in str(error) or "CUBLAS" in str(error) else "the container's memory"
    return OutOfMemoryError(
        "OutOfMemory",
        f"{where} did not suffice ({type(error).__name__} at {place_of(error)})",
        "Lower spec.training.microBatchSize or maxSequenceLength, turn on gradientCheckpointing, or give the step more memory.",
    )


def _storage(error: BaseException, volume: Path) -> StepError | None:
    number = error.errno if isinstance(error, OSError) else None
    path = Path(str(error.filename)) if isinstance(error, OSError) and error.filename else volume
    if number in _FULL or any(words in str(error) for words in _FULL_WORDS):
        free, total = _space(path)
        return StorageError(
            "DiskFull",
            f"disk full: the volume at {mount_of(path)} has {free} of {total} bytes free",
            "Enlarge the claim or delete what is not needed on it; the run goes on from its last sealed checkpoint.",
        )
    if number in _BROKEN:
        return StorageError(
            "VolumeFailed", f"the volume at {mount_of(path)} failed: {os.strerror(number or 0)}", "Look at the volume and its node."
        )
    if number in _REFUSED:
        return StorageError(
            "VolumeNotWritable",
            f"the volume at {mount_of(path)} refuses this user: {os.strerror(number or 0)}",
            "The claim must be writable for group 10001 (fsGroup) and not be mounted read-only.",
        )
    return None


def mount_of(path: Path) -> Path:
    """The mount point that holds ``path``, which is what a person calls the volume."""
    current = _existing(path)
    while not os.path.ismount(current) and current != current.parent:
        current = current.parent
    return current


def _space(path: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(_existing(path))
    return usage.free, usage.total


def _existing(path: Path) -> Path:
    current = path.absolute()
    while not _visible(current):
        current = current.parent
    return current


def _visible(path: Path) -> bool:
    """Whether the path can be looked at; a folder that shuts us out is itself the evidence, not another error."""
    try:
        return path.exists()
    except PermissionError:
        return False
