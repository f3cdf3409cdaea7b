"""Ended runs: what is left of each, until it is pruned."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.governance.job import RecordStatus
from finetune_operator.api.inputs import RunInputs
from finetune_operator.api.markers import ListMap
from finetune_operator.api.run import Outcome
from finetune_operator.api.scalars import ContentDigest, Count, RunKey, ShortText, SignedDecimal, Uri
from finetune_trainer.contract import Metric


class HeadlineMetric(ApiModel):
    name: Metric = Field(description="The metric.")
    base: SignedDecimal = Field(description="Of the base model.")
    tuned: SignedDecimal = Field(description="Of the tuned model.")


class HistoryEntry(ApiModel):
    number: Annotated[int, Field(ge=1)] = Field(description="Number of the run.")
    key: RunKey = Field(description="Hash of the result-defining fields.")
    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the run's children without their step suffix.")
    generation: Count = Field(description="The generation that asked for the run.")
    inputs: RunInputs = Field(default=RunInputs(), description="What the declared sources turned out to be.")
    started_at: Timestamp | None = Field(default=None, description="When the run began.")
    finished_at: Timestamp = Field(description="When it ended.")
    outcome: Outcome = Field(description="How it ended.")
    reason: ShortText = Field(description="One of the documented reasons.")
    message: Annotated[str, Field(max_length=512)] = Field(default="", description="What happened, for people.")
    gate: ShortText | None = Field(
        default=None, description="How the gate decided: GatePassed, NotGated, GateRejected or GateInconclusive."
    )
    artifact_uri: Uri | None = Field(default=None, description="Where the run's artifact lies, if it was published.")
    artifact_digest: ContentDigest | None = Field(default=None, description="Digest of the run's adapter, whatever the gate said.")
    artifact_bytes: Count | None = Field(default=None, description="Size of the artifact, if it was published.")
    step: Count | None = Field(default=None, description="Optimizer steps done.")
    total_steps: Count | None = Field(default=None, description="Optimizer steps of the whole run.")
    loss: SignedDecimal | None = Field(default=None, description="Training loss at the end.")
    workspace_claim: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Claim that holds the run's working files; they are removed when this entry is pruned."
    )
    metrics: Annotated[list[HeadlineMetric], Field(max_length=8), ListMap(("name",))] = Field(default=[], description="Base against tuned.")
    record: RecordStatus | None = Field(default=None, description="The run's signed record, if there is one.")
