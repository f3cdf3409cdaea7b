"""What the operator remembers and shows: ``FineTuneJob.status``, its only memory.

Killing the operator at any moment and starting it again continues from here. Every list and text is bounded, numbers that are not whole
are text, and nothing in here ever holds row text or a prompt.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel
from finetune_operator.api.conditions import Condition
from finetune_operator.api.findings import DatasetStatus, EstimateStatus, EvaluationStatus
from finetune_operator.api.governance.job import ClassificationStatus, GovernanceStatus, ObligationStatus
from finetune_operator.api.history import HistoryEntry
from finetune_operator.api.markers import ListMap
from finetune_operator.api.run import CurrentRun
from finetune_operator.api.scalars import ContentDigest, Count, RunKey, Uri


class Phase(StrEnum):
    """Derived from the conditions for people's eyes; nothing may branch on it."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    TRAINING = "Training"
    PUBLISHING = "Publishing"
    INTERRUPTED = "Interrupted"
    SUSPENDED = "Suspended"
    READY = "Ready"
    HELD = "Held"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


class Accepted(ApiModel):
    """The run key of a generation, computed once and never again for that generation, whatever version of the operator runs."""

    generation: Count = Field(description="The generation whose spec was hashed.")
    key: RunKey = Field(description="Hash of its result-defining fields.")


class ArtifactStatus(ApiModel):
    uri: Uri = Field(description="Where the adapter lies.")
    digest: ContentDigest = Field(description="Digest of its files.")
    bytes: Count | None = Field(default=None, description="Size.")
    run_number: Annotated[int, Field(ge=1)] = Field(description="The run that made it.")
    classification: ClassificationStatus | None = Field(
        default=None, description="How sensitive it is, by what it was made of; absent where governance has no say."
    )
    record_digest: ContentDigest | None = Field(default=None, description="Digest of its signed record; absent where it is not signed.")
    signed: bool | None = Field(default=None, description="Whether a signed record lies beside it; absent where governance has no say.")
    obligations: Annotated[list[ObligationStatus], Field(max_length=16), ListMap(("licence",))] = Field(
        default=[], description="What licences of the base model and of models that wrote its data ask of whoever serves it."
    )


class FineTuneJobStatus(ApiModel):
    observed_generation: Count | None = Field(default=None, description="The generation of the spec that this status speaks about.")
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap(("type",))] = Field(
        default=[], description="The state, for machines and people."
    )
    phase: Phase | None = Field(default=None, description="A summary for people; nothing may branch on it.")
    accepted: Accepted | None = Field(default=None, description="The run key of the accepted generation.")
    current_run: CurrentRun | None = Field(default=None, description="The run in progress, or the last one.")
    history: Annotated[list[HistoryEntry], Field(max_length=40), ListMap(("number",))] = Field(
        default=[], description="Ended runs, newest first."
    )
    dataset: DatasetStatus | None = Field(default=None, description="What the prepare step of the current run found.")
    estimate: EstimateStatus | None = Field(default=None, description="What the train step of the current run needs.")
    evaluation: EvaluationStatus | None = Field(default=None, description="How the current run's model compares.")
    governance: GovernanceStatus | None = Field(
        default=None, description="What was decided about the job; absent where no policy applies and the namespace is not governed."
    )
    artifact: ArtifactStatus | None = Field(default=None, description="The adapter to use: moves only when a gate has passed.")
