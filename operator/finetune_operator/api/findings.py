"""What the steps of the current run have found: data, need and evaluation. Never row text; numbers that are not whole are text."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel
from finetune_operator.api.markers import ListAtomic, ListMap
from finetune_operator.api.scalars import ContentDigest, Count, ShortText, SignedDecimal
from finetune_trainer.contract import Metric, Severity, Verdict


class DroppedRows(ApiModel):
    reason: ShortText = Field(description="Why the rows are unusable.")
    count: Count = Field(description="How many.")


class Finding(ApiModel):
    rule: ShortText = Field(description="Which check speaks.")
    severity: Severity = Field(description="Info or Warning.")
    message: Annotated[str, Field(max_length=256)] = Field(description="What it found; rows are named by number, never quoted.")


class QualityStatus(ApiModel):
    examples: Count = Field(description="Training examples, before they were cut into rows.")
    task_minimum: Count = Field(description="The fewest that tend to help with the task.")
    duplicates: Count = Field(description="Those that repeat an earlier one word for word.")
    evaluation_overlap: Count = Field(description="Items that ask what a training example asks; they were taken out.")


class IdentifiersFound(ApiModel):
    entity: ShortText = Field(description="Kind of identifier, see docs/governance/scanning.md.")
    rows: Count = Field(description="Rows that hold one.")
    validated_rows: Count = Field(default=0, description="Those of them in which it is validated, by its checksum for instance.")


class NameModelStatus(ApiModel):
    name: ShortText = Field(description="As the model calls itself.")
    version: ShortText = Field(description="As the model calls itself.")
    digest: ContentDigest = Field(description="Of its files, by name and content.")


class ScanStatus(ApiModel):
    profile: ShortText = Field(description="What the scan can see; what it cannot is in its report, scan.json of the run.")
    entire: bool = Field(description="Whether every row was scanned whole.")
    rows: Count = Field(description="Rows scanned: data, validation and evaluation data.")
    report_digest: ContentDigest = Field(description="Digest of the report, which also says what was looked for and how it was checked.")
    found: Annotated[list[IdentifiersFound], Field(max_length=32), ListMap(("entity",))] = Field(
        default=[], description="What was found. Nothing found proves nothing."
    )
    name_model: NameModelStatus | None = Field(
        default=None, description="The model that looked for names; absent: the trainer image has none, and nobody did."
    )


class ReviewStatus(ApiModel):
    rows: Count = Field(description="Rows drawn.")
    of: Count = Field(description="Rows that they were drawn from.")
    report_digest: ContentDigest = Field(description="Of data/review.json in the work folder: numbers and hashes of the rows.")


class DatasetStatus(ApiModel):
    digest: ContentDigest = Field(description="Digest of the sealed dataset.")
    format: ShortText = Field(description="Format that was read.")
    examples: Count = Field(description="Training examples.")
    validation_examples: Count = Field(default=0, description="Rows held out.")
    evaluation_items: Count = Field(default=0, description="Items that base and tuned model will answer.")
    tokens: Count = Field(description="Tokens of the training examples.")
    dropped: Annotated[list[DroppedRows], Field(max_length=8), ListMap(("reason",))] = Field(
        default=[], description="Unusable rows by reason."
    )
    findings: Annotated[list[Finding], Field(max_length=4), ListAtomic()] = Field(default=[], description="What a person should know.")
    review: ReviewStatus | None = Field(default=None, description="Rows drawn for people to look at; absent where governance has no say.")
    quality: QualityStatus | None = Field(
        default=None, description="What a GovernancePolicy can ask of the data; absent where governance has no say."
    )
    scan: ScanStatus | None = Field(default=None, description="Identifiers of people, accounts and devices, and secrets, by count.")


class EstimateStatus(ApiModel):
    memory_bytes: Count = Field(description="Host memory the train step needs.")
    gpu_memory_bytes: Count | None = Field(default=None, description="Accelerator memory the train step needs.")
    disk_bytes: Count = Field(description="Space on the workspace claim.")
    seconds: Count = Field(description="Training time.")
    confidence: ShortText = Field(description="Fitted where the constants were measured on such a device, else Unfitted.")
    fits: bool = Field(default=True, description="Whether the asked-for resources suffice.")
    cheapest_fix: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The smallest change that would make it fit."
    )


class MetricStatus(ApiModel):
    name: Metric = Field(description="The metric.")
    base: SignedDecimal = Field(description="Of the base model.")
    tuned: SignedDecimal = Field(description="Of the tuned model, on the same items.")
    delta: SignedDecimal = Field(description="Difference.")
    low: SignedDecimal = Field(description="Lower end of the paired 95 % interval of the difference.")
    high: SignedDecimal = Field(description="Upper end.")
    verdict: Verdict = Field(default=Verdict.NOT_GATED, description="What the gate says about this metric.")


class JudgeStatus(ApiModel):
    usable: bool = Field(description="Whether its verdicts count; if not there is no metric Judge.")
    message: Annotated[str, Field(max_length=200)] = Field(default="", description="Why they do not.")
    model: Annotated[str, Field(max_length=128)] | None = Field(default=None, description="What answered, as the endpoint names it.")
    fingerprint: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Of what answered, where the endpoint tells one."
    )
    prompt_digest: ContentDigest = Field(description="Of what it was asked, which is the same for every pair.")
    calibration_pairs: Count = Field(description="Pairs whose better answer is known.")
    calibration_right: Count = Field(description="So many of them were judged right in both orders.")
    wins: Count = Field(default=0, description="Pairs in which the tuned model's answer is the better one, by both orders.")
    losses: Count = Field(default=0, description="Pairs in which the base model's is.")
    ties: Count = Field(default=0, description="All others.")
    flipped: Count = Field(default=0, description="Ties of which each order said something else.")
    unread: Count = Field(default=0, description="Ties of which a verdict could not be read.")


class EvaluationStatus(ApiModel):
    verdict: Verdict = Field(description="Pass, Fail, Inconclusive or NotGated.")
    items: Count = Field(description="Items answered by both models.")
    items_to_decide: Count | None = Field(default=None, description="How many items would settle an inconclusive verdict.")
    message: Annotated[str, Field(max_length=256)] = Field(default="", description="Why the gate decided as it did.")
    metrics: Annotated[list[MetricStatus], Field(max_length=8), ListMap(("name",))] = Field(default=[], description="Base against tuned.")
    judge: JudgeStatus | None = Field(default=None, description="Who judged, where the metric Judge was asked for.")
