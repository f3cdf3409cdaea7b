"""What the steps leave behind: sealed results in the work folder, and the bounded summary of each that fits a termination message.

A result is written once, under a temporary name, and renamed: a step that finds the sealed result of its own run key answers from it, so a
lost pod or a lost message costs no training.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from finetune_trainer.contract.base import Decimal, Digest, Document, Named
from finetune_trainer.contract.model import BaseModelFindings
from finetune_trainer.contract.runspec import Metric

RESULTS_FOLDER = "results"
"""Folder of the work folder that holds ``<step>.json``."""


SCAN_REPORT = "scan-report.json"
"""Name of the scan's report beside a published adapter."""

EntityName = Annotated[str, StringConstraints(pattern="^[a-z][a-z-]*$", max_length=24)]
Counted = Annotated[int, Field(ge=0)]


class Count(Document):
    reason: str = Field(max_length=64)
    count: int = Field(ge=0)


class Severity(StrEnum):
    INFO = "Info"
    WARNING = "Warning"


class Finding(Document):
    """Something the data report wants a person to know; never a value from a row."""

    rule: str = Field(max_length=64)
    severity: Severity
    message: str = Field(max_length=256)


class Estimate(Document):
    """What the train step will need, before it asks for a node. ``confidence`` is Fitted where constants were measured on such a device."""

    memory_bytes: int = Field(ge=0, description="Host memory of the train pod, beyond which it would be killed.")
    gpu_memory_bytes: int | None = Field(default=None, ge=0)
    disk_bytes: int = Field(ge=0)
    seconds: int = Field(ge=0)
    confidence: str = Field(pattern="^(Fitted|Unfitted)$")
    fits: bool = True
    cheapest_fix: str | None = Field(default=None, max_length=256, description="The smallest change that would make it fit.")


class DataQuality(Document):
    """What a policy can ask of the data, counted over the training examples before they are cut into rows.

    ``task_minimum`` is the least that tends to help with the task: of a classification, with every label brought to its own minimum.
    ``duplicates`` repeat an earlier example word for word; ``evaluation_overlap`` counts items that ask what an example asks,
    which were taken out of the items.
    """

    examples: int = Field(ge=0)
    task_minimum: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    evaluation_overlap: int = Field(ge=0)


REVIEW_REPORT = "review-report.json"
"""File beside the artifact: which rows were drawn for people to look at."""
MOST_REVIEWED = 1000
"""So many rows are drawn for people to look at; no policy can ask for more."""


class ReviewSample(Document):
    """Rows drawn for people to look at; which ones is in the report, beside the data."""

    rows: int = Field(ge=0, le=MOST_REVIEWED)
    of: int = Field(ge=0)
    report_digest: Digest


class DataSummary(Document):
    digest: Digest
    examples: int = Field(ge=0)
    validation_examples: int = Field(ge=0)
    evaluation_items: int = Field(ge=0)
    tokens: int = Field(ge=0)
    format: str = Field(max_length=32)
    dropped: list[Count] = Field(default_factory=list, max_length=8)
    findings: list[Finding] = Field(default_factory=list, max_length=4)
    quality: DataQuality | None = Field(default=None, description="None from a trainer that did not count it.")
    review: ReviewSample | None = Field(default=None, description="None from a trainer that drew none.")


class NameModel(Document):
    """Which model looked for names; the digest is of its files."""

    name: str = Field(max_length=64)
    version: str = Field(max_length=32)
    digest: Digest


class ScanSummary(Document):
    """What the scan for identifiers has counted over all sources together. Kinds and profile are words of governance's vocabulary."""

    profile: str = Field(max_length=32)
    entire: bool = Field(description="Every row was scanned whole.")
    rows: int = Field(ge=0)
    report_digest: Digest
    found: dict[EntityName, tuple[Counted, Counted]] = Field(
        default_factory=dict, max_length=32, description="By kind: rows that hold one, and those of them in which it is validated."
    )
    name_model: NameModel | None = Field(default=None, description="None where nobody looked for names.")


class PrepareSummary(Document):
    dataset: DataSummary
    estimate: Estimate
    base_digest: Digest
    licence: str | None = Field(default=None, max_length=128)
    base_model: BaseModelFindings = BaseModelFindings()
    total_steps: int = Field(ge=1)
    micro_batch_size: int = Field(ge=1)
    scan: ScanSummary | None = None


class Verdict(StrEnum):
    PASS = "Pass"  # noqa: S105
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    NOT_GATED = "NotGated"


