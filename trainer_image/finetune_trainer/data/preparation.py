"""The prepare step's work on the data, top to bottom: load, hold out, render, tokenise, judge, seal."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_trainer.contract import DataQuality, DataSummary, Finding, LossOn, RunSpec, ScanSummary, Severity, Stage
from finetune_trainer.data.base_model import BaseModel
from finetune_trainer.data.duplicates import exact_duplicates, near_duplicates
from finetune_trainer.data.examples import Dropped, DropReason, Example
from finetune_trainer.data.items import ChosenItems, ItemChooser
from finetune_trainer.data.loading import LoadedSource, check_dropped, load_source
from finetune_trainer.data.minima import least_useful
from finetune_trainer.data.packing import chunked, wrapped
from finetune_trainer.data.rendering import Rendered, Renderer
from finetune_trainer.data.report import DataReport, collect_findings, count_labels, describe_lengths, summarise_dropped
from finetune_trainer.data.review import draw_rows
from finetune_trainer.data.rows import Lengths, write_rows
from finetune_trainer.data.split import hold_out
from finetune_trainer.data.targets import read_schema
from finetune_trainer.data.tokenization import TokenizedRow, tokenize
from finetune_trainer.identifiers import ScanReport
from finetune_trainer.names import name_finder
from finetune_trainer.pod.datamanifest import SCHEMA, seal_data
from finetune_trainer.pod.errors import ConfigurationError, DataError, ModelError
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.sealing import file_digest, write_sealed
from finetune_trainer.pod.workspace import Workspace

_BATCH = 512


@dataclass(frozen=True)
class PreparedData:
    """What the step's summary and the estimate need: the sealed dataset's summary and the lengths of its training rows."""

    summary: DataSummary
    scan: ScanSummary
    train: Lengths
    validation: Lengths | None
    sequence_length: int


class _Tokenizing:
    """Renders and tokenises the rows of one run; watches that the token which ends an answer is learned somewhere."""

    def __init__(self, spec: RunSpec, base: BaseModel) -> None:
        self.length = min(spec.training.max_sequence_length, base.positions or spec.training.max_sequence_length)
        self.positions = base.positions
        self.lowered = self.length < spec.training.max_sequence_length
        self.stop_learned = False
        self._spec = spec
        self._base = base
        self.special_words = [word for word in base.tokenizer.all_special_tokens if len(word) > 1]
        stops = [base.tokenizer.convert_ids_to_tokens(stop) for stop in base.stops]
        self.renderer = Renderer(base.tokenizer, spec.training.loss_on, [str(stop) for stop in stops])

    def rows(self, examples: Sequence[Example], dropped: list[Dropped]) -> Iterator[TokenizedRow]:
        """Tokenised rows; what the template refuses or what has nothing to learn is appended to ``dropped``."""
        continued = self._spec.stage is Stage.CONTINUED_PRETRAINING
        documents = self._tokenized(examples, dropped, None if continued else self.length)
        if not continued:
            return documents
        return wrapped(documents, self.length) if self._spec.training.packing else chunked(documents, self.length)

    def _tokenized(self, examples: Sequence[Example], dropped: list[Dropped], length: int | None) -> Iterator[TokenizedRow]:
        stops = set(self._base.stops)
        for start in range(0, len(examples), _BATCH):
            batch = examples[start : start + _BATCH]
            rendered: list[Rendered] = []
            for result in self.renderer.render(batch):
                (dropped if isinstance(result, Dropped) else rendered).append(result)  # type: ignore[arg-type]
            for row in tokenize(self._base.tokenizer, rendered, length):
                if row.learned == 0:
                    dropped.append(Dropped(row.row, DropReason.NOTHING_TO_LEARN, "", ""))
                    continue
                if not self.stop_learned:
                    self.stop_learned = not stops.isdisjoint(row.input_ids[row.loss_mask == 1].tolist())
                yield row

    def check_stop(self, truncated: int, rows: int) -> None:
        """Raise when no row teaches the model to end its answer: it would talk until its budget is used up."""
        if self.stop_learned:
            return
        if truncated == rows:
            message = f"training.maxSequenceLength: every row is longer than {self.length} tokens, so no answer's end is ever learned"
            raise ConfigurationError("EveryRowTruncated", message, "Raise maxSequenceLength or shorten the rows.")
        names = ", ".join(str(self._base.tokenizer.convert_ids_to_tokens(stop)) for stop in self._base.stops)
        message = f"baseModel: no learned token is one that ends an answer ({names}): the tuned model would never stop"
        hint = "The chat template must write the stop token after an answer, inside {% generation %} if it has that: correct the template."
        raise ModelError("StopTokenNeverTrained", message, hint)


def prepare_data(spec: RunSpec, workspace: Workspace, base: BaseModel, events: EventLog) -> PreparedData:
    """Write and seal the dataset; raises ``DataError``, ``ModelError`` or ``ConfigurationError``."""
    shutil.rmtree(workspace.data, ignore_errors=True)
    workspace.data.mkdir(parents=True)
    schema = read_schema(Path(spec.task.output_schema_path)) if spec.task.output_schema_path else None
    limit = spec.thresholds.max_dropped_percent

    finder = name_finder()
    dataset = load_source(spec, spec.dataset, "dataset", schema, finder)
    sources = [dataset]
    for role, source in (("validation", spec.validation.source), ("evaluation", spec.evaluation.source)):
        if source is not None:
            sources.append(load_source(spec, source, role, schema, finder))
    for loaded in sources:
        check_dropped(loaded, limit)
        events.emit(
            "dataset_read", role=loaded.role, format=loaded.recognition.format.value, because=loaded.recognition.reason, rows=loaded.rows
        )
    scan = _scanned(sources, workspace, events)
    review = draw_rows(dataset.examples, dataset.digest)
    write_sealed(workspace.data_review, review.to_json())
    by_role = {loaded.role: loaded for loaded in sources}

    split = hold_out(dataset.examples, None if "validation" in by_role else spec.validation.percent)
    held_out = by_role["validation"].examples if "validation" in by_role else split.held_out

    work = _Tokenizing(spec, base)
    train = write_rows(workspace.train_rows, work.rows(split.train, dataset.dropped))
    check_dropped(dataset, limit)
    if not train.tokens:
        raise DataError("EmptyDataset", "dataset.inline: no row is left to learn from", "Add rows, or hold out fewer.")
    work.check_stop(train.truncated, len(train.tokens))
    validated = by_role.get("validation", dataset)
    validation = _write_validation(workspace, work, held_out, validated)
    check_dropped(validated, limit)
    _check_early_stopping(spec, validation)

    asked = by_role.get("evaluation", validated)
    candidates = asked.examples if asked.role == "evaluation" else held_out
    chosen = ItemChooser(spec, base, work.renderer, work.length).choose(candidates, split.train, asked.dropped)
    check_dropped(asked, limit)
    _write_items(workspace.evaluation_items, chosen.items)

    report = _report(spec, sources, split.train, train=train, validation=validation, chosen=chosen, work=work)
    write_sealed(workspace.data_report, report.to_json())
    names = [path.name for path in (workspace.train_rows, workspace.validation_rows, workspace.evaluation_items) if path.exists()]
    manifest = seal_data(workspace, names, [loaded.manifest_entry() for loaded in sources], _settings(spec, base, work.length))
    events.emit("data_report", digest=manifest.content_digest(), examples=report.train.rows, tokens=report.train.total)
    summary = DataSummary(
        digest=manifest.content_digest(),
        examples=len(train.tokens),
        validation_examples=len(validation.tokens) if validation else 0,
        evaluation_items=len(chosen.items),
        tokens=sum(train.tokens),
        format=dataset.recognition.format.value,
        dropped=summarise_dropped(report.sources),
        findings=report.findings[:4],
        quality=report.quality,
        review=review.summary(),
    )
    return PreparedData(summary, scan, train, validation, work.length)


def _scanned(sources: Sequence[LoadedSource], workspace: Workspace, events: EventLog) -> ScanSummary:
    """Every row that was read, also those that nothing is learned from: the report lies beside the rows, kinds and counts go on."""
    report = ScanReport.of(loaded.scanner for loaded in sources)
    write_sealed(workspace.data_scan, report.to_json())
    summary = report.summary()
    counts = {entity: rows for entity, (rows, _) in summary.found.items()}
    events.emit("identifiers_scanned", rows=summary.rows, entire=summary.entire, report=summary.report_digest, found=counts)
    return summary


def _write_validation(workspace: Workspace, work: _Tokenizing, held_out: Sequence[Example], loaded: LoadedSource) -> Lengths | None:
    if not held_out:
        return None
    lengths = write_rows(workspace.validation_rows, work.rows(held_out, loaded.dropped))
    if not lengths.tokens:
        workspace.validation_rows.unlink()
        return None
    return lengths


def _check_early_stopping(spec: RunSpec, validation: Lengths | None) -> None:
    """A training that shall stop when the validation loss tells so must have one."""
    if validation is None and spec.training.early_stopping_patience is not None:
        message = "dataset.validation: no held-out row is left, and training.earlyStopping would have nothing to look at"
        raise DataError("NothingHeldOut", message, "Hold out more rows, correct them, or remove training.earlyStopping.")


def _write_items(path: Path, items: Sequence[dict[str, object]]) -> None:
    if items:
        write_sealed(path, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))


def _report(
    spec: RunSpec,
    sources: Sequence[LoadedSource],
    examples: Sequence[Example],
    *,
    train: Lengths,
    validation: Lengths | None,
    chosen: ChosenItems,
    work: _Tokenizing,
) -> DataReport:
    lengths = describe_lengths(train)
    labels = count_labels(examples, spec.task.type)
    exact, near = exact_duplicates(examples), near_duplicates(examples)
    invalid = sum(loaded.invalid_targets for loaded in sources)
    notes = _template_words(examples, work.special_words)
    if work.lowered:
        message = f"rows are cut at {work.length} tokens, the longest input the base model knows, instead of maxSequenceLength"
        notes.append(Finding(rule="SequenceLengthLowered", severity=Severity.INFO, message=message))
    if validation is None and (spec.validation.percent is not None or spec.validation.source is not None):
        message = "no held-out row is left: the validation loss is not measured"
        notes.append(Finding(rule="NothingHeldOut", severity=Severity.WARNING, message=message))
    if chosen.too_long:
        message = (
            f"{chosen.too_long} evaluation items leave no room for an answer in the {work.positions} tokens of the base model: taken out"
        )
        notes.append(Finding(rule="EvaluationItemsTooLong", severity=Severity.WARNING, message=message))
    findings = collect_findings(
        spec.task.type,
        lengths,
        examples=len(examples),
        labels=labels,
        exact=exact,
        near=near,
        overlap=chosen.overlap,
        invalid=invalid,
        notes=notes,
    )
    return DataReport(
        sources=[loaded.report() for loaded in sources],
        train=lengths,
        validation=describe_lengths(validation) if validation else None,
        evaluation_items=len(chosen.items),
        overlapping_items_removed=chosen.overlap,
        exact_duplicates=exact,
        near_duplicates=near,
        quality=DataQuality(
            examples=len(examples),
            task_minimum=least_useful(spec.task.type, labels),
            duplicates=exact,
            evaluation_overlap=chosen.overlap,
        ),
        label_counts=sorted(labels.values(), reverse=True),
        invalid_targets=invalid,
        findings=findings,
    )


def _template_words(examples: Sequence[Example], words: Sequence[str]) -> list[Finding]:
    """Rows whose text contains a special token of the tokenizer: it would be read as structure, and an answer could end in its middle."""
    count = sum(any(word in text for word in words) for text in (example.plain() for example in examples))
    if count == 0:
        return []
    message = f"{count} rows contain words that are special tokens of this base model and are read as such"
    return [Finding(rule="SpecialTokensInText", severity=Severity.WARNING, message=message)]


def _settings(spec: RunSpec, base: BaseModel, length: int) -> dict[str, str | int | bool | None]:
    """What shaped the rows: another value of one of these makes another dataset."""
    return {
        "baseDigest": base.digest,
        "stage": spec.stage.value,
        "lossOn": spec.training.loss_on.value if spec.stage is Stage.SFT else LossOn.ALL.value,
        "maxSequenceLength": length,
        "packing": spec.training.packing,
        "validationPercent": spec.validation.percent,
        **({SCHEMA: file_digest(Path(spec.task.output_schema_path))} if spec.task.output_schema_path else {}),
    }
