"""The ``GovernancePolicy``: what a platform team demands, field by field the policy of the contract's decision."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from finetune_operator.api.base import API_VERSION, ApiModel
from finetune_operator.api.finetunejob import ObjectMeta
from finetune_operator.api.governance.status import GovernancePolicyStatus
from finetune_operator.api.governance.vocabulary import (
    LABEL_KEYS,
    MASKED,
    Cidr,
    Host,
    LabelValue,
    LabelWord,
    LicenceTerm,
    NodeLabel,
    ObjectName,
    Place,
    Port,
    SourcePrefix,
)
from finetune_operator.api.markers import ListAtomic, ListSet, MapAtomic, Rule
from finetune_operator.api.scalars import ContentDigest
from finetune_operator.api.uris import ModelUri
from finetune_trainer.contract.governance import Policy, facts
from finetune_trainer.contract.governance.policy import Dns, Egress, Mode
from finetune_trainer.contract.governance.vocabulary import Level, ScanProfile
from finetune_trainer.contract.model import LicenceCategory
from finetune_trainer.contract.results import MOST_REVIEWED

KIND = "GovernancePolicy"
PLURAL = "governancepolicies"
SINGULAR = "governancepolicy"
SHORT_NAMES = ("gpol",)
_UNSET = "unset, everything below confidential and nothing from there on; * is everything"


class PolicyMatch(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = (LABEL_KEYS,)

    namespace_labels: Annotated[dict[str, LabelValue], Field(max_length=16), MapAtomic()] = Field(
        default={}, description="Only in namespaces that have all these labels."
    )
    min_level: Level = Field(default=Level.PUBLIC, description="Only from this level on.")
    regimes: Annotated[list[LabelWord], Field(max_length=32), ListSet()] = Field(
        default=[], description="Only under one of these regimes; none: under any and under none."
    )


class StatedLicenceSpec(ApiModel):
    uri: ModelUri = Field(description="The base model, as jobs name it.")
    digest: ContentDigest | None = Field(default=None, description="Only while its files have this digest; absent: whatever lies there.")
    licence: LicenceTerm = Field(description="Key of the licence that somebody has read, to be allowed or denied as any other.")
    category: LicenceCategory | None = Field(default=None, description="Its category, for terms that name categories.")


class LicenceTermsSpec(ApiModel):
    allow: Annotated[list[LicenceTerm], Field(max_length=128), ListSet()] | None = Field(
        default=None, description=f"Licence keys, or names of categories, that a base model may have; {_UNSET}."
    )
    conditional: Annotated[list[LicenceTerm], Field(max_length=128), ListSet()] = Field(
        default=[], description="Those that need a waiver each time."
    )
    deny: Annotated[list[LicenceTerm], Field(max_length=128), ListSet()] = Field(default=[], description="Those that are refused.")
    stated: Annotated[list[StatedLicenceSpec], Field(max_length=128), ListAtomic()] = Field(
        default=[], description="What models stand under by the word of this policy, instead of what their own files say."
    )


class QualitySpec(ApiModel):
    min_examples: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=0, description="Fewest training examples; the minimum of the task (docs/data.md) is asked for in any case."
    )
    max_duplicate_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=100, description="At most so many of the examples, in percent, may repeat an earlier one word for word."
    )
    max_evaluation_overlap: Annotated[int, Field(ge=0, le=10**9)] = Field(
        default=0, description="At most so many evaluation items may have had to be taken out because the training data ask the same."
    )
    waivable: bool = Field(default=False, description="Whether a waiver lets data pass that fall short.")


class DestinationSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = (MASKED,)

    cidr: Cidr = Field(description="Addresses, such as 10.0.0.0/24.")
    ports: Annotated[list[Port], Field(min_length=1, max_length=16), ListSet()] = Field(description="TCP ports.")


class NetworkSpec(ApiModel):
    allow: Annotated[list[DestinationSpec], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="What pods may reach although egress is closed; with several policies, what all of them allow."
    )
    dns: Dns = Field(
        default=Dns.NONE, description="None, or ClusterOnly: the cluster's own DNS may be asked, which must know no outside names."
    )


class NodeLabelSpec(ApiModel):
    key: NodeLabel = Field(description="Of the domain node-restriction.kubernetes.io, in which a kubelet cannot write.")
    values: Annotated[list[LabelValue], Field(min_length=1, max_length=64), ListSet()] = Field(description="One of these.")


class ReviewSpec(ApiModel):
    rows: Annotated[int, Field(ge=1, le=MOST_REVIEWED)] = Field(description="So many rows, drawn by the digest of the data.")


class ApprovalRuleSpec(ApiModel):
    stage: facts.ApprovalStage = Field(
        description="Before what: Train the training, Promote the publishing.", json_schema_extra={"enum": ["Train", "Promote"]}
    )
    min_level: Level = Field(default=Level.PUBLIC, description="Only from this level on.")
    count: Annotated[int, Field(ge=1, le=8)] = Field(default=1, description="So many people, none of them submitter or author.")
    valid_for_seconds: Annotated[int, Field(ge=60, le=10 * 366 * 86_400)] | None = Field(
        default=None, description="So long after it was given an approval counts, in seconds."
    )


class GovernancePolicySpec(ApiModel):
    mode: Mode = Field(default=Mode.ENFORCE, description="Audit records what it would refuse, and blocks nothing.")
    match: PolicyMatch = Field(default=PolicyMatch(), description="Which jobs it concerns.")
    zones: Annotated[list[Place], Field(max_length=64), ListSet()] | None = Field(
        default=None, description=f"Places where data may have to stay; {_UNSET}."
    )
    data_sources: Annotated[list[SourcePrefix], Field(max_length=64), ListSet()] | None = Field(
        default=None, description=f"pvc://CLAIM/PATH prefixes below which data may lie; {_UNSET}."
    )
    purposes: Annotated[list[LabelWord], Field(max_length=64), ListSet()] | None = Field(
        default=None, description="What a job may be for, as it says in spec.purpose; unset, anything or nothing."
    )
    require_digests: bool | None = Field(
        default=None, description="Data, base model and image must be named by digest; unset, from confidential on."
    )
    licences: LicenceTermsSpec = Field(
        default=LicenceTermsSpec(), description="Licences of base models; deny beats conditional, which beats allow."
    )
    scan: ScanProfile | None = Field(
        default=None,
        description="What a scan of all rows for identifiers must at least be able to see. Names are seen where the trainer image has a "
        "model that finds them; without one IdentifiersAndNames asks for a waiver at restricted, and below that for no more than "
        "Identifiers.",
    )
    quality: QualitySpec | None = Field(default=None, description="What the data must be.")
    tracker_hosts: Annotated[list[Host], Field(max_length=64), ListSet()] | None = Field(
        default=None, description=f"Hosts of trackers that a job may name in spec.tracking, in lower case; {_UNSET}."
    )
    judge_hosts: Annotated[list[Host], Field(max_length=64), ListSet()] | None = Field(
        default=None, description=f"Hosts of judges that a job may name in spec.evaluation.judge, in lower case; {_UNSET}."
    )
    egress: Egress | None = Field(
        default=None,
        description="Closed: a network policy for the pods, and data only after a probe found no way outside; unset, from confidential on.",
    )
    network: NetworkSpec = Field(default=NetworkSpec(), description="What stays open while egress is closed.")
    node_labels: Annotated[list[NodeLabelSpec], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Labels that a node must all have for the pods of a run; looked at again once they are bound."
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="RuntimeClass of the pods of a run, whatever spec.resources.runtimeClassName says."
    )
    approvals: Annotated[list[ApprovalRuleSpec], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Who has to agree before what."
    )
    review: ReviewSpec | None = Field(
        default=None, description="Before training, somebody looks at rows of the data and gives an Approval of stage Review."
    )
    require_justification: bool = Field(
        default=False, description="A job must say why it is run, in spec.justification, which approvers are shown."
    )
    waiver_approvals: Annotated[int, Field(ge=1, le=8)] = Field(
        default=2, description="So many waivers by different people let a finding of this policy pass that needs approval."
    )
    require_evaluation: bool | None = Field(
        default=None, description="A gate must have decided before the adapter is published; unset, from confidential on."
    )

    require_proofs: bool | None = Field(
        default=None, description="An adapter is served only with a signed record; unset, from confidential on."
    )

    def to_policy(self, name: str, uid: str, generation: int) -> Policy:
        """The contract's policy. Raises ``pydantic.ValidationError`` where that knows tighter bounds."""
        return Policy.model_validate({"name": name, "uid": uid, "generation": generation, **self.model_dump(exclude_none=True)})


class GovernancePolicy(ApiModel):
    """What may be trained where, on what, with whose approval."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: GovernancePolicySpec = Field(default=GovernancePolicySpec(), description="What is demanded, of which jobs.")
    status: GovernancePolicyStatus = Field(default=GovernancePolicyStatus(), description="Whom it concerns, and whether it can be met.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
