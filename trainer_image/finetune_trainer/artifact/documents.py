"""What describes an artifact, written when it is trained: card, spec, whether it may be promoted, and the record that names them all.

Written in the train step and not in the publish step, because what the operator signs in between holds the record's digest: whoever
verifies that signature knows every document beside the artifact.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from finetune_trainer.artifact.card import model_card
from finetune_trainer.artifact.contents import PICKLE_SUFFIXES, Artifact
from finetune_trainer.artifact.record import RECORD_FILE, FileFact, Record
from finetune_trainer.contract import MODEL_SIGNATURE_FILE, ArtifactPart, PrepareSummary, RunSpec, TrainSummary
from finetune_trainer.contract import RECORD_FILE as SIGNED_RECORD_FILE
from finetune_trainer.pod.resolved import RESOLVED_FILE, read_resolved
from finetune_trainer.pod.sealing import file_digest, write_sealed

PROMOTABLE_FILE: Final = "promotable"
RUN_FILE: Final = "run.json"
CARD_FILE: Final = "README.md"
ITEMS_FILE: Final = "evaluation-items.jsonl"
_NOT_LISTED: Final = frozenset({RECORD_FILE, SIGNED_RECORD_FILE, MODEL_SIGNATURE_FILE})
"""No record holds its own digest, and a signature is made after what it signs."""


def describe(
    folder: Path, spec: RunSpec, artifact: Artifact, prepared: PrepareSummary | None, train: TrainSummary, *, promotable: bool
) -> None:
    """Write what describes the artifact into the folder where its reports lie already.

    Equal runs write equal bytes. Raises ``OSError`` when the volume refuses.
    """
    told = train.model_copy(update={"files": [], "documents": []})  # told by the record itself
    write_sealed(folder / RUN_FILE, _pretty(spec.to_json()))
    write_sealed(folder / CARD_FILE, model_card(spec, artifact, prepared, told, read_resolved(folder), promotable=promotable))
    write_sealed(folder / PROMOTABLE_FILE, f"{str(promotable).lower()}\n")
    record = Record.of(spec, artifact, prepared, told, folder, promotable=promotable)
    listed = [
        FileFact(name=path.name, digest=file_digest(path), bytes=path.stat().st_size)
        for path in documents(folder)
        if path.name not in _NOT_LISTED
    ]
    write_sealed(folder / RECORD_FILE, _pretty(record.model_copy(update={"documents": listed}).to_json()))


def documents(folder: Path) -> list[Path]:
    """The files that describe an artifact; what libraries leave besides is none of them."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in PICKLE_SUFFIXES]


def vouching(folder: Path) -> list[ArtifactPart]:
    """The few documents whose digests the signed record holds: ``record.json``, which has those of all others, and what people ask for."""
    names = [name for name in (ITEMS_FILE, RECORD_FILE, RESOLVED_FILE) if (folder / name).is_file()]
    return [ArtifactPart(name=name, digest=file_digest(folder / name)) for name in names]


def described(folder: Path, sealed: Iterable[ArtifactPart]) -> bool:
    """Whether the documents that the train step has sealed lie in the folder, each as it was."""
    path = folder / RECORD_FILE
    digest = next((part.digest for part in sealed if part.name == RECORD_FILE), None)
    if digest is None or not path.is_file() or file_digest(path) != digest:
        return False
    listed = Record.from_json(path.read_bytes()).documents
    return all((folder / file.name).is_file() and file_digest(folder / file.name) == file.digest for file in listed)


def _pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
