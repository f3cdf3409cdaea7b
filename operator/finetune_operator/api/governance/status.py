"""What the operator says about policies and registered data: whom they concern, how often, and what nobody can satisfy."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.conditions import ConditionStatus
from finetune_operator.api.markers import ListAtomic, ListMap
from finetune_operator.api.scalars import ObjectName

SHOWN_NAMESPACES, SHOWN_CONFLICTS, CONFLICT_LIMIT = 64, 16, 512
Count = Annotated[int, Field(ge=0)]


class StandingReason(StrEnum):
    """Reasons of the condition ``Ready`` of a GovernancePolicy and of a TrainingDataset."""

    IN_FORCE = "InForce"
    MATCHES_NOTHING = "MatchesNothing"
    POLICY_CONFLICT = "PolicyConflict"
    REGISTERED = "Registered"
    WITHDRAWN = "Withdrawn"
    UNREADABLE = "Unreadable"


@dataclass(frozen=True)
class Standing:
    meaning: str
    next_action: str = "Nothing."


STANDINGS: dict[StandingReason, Standing] = {
    StandingReason.IN_FORCE: Standing("The policy is judged wherever it matches, and what it demands can be met."),
    StandingReason.MATCHES_NOTHING: Standing(
        "The policy can be met, and no namespace has the labels that it matches.",
        "Label the namespaces that it is for, or correct spec.match.namespaceLabels.",
    ),
    StandingReason.POLICY_CONFLICT: Standing(
        "No job at all can meet what the policy demands, by itself or together with another one: each entry of status.conflicts says why.",
        "Widen one of the lists named; every policy that matches must be met, so their lists intersect.",
    ),
    StandingReason.REGISTERED: Standing("Jobs of the namespace may refer to the data."),
    StandingReason.WITHDRAWN: Standing(
        "Nothing is to be made of the data any more, for the reason in spec.withdrawn; jobs that use them are refused.",
        "Register another version of the data, in another place.",
    ),
    StandingReason.UNREADABLE: Standing(
        "Another version of the definition stored the object: such a policy lets nothing pass, such data cannot be referred to.",
        "Bring definitions and operator to the same version, and write the object again.",
    ),
}


class StandingConditionType(StrEnum):
    READY = "Ready"


class StandingCondition(ApiModel):
    type: StandingConditionType = Field(description="What the condition is about.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = Field(
        description="One of the documented reasons, see docs/governance.md."
    )
    message: Annotated[str, Field(max_length=2048)] = Field(default="", description="What holds and what to do next, for people.")
    observed_generation: int = Field(ge=0, description="The generation of the spec that this condition speaks about.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")


class OutcomeCounts(ApiModel):
    """Objects that exist now and that the policy was applied to, by what was last decided about them."""

    allowed: Count = Field(default=0, description="Let pass.")
    held: Count = Field(default=0, description="That wait.")
    need_approval: Count = Field(default=0, description="That wait for a waiver.")
    denied: Count = Field(default=0, description="Refused.")


class GovernancePolicyStatus(ApiModel):
    """Written when it changes; counts alone at most once in some minutes, and none of it by an operator of some namespaces only."""

    observed_generation: Count | None = Field(default=None, description="The generation of the spec that this status speaks about.")
    conditions: Annotated[list[StandingCondition], Field(max_length=4), ListMap(("type",))] = Field(
        default=[], description="Ready: the policy is in force and can be met."
    )
    matched_namespaces: Annotated[list[ObjectName], Field(max_length=SHOWN_NAMESPACES), ListAtomic()] = Field(
        default=[], description="Namespaces that have the labels, the first 64 by name."
    )
    matched_namespace_count: Count | None = Field(default=None, description="How many there are.")
    jobs: OutcomeCounts | None = Field(default=None, description="FineTuneJobs that the policy was applied to, by outcome.")
    deployments: OutcomeCounts | None = Field(default=None, description="The same of AdapterDeployments.")
    conflicts: Annotated[list[Annotated[str, Field(max_length=CONFLICT_LIMIT)]], Field(max_length=SHOWN_CONFLICTS), ListAtomic()] = Field(
        default=[], description="What makes that no job can meet the policy, before anybody submits one."
    )


class TrainingDatasetStatus(ApiModel):
    conditions: Annotated[list[StandingCondition], Field(max_length=4), ListMap(("type",))] = Field(
        default=[], description="Ready: jobs may refer to the data."
    )
    jobs: Count | None = Field(default=None, description="FineTuneJobs that exist now and refer to it.")
    artifacts: Count | None = Field(default=None, description="Of them, those with a published adapter.")
    last_used_at: Timestamp | None = Field(default=None, description="When a run on the data last began, be its job still there or not.")
