"""Conditions: the one place where the state of a FineTuneJob may be read by machines.

The shape is that of ``metav1.Condition``. ``Ready`` sums up; ``Reconciling`` and ``Stalled`` are the abnormal-true pair that kstatus
(Flux, Argo CD, ``helm --wait``) reads; ``Complete``, ``Failed`` and ``Suspended`` speak to tools that know batch Jobs.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    GOVERNED = "Governed"
    PREPARED = "Prepared"
    ADMITTED = "Admitted"
    TRAINED = "Trained"
    EVALUATED = "Evaluated"
    TRACKED = "Tracked"
    PUBLISHED = "Published"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


CONDITION_MEANING: dict[ConditionType, str] = {
    ConditionType.ACCEPTED: "The spec is valid and the operator knows what to do; False names the field to change.",
    ConditionType.GOVERNED: "What the policies that apply demand is met; absent where none applies and the namespace is not governed.",
    ConditionType.PREPARED: "The current run's dataset is read, checked and sealed, and the estimate is made.",
    ConditionType.ADMITTED: "The train step's pod has a node and runs; False says what it waits for.",
    ConditionType.TRAINED: "The current run has trained to its end.",
    ConditionType.EVALUATED: "Base and tuned model were compared, and the gate has decided.",
    ConditionType.TRACKED: "What the training tells the tracker of spec.tracking arrives there; absent without one, and of no weight.",
    ConditionType.PUBLISHED: "The artifact lies at its destination.",
    ConditionType.READY: "The current generation's adapter is trained, passed its gate and is published.",
    ConditionType.RECONCILING: "Work is under way (abnormal-true, read by kstatus).",
    ConditionType.STALLED: "Nothing will happen until somebody changes something (abnormal-true, read by kstatus).",
    ConditionType.COMPLETE: "The current run has ended with an artifact.",
    ConditionType.FAILED: "The current run has ended without a usable artifact.",
    ConditionType.SUSPENDED: "spec.suspend holds the current run.",
}


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One condition; the types present are those of ``ConditionType``, sorted by type."""

    type: ConditionType = Field(description="What the condition is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = Field(
        description="One of the documented reasons, see docs/reference/reasons.md."
    )
    message: Annotated[str, Field(max_length=2048)] = Field(default="", description="What happened and what to do next, for people.")
    observed_generation: int = Field(ge=0, description="The generation of the spec that this condition speaks about.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