class MetricResult(Document):
    """One metric on the same items for base and tuned, with a paired 95 % interval of the difference."""

    name: Metric
    base: Decimal
    tuned: Decimal
    delta: Decimal
    low: Decimal
    high: Decimal
    verdict: Verdict = Verdict.NOT_GATED


class JudgeSummary(Document):
    """What a judge has made of pairs of answers, each shown in both orders; a pair counts for one side only if both orders say so.

    ``calibration_right`` of ``calibration_pairs`` pairs whose better answer is known were judged so. Where too few were, or too many
    verdicts could not be read, the judge is not usable: ``message`` says why, and there is no metric.
    """

    usable: bool
    message: str = Field(default="", max_length=200)
    model: str | None = Field(default=None, max_length=128, description="As the endpoint names what answered.")
    fingerprint: str | None = Field(default=None, max_length=128, description="Of what answered, where the endpoint tells one.")
    prompt_digest: Digest
    calibration_pairs: int = Field(ge=0)
    calibration_right: int = Field(ge=0)
    wins: int = Field(default=0, ge=0, description="Pairs in which the tuned model's answer is the better one.")
    losses: int = Field(default=0, ge=0)
    ties: int = Field(default=0, ge=0, description="All others, those that follow among them.")
    flipped: int = Field(default=0, ge=0, description="Pairs whose verdict changed with the order.")
    unread: int = Field(default=0, ge=0, description="Pairs with a verdict that could not be read.")


class EvaluationSummary(Document):
    verdict: Verdict
    items: int = Field(ge=0)
    metrics: list[MetricResult] = Field(default_factory=list, max_length=8)
    message: str = Field(default="", max_length=256, description="Why the gate decided as it did, with the numbers.")
    items_to_decide: int | None = Field(default=None, ge=1, description="How many items would settle an inconclusive verdict.")
    judge: JudgeSummary | None = Field(default=None, description="Where the metric Judge was asked for.")


MOST_FILES = 24
"""An artifact of more files is told by its content digest alone: the last word of a pod is short."""
MOST_DOCUMENTS = 12


class ArtifactPart(Document):
    """One file of an artifact, by its place in it."""

    name: str = Field(min_length=1, max_length=128)
    digest: Digest


class TrainSummary(Document):
    steps: int = Field(ge=0)
    epoch: Decimal
    loss: Decimal
    evaluation_loss: Decimal | None = None
    tokens: int = Field(ge=0)
    seconds: int = Field(ge=0, description="Training time over all attempts.")
    adapter_digest: Digest
    files: list[ArtifactPart] = Field(
        default_factory=list, max_length=MOST_FILES, description="What the adapter's digest covers, by name; none where they are too many."
    )
    documents: list[ArtifactPart] = Field(
        default_factory=list,
        max_length=MOST_DOCUMENTS,
        description="Of what is published beside the adapter: record.json, which has the digests of the rest, and some of these.",
    )
    reload_difference: Decimal | None = Field(
        default=None, description="Largest difference between a logit of the trained model and of its artifact, loaded again."
    )
    resumed_from_step: int | None = None
    evaluation: EvaluationSummary


class PublishSummary(Document):
    uri: str = Field(max_length=2048)
    digest: Digest
    bytes: int = Field(ge=0)
    promotable: bool
    signed: bool = Field(default=False, description="A signed record lies beside it.")


class MergeSummary(Document):
    """Logits are those of base and adapter, compared with the merged model as it was loaded again from its files."""

    uri: str = Field(max_length=2048)
    digest: Digest
    bytes: int = Field(ge=0)
    base_digest: Digest
    adapter_digest: Digest
    dtype: str = Field(pattern="^(F32|BF16|F16)$", description="Type of the base model's weights, and so of the merged ones.")
    difference: Decimal = Field(description="Largest difference of a logit.")
    tolerance: Decimal = Field(description="What the difference may be at most.")
    effect: Decimal = Field(description="Largest change of a logit by the adapter; the difference must be smaller than half of it.")


class Summary(Document):
    """Exactly one is set: the one of the step that wrote it."""

    prepare: PrepareSummary | None = None
    train: TrainSummary | None = None
    publish: PublishSummary | None = None
    merge: MergeSummary | None = None


class StepResult(Named):
    """The sealed result of a step, at ``results/<step>.json``."""

    kind: str = Field(default="StepResult", pattern="^StepResult$")
    step: str = Field(max_length=16)
    run_key: str = Field(max_length=64)
    spec_digest: Digest
    summary: Summary
