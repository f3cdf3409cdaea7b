"""A declared source becomes usable examples: read, recognised, normalised, checked, and refused when too much of it is unusable."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from finetune_trainer.contract import DataSource, RunSpec, TaskType, canonical_json, digest_of
from finetune_trainer.data.examples import Conversation, Dropped, Example, row_hash
from finetune_trainer.data.formats import Recognition, recognise
from finetune_trainer.data.normalization import normalise
from finetune_trainer.data.report import SourceReport, count_dropped
from finetune_trainer.data.sources import data_files, read_records
from finetune_trainer.data.targets import TargetSchema
from finetune_trainer.identifiers import Scanner
from finetune_trainer.pod.datamanifest import SourceFile
from finetune_trainer.pod.errors import DataError
from finetune_trainer.pod.sealing import file_digest

FIELD_OF = {"dataset": "dataset.inline", "validation": "dataset.validation", "evaluation": "evaluation.dataset"}
"""Where the FineTuneJob describes the source of a role."""

_SAMPLE = 100
_STRICT_TARGETS = {TaskType.FORMAT, TaskType.CLASSIFICATION}


@dataclass
class LoadedSource:
    """``role`` is dataset, validation or evaluation; ``dropped`` grows when rendering drops more rows."""

    role: str
    source: DataSource
    digest: str
    recognition: Recognition
    rows: int
    examples: list[Example]
    scanner: Scanner
    dropped: list[Dropped] = field(default_factory=list)
    invalid_targets: int = 0

    def drop(self, rows: Iterable[Dropped]) -> None:
        self.dropped.extend(rows)

    def report(self) -> SourceReport:
        return SourceReport(
            role=self.role,
            format=self.recognition.format.value,
            recognised_by=self.recognition.reason,
            rows=self.rows,
            kept=self.rows - len(self.dropped),
            dropped=count_dropped(self.dropped),
        )

    def manifest_entry(self) -> SourceFile:
        return SourceFile(role=self.role, uri=self.source.uri, digest=self.digest)


def load_source(spec: RunSpec, source: DataSource, role: str, schema: TargetSchema | None) -> LoadedSource:
    """Read ``source`` whole; raises ``DataError``. Rows that cannot be used are listed in ``dropped``."""
    name = FIELD_OF[role]
    digest = _source_digest(source, name)
    if source.digest is not None and source.digest != digest:
        message = f"{name}.digest: the files have digest {digest}, declared is {source.digest}"
        raise DataError(
            "DigestMismatch", message, "Somebody changed the files, or the digest belongs to another version: set the one you mean."
        )
    records = read_records(_path(source), name)
    sample = list(islice(records, _SAMPLE))
    if not sample:
        raise DataError("EmptyDataset", f"{name}.uri: {source.uri} holds no row", "Write rows into it, or point to another file.")
    recognition = recognise(sample, source.format, spec.stage, name)
    loaded = LoadedSource(role, source, digest, recognition, 0, [], Scanner(role))
    for record in chain(sample, records):
        loaded.rows += 1
        loaded.scanner.look(record.number, record.value)
        example = normalise(record, recognition.format)
        if isinstance(example, Dropped):
            loaded.dropped.append(example)
        else:
            _accept(example, loaded, schema, strict=spec.task.type in _STRICT_TARGETS)
    return loaded


def check_dropped(loaded: LoadedSource, max_percent: int) -> None:
    """Raise ``DataError`` when more than ``max_percent`` of the rows, or all of them, would be left out."""
    count = len(loaded.dropped)
    if count == 0 or (count * 100 <= max_percent * loaded.rows and count < loaded.rows):
        return
    groups = count_dropped(loaded.dropped)
    details = "; ".join(f"{group.count} {group.reason}, first {group.first[0]}" for group in groups[:3])
    message = f"{FIELD_OF[loaded.role]}: {count} of {loaded.rows} rows cannot be used (allowed: {max_percent} %): {details}"
    raise DataError(
        "TooManyRowsDropped", message, f"Correct the rows; read as {loaded.recognition.format.value} ({loaded.recognition.reason})."
    )


def _accept(example: Example, loaded: LoadedSource, schema: TargetSchema | None, *, strict: bool) -> None:
    defect = schema.defect(example.target) if schema is not None and isinstance(example, Conversation) else None
    if defect is None or not strict:
        loaded.examples.append(example)
        loaded.invalid_targets += defect is not None
        return
    assert isinstance(example, Conversation)
    loaded.dropped.append(Dropped(example.row, defect.reason, f"answer {defect.path}", row_hash(example.messages)))


def _path(source: DataSource) -> Path:
    return Path(source.path)


def _source_digest(source: DataSource, name: str) -> str:
    """The file's own digest, or for a folder the digest over names and contents of its data files."""
    path = _path(source)
    files = data_files(path, name)
    if path.is_file():
        return file_digest(path)
    return digest_of(canonical_json({str(file.relative_to(path)): file_digest(file) for file in files}).encode())
