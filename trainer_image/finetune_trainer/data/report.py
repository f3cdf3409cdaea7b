"""The data report: everything countable about a dataset, nothing that quotes it.

A part of it goes into status, all of it lies beside the rows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import Field

from finetune_trainer.contract import Count, DataQuality, Document, Finding, Severity, TaskType
from finetune_trainer.contract.base import Named
from finetune_trainer.data.examples import Conversation, Dropped, Example
from finetune_trainer.data.minima import judge_size
from finetune_trainer.data.rows import Lengths

_LARGEST_LABEL_SET = 256


class DroppedRows(Document):
    """Rows left out for one reason, with the first few by number, hash and field."""

    reason: str
    count: int
    first: list[str]


class SourceReport(Document):
    role: str
    format: str
    recognised_by: str
    rows: int
    kept: int
    dropped: list[DroppedRows]


class LengthReport(Document):
    """Tokens per row. ``histogram`` counts rows in buckets whose upper bounds are ``bounds``."""

    rows: int
    total: int
    learned: int
    p50: int
    p95: int
    longest: int
    truncated: int
    learned_p50: int
    bounds: list[int]
    histogram: list[int]


class DataReport(Named):
    kind: str = Field(default="DataReport", pattern="^DataReport$")
    sources: list[SourceReport]
    train: LengthReport
    validation: LengthReport | None = None
    evaluation_items: int
    overlapping_items_removed: int
    exact_duplicates: int
    near_duplicates: int
    quality: DataQuality
    label_counts: list[int] = Field(default_factory=list, description="Rows per label, most frequent first; labels themselves are data.")
    invalid_targets: int = 0
    findings: list[Finding]


def count_dropped(dropped: Iterable[Dropped]) -> list[DroppedRows]:
    """Dropped rows by reason, most frequent first."""
    rows = list(dropped)
    counts = Counter(row.reason for row in rows)
    return [
        DroppedRows(reason=reason.value, count=count, first=[row.describe() for row in rows if row.reason is reason][:5])
        for reason, count in counts.most_common()
    ]


def summarise_dropped(reports: Sequence[SourceReport]) -> list[Count]:
    totals: Counter[str] = Counter()
    for report in reports:
        totals.update({group.reason: group.count for group in report.dropped})
    return [Count(reason=reason, count=count) for reason, count in totals.most_common(8)]


def describe_lengths(lengths: Lengths) -> LengthReport:
    tokens = np.array(lengths.tokens or [0])
    top = int(tokens.max())
    step = max(1, 2 ** max(0, int(np.ceil(np.log2(max(top, 1) / 16)))))
    bounds = list(range(step, top + step, step))
    histogram, _ = np.histogram(tokens, bins=[0, *[bound + 0.5 for bound in bounds]])
    return LengthReport(
        rows=len(lengths.tokens),
        total=int(tokens.sum()),
        learned=sum(lengths.learned),
        p50=int(np.percentile(tokens, 50)),
        p95=int(np.percentile(tokens, 95)),
        longest=top,
        truncated=lengths.truncated,
        learned_p50=int(np.percentile(np.array(lengths.learned or [0]), 50)),
        bounds=bounds,
        histogram=[int(count) for count in histogram],
    )


def count_labels(examples: Iterable[Example], task: TaskType) -> dict[str, int]:
    """Rows per label of a classification; empty where the answers are no small set of labels."""
    if task is not TaskType.CLASSIFICATION:
        return {}
    counts = Counter(example.target.strip() for example in examples if isinstance(example, Conversation))
    return dict(counts) if 0 < len(counts) <= _LARGEST_LABEL_SET else {}


def collect_findings(
    task: TaskType,
    train: LengthReport,
    *,
    examples: int,
    labels: dict[str, int],
    exact: int,
    near: int,
    overlap: int,
    invalid: int,
    notes: Sequence[Finding] = (),
) -> list[Finding]:
    """What a person should know, warnings first."""
    found = [judge_size(task, examples, labels), *notes]
    if train.truncated:
        severity = Severity.WARNING if train.truncated * 20 > train.rows else Severity.INFO
        found.append(
            _finding("Truncated", severity, f"{train.truncated} of {train.rows} rows are longer than maxSequenceLength and are cut")
        )
    if invalid:
        found.append(_finding("InvalidTargets", Severity.WARNING, f"{invalid} answers do not satisfy task.outputSchema"))
    if overlap:
        found.append(
            _finding("EvaluationOverlap", Severity.WARNING, f"{overlap} evaluation items ask what a training row asks and were taken out")
        )
    if exact:
        severity = Severity.WARNING if exact * 20 > examples else Severity.INFO
        found.append(_finding("ExactDuplicates", severity, f"{exact} rows repeat an earlier row"))
    if near > exact:
        severity = Severity.WARNING if near * 5 > examples else Severity.INFO
        found.append(_finding("NearDuplicates", severity, f"{near - exact} more rows nearly repeat an earlier row"))
    if task is TaskType.CLASSIFICATION and not labels and examples:
        found.append(_finding("NoLabels", Severity.WARNING, f"the answers are no labels: more than {_LARGEST_LABEL_SET} different ones"))
    return sorted((finding for finding in found if finding), key=lambda finding: finding.severity is not Severity.WARNING)


def _finding(rule: str, severity: Severity, message: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message)
