"""Files that are either whole or absent: written beside, flushed to the disk, renamed.

A pod can lose its node at any instruction. Whatever a later attempt relies on is therefore sealed: the name appears only after the content
is on the disk (POSIX rename is atomic within a file system).
"""

import hashlib
import os
from pathlib import Path

from pydantic import ValidationError

from finetune_trainer.contract import RunSpec, Step, StepResult, Summary
from finetune_trainer.pod.workspace import Workspace

_CHUNK = 1 << 20


def write_sealed(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically and durably; raises ``OSError`` when the volume refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within ``folder`` durable."""
    _sync(folder)


def sync_file(path: Path) -> None:
    """Make durable what a library wrote."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def seal_result(workspace: Workspace, spec: RunSpec, step: Step, summary: Summary) -> StepResult:
    """Write the step's result and return it."""
    result = StepResult(step=step.value, run_key=spec.run.key, spec_digest=spec.content_digest(), summary=summary)
    write_sealed(workspace.result(step), result.to_json())
    return result


def sealed_result(workspace: Workspace, spec: RunSpec, step: Step) -> StepResult | None:
    """The result an earlier attempt sealed for this very run, or None; a foreign or unreadable one counts as none."""
    try:
        result = StepResult.from_json(workspace.result(step).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return result if result.run_key == spec.run.key and result.step == step.value else None
