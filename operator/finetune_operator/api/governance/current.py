"""``GovernanceFacts``: what the API server's admission policies read about a governed namespace, written by the operator alone.

It holds what no object says of itself: the policies that match the namespace, and the data that are registered there. While the operator is
down it holds what was last known.
"""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from finetune_operator.api.base import API_VERSION, ApiModel
from finetune_operator.api.finetunejob import ObjectMeta
from finetune_operator.api.governance.vocabulary import Host, LabelWord, ObjectName, Place, SourcePrefix
from finetune_operator.api.markers import ListAtomic, Rule
from finetune_trainer.contract.governance.policy import Mode
from finetune_trainer.contract.governance.vocabulary import Level

KIND = "GovernanceFacts"
PLURAL = "governancefacts"
SINGULAR = "governancefacts"
SHORT_NAMES = ("gfacts",)
CURRENT = "current"
"""The one object of a namespace."""
MOST_POLICIES, MOST_DATASETS = 256, 4096

ONLY_CURRENT = Rule(
    f"self.metadata.name == '{CURRENT}'", f"the facts of a namespace are named {CURRENT}; the operator writes them, nobody else needs to"
)


class PolicyInForce(ApiModel):
    """One policy that matches the namespace, by level and regimes of the job at hand; lists that are unset are as in the policy itself."""

    name: ObjectName = Field(description="Name of the GovernancePolicy.")
    mode: Mode = Field(description="Audit is not enforced here.")
    min_level: Level = Field(description="It applies from this level on.")
    regimes: Annotated[list[LabelWord], Field(max_length=32), ListAtomic()] = Field(
        description="It applies under one of these; none: under any."
    )
    zones: Annotated[list[Place], Field(max_length=64), ListAtomic()] | None = Field(
        default=None, description="Places where data may have to stay."
    )
    data_sources: Annotated[list[SourcePrefix], Field(max_length=64), ListAtomic()] | None = Field(
        default=None, description="Below which data may lie."
    )
    tracker_hosts: Annotated[list[Host], Field(max_length=64), ListAtomic()] | None = Field(
        default=None, description="Hosts of trackers that a job may name."
    )
    judge_hosts: Annotated[list[Host], Field(max_length=64), ListAtomic()] | None = Field(
        default=None, description="Hosts of judges that a job may name."
    )
    require_digests: bool | None = Field(default=None, description="Data and models must be named by digest.")


class RegisteredData(ApiModel):
    """One TrainingDataset."""

    name: ObjectName = Field(description="Its name.")
    uri: Annotated[str, Field(max_length=1024)] = Field(description="Where the data lie.")
    digest: Annotated[str, Field(max_length=71)] = Field(description="Their digest; empty without one.")
    level: Level = Field(description="How sensitive they are.")
    regimes: Annotated[list[LabelWord], Field(max_length=32), ListAtomic()] = Field(description="What they stand under.")
    residency: LabelWord = Field(description="Where they must stay; any leaves it open.")
    withdrawn: Annotated[str, Field(max_length=128)] = Field(description="Why they were withdrawn, shortened; empty where they were not.")


class GovernanceFactsSpec(ApiModel):
    policies: Annotated[list[PolicyInForce], Field(max_length=MOST_POLICIES), ListAtomic()] = Field(
        description="Those that match the namespace, by name."
    )
    datasets: Annotated[list[RegisteredData], Field(max_length=MOST_DATASETS), ListAtomic()] = Field(
        description="What is registered in the namespace, by name."
    )
    complete: bool = Field(description="False where not everything fits; admission then refuses nothing for being absent here.")


class GovernanceFacts(ApiModel):
    """What admission may know of a governed namespace beside the object that it judges."""

    RULES: ClassVar[tuple[Rule, ...]] = (ONLY_CURRENT,)

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: GovernanceFactsSpec = Field(description="What is known.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
