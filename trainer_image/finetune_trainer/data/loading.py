"""A declared source becomes usable examples: read, recognised, normalised, checked, and refused when too much of it is unusable."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from finetune_trainer.contract import DataSource, RunSpec, TaskType
from finetune_trainer.data.examples import Conversation, Dropped, Example, row_hash
from finetune_trainer.data.formats import Recognition, recognise
from finetune_trainer.data.normalization import normalise
from finetune_trainer.data.report import SourceReport, count_dropped
from finetune_trainer.data.sources import ReadBytes, read_records, source_digest
from finetune_trainer.data.targets import TargetSchema
from finetune_trainer.identifiers import NameFinder, Scanner
from finetune_trainer.pod.datamanifest import SourceFile
from finetune_trainer.pod.errors import DataError

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


def load_source(spec: RunSpec, source: DataSource, role: str, schema: TargetSchema | None, names: NameFinder | None = None) -> LoadedSource:
    """Read ``source`` whole; raises ``DataError``. Rows that cannot be used are listed in ``dropped``.

    Where a digest is declared it is compared with that of the very bytes the rows came from, and that before anything is made of them.
    """
    name, path = FIELD_OF[role], Path(source.path)
    if source.digest is None:
        return _load(spec, source, role, schema, names, digest=source_digest(path, name))
    read = ReadBytes()
    try:
        loaded = _load(spec, source, role, schema, names, digest=source.digest, read=read)
    except DataError as error:
        _check_digest(source, name, source_digest(path, name), error)  # other bytes explain whatever is wrong with the rows
        raise
    _check_digest(source, name, read.digest(path))
    return loaded


def _load(
    spec: RunSpec,
    source: DataSource,
    role: str,
    schema: TargetSchema | None,
    names: NameFinder | None,
    *,
    digest: str,
    read: ReadBytes | None = None,
) -> LoadedSource:
    name = FIELD_OF[role]
    records = read_records(Path(source.path), name, read)
    sample = list(islice(records, _SAMPLE))
    if not sample:
        raise DataError("EmptyDataset", f"{name}.uri: {source.uri} holds no row", "Write rows into it, or point to another file.")
    recognition = recognise(sample, source.format, spec.stage, name)
    loaded = LoadedSource(role, source, digest, recognition, 0, [], Scanner(role, names))
    for record in chain(sample, records):
        loaded.rows += 1
        loaded.scanner.look(record.number, record.value)
        example = normalise(record, recognition.format)
        if isinstance(example, Dropped):
            loaded.dropped.append(example)
        else:
            _accept(example, loaded, schema, strict=spec.task.type in _STRICT_TARGETS)
    return loaded


def _check_digest(source: DataSource, name: str, found: str, cause: DataError | None = None) -> None:
    if found == source.digest:
        return
    message = f"{name}.digest: the files have digest {found}, declared is {source.digest}"
    hint = "Somebody changed the files, or the digest belongs to another version: set the one you mean."
    raise DataError("DigestMismatch", message, hint) from cause


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
