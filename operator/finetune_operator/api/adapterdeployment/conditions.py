"""Conditions of an ``AdapterDeployment``: the one place where its state may be read by machines."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.conditions import ConditionStatus


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    GOVERNED = "Governed"
    LOADED = "Loaded"
    TRAFFIC_APPLIED = "TrafficApplied"
    EXPOSED = "Exposed"
    ANALYSIS_PASSING = "AnalysisPassing"
    AVAILABLE = "Available"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


CONDITION_MEANING: dict[ConditionType, str] = {
    ConditionType.ACCEPTED: "The spec can be carried out, and the version it asks for may be served; False names the field to change.",
    ConditionType.GOVERNED: "The version asked for, and the one that answers, may be served here by the rules of governance; the message "
    "has all findings. Only there where governance has a say.",
    ConditionType.LOADED: "Every server pod holds every version that has, or is about to get, traffic.",
    ConditionType.TRAFFIC_APPLIED: "Every router has applied the newest route.",
    ConditionType.EXPOSED: "Every Gateway of traffic.httpRoute has accepted the HTTPRoute to the router. Only there with that field, and "
    "until the HTTPRoute is gone.",
    ConditionType.ANALYSIS_PASSING: "No check speaks against the canary; Unknown without a canary, and where a check cannot be made.",
    ConditionType.AVAILABLE: "At least one server pod answers for the alias.",
    ConditionType.READY: "The version that the present spec asks for answers all callers of the alias.",
    ConditionType.RECONCILING: "Work is under way (abnormal-true, read by kstatus).",
    ConditionType.STALLED: "A person has to do something, as the message says; what serves goes on (abnormal-true, read by kstatus).",
}


class DeploymentCondition(ApiModel):
    """One condition. All of ``ConditionType`` are present, ``Exposed`` and ``Governed`` where they apply; sorted by type."""

    type: ConditionType = Field(description="What the condition is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = Field(
        description="One of the documented reasons, see docs/reference/adapterdeployment-reasons.md."
    )
    message: Annotated[str, Field(max_length=2048)] = Field(default="", description="What happened and what to do next, for people.")
    observed_generation: int = Field(ge=0, description="The generation of the spec that this condition speaks about.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
