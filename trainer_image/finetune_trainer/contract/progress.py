"""What a running trainer answers at ``GET /progress``; the operator treats it as untrusted input and bounds every field."""

from typing import Annotated, Literal

from pydantic import Field

from finetune_trainer.contract.base import Decimal, Named
from finetune_trainer.contract.tracking import TrackerReport

Phase = Literal["Starting", "LoadingModel", "Tokenizing", "Training", "Evaluating", "Saving", "Publishing", "Preparing", "Done"]


class ProgressReport(Named):
    """A snapshot of one attempt. Totals are the run's, not the attempt's; rates come from a sliding window of this attempt."""

    kind: Annotated[str, Field(pattern="^ProgressReport$")] = "ProgressReport"
    run_key: str = Field(max_length=64)
    phase: Phase
    step: int = Field(default=0, ge=0, le=10**12)
    total_steps: int = Field(default=0, ge=0, le=10**12)
    epoch: Decimal | None = None
    loss: Decimal | None = None
    evaluation_loss: Decimal | None = None
    learning_rate: Decimal | None = None
    tokens: int = Field(default=0, ge=0, le=10**18)
    tokens_per_second: int | None = Field(default=None, ge=0, le=10**12)
    eta_seconds: int | None = Field(default=None, ge=0, le=10**9)
    checkpoint_step: int | None = Field(default=None, ge=0, le=10**12)
    resumed_from_step: int | None = Field(default=None, ge=0, le=10**12)
    tracker: TrackerReport | None = None
    updated_at: str = Field(max_length=40, description="RFC 3339, UTC.")
