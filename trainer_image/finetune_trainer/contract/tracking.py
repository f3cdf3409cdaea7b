"""What a training says about the tracker that it logs to: which run it is there, or why nothing arrives."""

from pydantic import Field

from finetune_trainer.contract.base import Document


class TrackerReport(Document):
    """``trouble`` is why the tracker was not reached when it was last tried, in words of ours; None while it answers."""

    run_id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="The tracker's own name for the run.")
    trouble: str | None = Field(default=None, min_length=1, max_length=256)
    lost: int = Field(default=0, ge=0, le=10**12, description="Points that never arrived, because too many were waiting or the run ended.")
