"""The seal of the prepared dataset: which files with which bytes, and the settings that made them what they are.

It is written last. A step that reads the rows checks them against it first, so that it never learns from half a dataset.
"""

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from finetune_trainer.contract import Digest, Document, digest_of
from finetune_trainer.contract.base import Named
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.sealing import file_digest, write_sealed
from finetune_trainer.pod.workspace import Workspace

_CHUNK = 1 << 20
_DOCUMENT_LIMIT = 16 << 20
SCHEMA = "outputSchema"
"""The setting that holds the digest of the task's output schema: what an answer must satisfy is agreed to together with the rows."""


class SealedFile(Document):
    name: str
    digest: Digest
    bytes: int = Field(ge=0)


class SourceFile(Document):
    """Where rows came from: ``role`` is dataset, validation or evaluation."""

    role: str
    uri: str
    digest: Digest


class DataManifest(Named):
    """``content_digest()`` is the digest of the prepared dataset."""

    kind: str = Field(default="DataManifest", pattern="^DataManifest$")
    files: list[SealedFile]
    sources: list[SourceFile]
    settings: dict[str, str | int | bool | None]

    @property
    def schema_digest(self) -> Digest | None:
        """Of the output schema's file; None where the task has none, or the rows were sealed by a trainer that did not look."""
        sealed = self.settings.get(SCHEMA)
        return sealed if isinstance(sealed, str) else None


def seal_data(
    workspace: Workspace, names: list[str], sources: list[SourceFile], settings: dict[str, str | int | bool | None]
) -> DataManifest:
    """Digest the files ``names`` of the data folder and write the manifest over them."""
    files = [_sealed(workspace.data / name) for name in sorted(names)]
    manifest = DataManifest(files=files, sources=sources, settings=settings)
    write_sealed(workspace.data_manifest, manifest.to_json())
    return manifest


def verified_data(workspace: Workspace) -> DataManifest:
    """The manifest, after every file agreed with it; raises ``DataError`` for a dataset that is not whole."""
    again = "Set spec.rerun to a new value: the prepare step writes the dataset anew."
    try:
        manifest = DataManifest.from_json(workspace.data_manifest.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise DataError("DatasetNotSealed", "the work folder holds no sealed dataset", again) from error
    for file in manifest.files:
        path = workspace.data / file.name
        if not path.is_file() or path.stat().st_size != file.bytes or file_digest(path) != file.digest:
            raise DataError("DatasetDamaged", f"{file.name} in the work folder is not what was sealed", again)
    return manifest


def verify_schema(content: bytes, sealed: Digest) -> None:
    """Raise ``DataError`` where an output schema is not the one that was sealed with the rows: a gate would ask for something else."""
    if (found := digest_of(content)) != sealed:
        raise DataError(
            "DigestMismatch",
            f"spec.task.outputSchema: the schema in the ConfigMap has digest {found}, sealed was {sealed}",
            "Put the ConfigMap back as it was, or set spec.rerun to a new value: schema and rows are sealed anew.",
        )


def private_copy(workspace: Workspace, sealed: Digest, folder: Path) -> Workspace:
    """The same work folder, with the dataset copied into ``folder``, which nobody else can write; every byte is hashed on its way.

    ``sealed`` is the digest that was approved. The files are read once and never again: whoever changes them on the shared volume later, or
    has their names point to others, changes nothing. The reports on the dataset go along, which nothing is learned from: their
    digests were told by the prepare step, and whoever verifies the record compares them. Raises ``DataError``.
    """
    try:
        text = _read(workspace.data_manifest)
        manifest = DataManifest.from_json(text)
    except (FileNotFoundError, ValidationError) as error:
        raise _mismatch("the work folder holds no sealed dataset") from error
    if manifest.content_digest() != sealed:
        raise _mismatch(f"the dataset in the work folder has digest {manifest.content_digest()}, sealed was {sealed}")
    for file in manifest.files:
        if Path(file.name).name != file.name:
            raise _mismatch(f"{file.name[:64]} is no name of a file")
        _copy(workspace.data / file.name, folder / file.name, file)
    (folder / workspace.data_manifest.name).write_bytes(text)
    for report in (workspace.data_report, workspace.data_scan, workspace.data_review):
        with suppress(FileNotFoundError):
            (folder / report.name).write_bytes(_read_document(report))
    return Workspace(workspace.root, folder)


def _copy(source: Path, target: Path, sealed: SealedFile) -> None:
    found, size = hashlib.sha256(), 0
    try:
        with open(source, "rb", opener=_itself) as file, target.open("xb") as copy:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
                size += len(chunk)
                if size > sealed.bytes:
                    break
                copy.write(chunk)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
            raise
        raise _mismatch(f"{sealed.name} in the work folder is no file of its own any more") from error
    if (size, f"sha256:{found.hexdigest()}") != (sealed.bytes, sealed.digest):
        raise _mismatch(f"{sealed.name} in the work folder is not what was sealed")


def _read(path: Path) -> bytes:
    with open(path, "rb", opener=_itself) as file:
        return file.read(_DOCUMENT_LIMIT)


def _read_document(path: Path) -> bytes:
    """A report, which cannot be a way to other files of the pod."""
    try:
        return _read(path)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
            raise
        raise _mismatch(f"{path.name} in the work folder is no file of its own any more") from error


def _itself(path: str, flags: int) -> int:
    """Open a file that the name stands for itself: a link could be pointed elsewhere."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _mismatch(what: str) -> DataError:
    return DataError("DigestMismatch", what, "Find out who changed the work folder, and set spec.rerun to a new value.")


def _sealed(path: Path) -> SealedFile:
    return SealedFile(name=path.name, digest=file_digest(path), bytes=path.stat().st_size)
