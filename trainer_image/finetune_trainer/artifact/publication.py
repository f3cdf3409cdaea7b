"""Publishing: copy, verify, rename; once for every content, however often it is tried.

A rename between two mounts is impossible, so the copy goes to a hidden name inside the destination first. The destination's name is the
content's digest: what is already there is either the same or a defect of the volume, and is never overwritten.
"""

import errno
import os
import shutil
from pathlib import Path

from finetune_trainer.artifact.contents import Artifact, inspect, refuse_pickles
from finetune_trainer.artifact.documents import describe, described, documents
from finetune_trainer.artifact.record import RECORD_FILE, read_record
from finetune_trainer.artifact.signed import Signed
from finetune_trainer.contract import EvaluationSummary, PublishSummary, RunSpec, Step, TrainSummary, Verdict
from finetune_trainer.pod.errors import StorageError
from finetune_trainer.pod.sealing import sealed_result, sync_folder
from finetune_trainer.pod.workspace import Workspace


def is_promotable(evaluation: EvaluationSummary, spec: RunSpec) -> bool:
    """Whether the gate lets this artifact go on: passed, not gated, or undecided where the owner accepts that."""
    if evaluation.verdict is Verdict.INCONCLUSIVE:
        return spec.evaluation.on_inconclusive == "Pass"
    return evaluation.verdict in {Verdict.PASS, Verdict.NOT_GATED}


def publish(workspace: Workspace, spec: RunSpec, *, destination: Path, attempt: int, signed: Signed | None = None) -> PublishSummary:
    """Put ``workspace.out`` to ``<destination>/<digest hex>`` and what describes it to ``<digest hex>.meta``, then empty both sources.

    ``signed`` goes into the latter. Safe to repeat after any interruption. Raises ``StorageError`` when the source is not what the train
    step sealed, when ``signed`` is about something else, or when other content holds the name; ``OSError`` when a volume refuses.
    """
    train = _trained(workspace, spec)
    name = train.adapter_digest.removeprefix("sha256:")
    target, meta = destination / name, destination / f"{name}.meta"
    promotable = is_promotable(train.evaluation, spec)
    if signed is not None:
        signed.require_subject(train.adapter_digest)
    if not holds(target, train.adapter_digest) or not _described(meta, spec, signed):
        source = _intact(workspace.out, train.adapter_digest, target)
        destination.mkdir(parents=True, exist_ok=True)
        _sweep(destination, name, spec)
        staged = _stage(source, destination / f".{name}.{spec.run.key[:8]}-{attempt}.tmp", train.adapter_digest)
        _write_meta(meta, workspace, spec, inspect(staged), train, signed=signed, promotable=promotable)
        settle(staged, target, train.adapter_digest)
    published = inspect(target)
    _empty(workspace.out)
    _empty(workspace.out_meta)
    uri = f"{spec.artifact.uri.rstrip('/')}/{name}"
    return PublishSummary(uri=uri, digest=published.digest, bytes=published.bytes, promotable=promotable, signed=signed is not None)


def _trained(workspace: Workspace, spec: RunSpec) -> TrainSummary:
    result = sealed_result(workspace, spec, Step.TRAIN)
    if result is None or result.summary.train is None:
        raise StorageError(
            "TrainResultMissing",
            f"no sealed result of the train step for run {spec.run.name}",
            "The work folder was emptied or is another run's. Ask for a new run with spec.rerun.",
        )
    return result.summary.train


def holds(target: Path, digest: str) -> bool:
    """Whether the artifact is already there; other content under this name is an error, because a name never changes its meaning."""
    if not target.exists():
        return False
    if inspect(target).digest == digest:
        return True
    raise StorageError(
        "ArtifactNameTaken",
        f"{target.name} exists at the destination with other content than its name says",
        "Something changed the published files. Move that folder away and let the publish step run again.",
    )


def _described(meta: Path, spec: RunSpec, signed: Signed | None) -> bool:
    record = read_record(meta / RECORD_FILE)
    return record is not None and record.run_key == spec.run.key and (signed is None or signed.lies_in(meta))


def _intact(out: Path, digest: str, target: Path) -> Path:
    """Where to copy from: the work folder, or what is already published if the work folder has been emptied."""
    if inspect(out).digest == digest:
        return out
    if target.exists():
        return target
    raise StorageError(
        "ArtifactDamaged",
        "the trained files in the work folder are not those that the train step sealed",
        "The volume lost or changed data. Ask for a new run with spec.rerun.",
    )


def _stage(source: Path, staged: Path, digest: str) -> Path:
    refuse_pickles(source)
    for path in sorted(source.rglob("*")):
        copy = staged / path.relative_to(source)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copy)
    sync_folder(staged)
    if inspect(staged).digest != digest:
        shutil.rmtree(staged)
        raise StorageError(
            "CopyDamaged", "the copy at the destination differs from its source", "Look at the artifact's volume; it is tried again."
        )
    return staged


def settle(staged: Path, target: Path, digest: str) -> None:
    """Give the copy its name; if somebody else published the same content meanwhile, theirs stays."""
    try:
        staged.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not holds(target, digest):
            raise
        shutil.rmtree(staged)
    sync_folder(target.parent)


def _write_meta(
    meta: Path, workspace: Workspace, spec: RunSpec, artifact: Artifact, train: TrainSummary, *, signed: Signed | None, promotable: bool
) -> None:
    """Card, report, outcomes and record of the newest run that produced this content.

    They are written anew only where those of the train step are gone: what was signed is about those.
    """
    prepared_result = sealed_result(workspace, spec, Step.PREPARE)
    prepared = prepared_result.summary.prepare if prepared_result else None
    fresh = meta.with_name(f".{meta.name}.{spec.run.key[:8]}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path in documents(workspace.out_meta):
        _copy(path, fresh / path.name)
    if not described(fresh, train.documents):
        describe(fresh, spec, artifact, prepared, train, promotable=promotable)
    if signed is not None:
        signed.write(fresh)
    old = meta.with_name(f".{meta.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if meta.exists():
        meta.rename(old)
    fresh.rename(meta)
    sync_folder(meta.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(destination: Path, name: str, spec: RunSpec) -> None:
    """Remove what interrupted attempts of this run left."""
    for path in destination.glob(f".{name}.{spec.run.key[:8]}-*.tmp"):
        shutil.rmtree(path)


def _empty(folder: Path) -> None:
    """Remove the content and keep the folder: it may be a mount point."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
