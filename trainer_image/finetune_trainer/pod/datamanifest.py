"""The seal of the prepared dataset: which files with which bytes, and the settings that made them what they are.

It is written last. A step that reads the rows checks them against it first, so that it never learns from half a dataset.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from finetune_trainer.contract import Digest, Document
from finetune_trainer.contract.base import Named
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.sealing import file_digest, write_sealed
from finetune_trainer.pod.workspace import Workspace


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


def _sealed(path: Path) -> SealedFile:
    return SealedFile(name=path.name, digest=file_digest(path), bytes=path.stat().st_size)
