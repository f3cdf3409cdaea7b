"""What governance tells in the status of a FineTuneJob: the decision, what it was made of, and the agreements and records of a run."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.markers import ListAtomic, ListMap, ListSet, MapAtomic
from finetune_operator.api.scalars import ContentDigest, Count, LabelText, ShortText
from finetune_trainer.contract import governance
from finetune_trainer.contract.governance.facts import ApprovalStage
from finetune_trainer.contract.governance.vocabulary import LabelWord, Level


class ClassificationStatus(ApiModel):
    level: Level = Field(description="Highest of all parts.")
    regimes: Annotated[list[LabelWord], Field(max_length=64), ListSet()] = Field(default=[], description="Of all parts together.")
    residencies: Annotated[list[LabelWord], Field(max_length=96), ListSet()] = Field(
        default=[], description="Places where all of it must stay; none: anywhere."
    )


class ObligationStatus(ApiModel):
    licence: Annotated[str, Field(max_length=128)] = Field(description="Whose obligation it is.")
    name_prefix: ShortText | None = Field(default=None, description="How the name of the model must begin wherever it is served.")
    notice: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="What must be shown beside it.")
    attribution: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="What a file NOTICE beside it must say.")
    licence_text: bool = Field(default=False, description="Whether the agreement itself must lie beside it.")


class DeclaredLabels(ApiModel):
    level: LabelText | None = Field(default=None, description="The level label.")
    residency: LabelText | None = Field(default=None, description="The residency label.")
    regimes: Annotated[list[LabelText], Field(max_length=64), ListSet()] = Field(default=[], description="Regimes labelled.")


class GovernanceFinding(ApiModel):
    rule: ShortText = Field(description="Which rule, see docs/reference/governance-rules.md.")
    severity: ShortText = Field(description="Deny, NeedsApproval, Hold or Note.")
    field: Annotated[str, Field(max_length=384)] = Field(description="What it is about.")
    message: Annotated[str, Field(max_length=1024)] = Field(description="Why, and what to do. Never a value from a row.")
    policy: Annotated[str, Field(max_length=280)] | None = Field(default=None, description="Whose demand it is, as NAME@GENERATION.")
    blocks: bool = Field(description="False for a note, for what is waived, and for a policy that only audits.")


class SpecMarks(ApiModel):
    """What the spec of a run was, to tell later which fields differ: marks of values, from which no value can be read."""

    run: Count = Field(description="Number of the run.")
    marks: Annotated[dict[str, Annotated[str, Field(max_length=8)]], Field(max_length=96), MapAtomic()] = Field(
        default={}, description="By field, the first digits of the digest of its value."
    )


class GovernanceStatus(ApiModel):
    decision: governance.Outcome = Field(description="Deny, NeedsApproval, Hold or Allow: the worst of what blocks.")
    digest: ContentDigest | None = Field(
        default=None, description="Of the sealed decision, once the data are prepared: what an Approval names as subjectDigest."
    )
    passed: bool = Field(default=False, description="Whether the job was ever let pass: from then on its classification only rises.")
    classification: ClassificationStatus = Field(description="Of everything together, as it was when the job was last let pass.")
    declared: DeclaredLabels | None = Field(default=None, description="The object's own labels when it was last let pass; they only rise.")
    licence: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Licence of the base model, as the prepare step read it."
    )
    policies: Annotated[list[Annotated[str, Field(max_length=280)]], Field(max_length=128), ListAtomic()] = Field(
        default=[], description="Those that apply, as NAME@GENERATION."
    )
    changed: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="Fields of the spec, data and base model that are not those of the last run that ended; names only."
    )
    last_run: SpecMarks | None = Field(default=None, description="What that run was, for this comparison.")
    obligations: Annotated[list[ObligationStatus], Field(max_length=16), ListMap(("licence",))] = Field(
        default=[], description="What licences ask of what is made; it travels with the artifact."
    )
    findings: Annotated[list[GovernanceFinding], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="What was found, the worst first; what an auditing policy finds is told and blocks nothing."
    )


class AgreementStatus(ApiModel):
    """An approval or a waiver that counted."""

    name: Annotated[str, Field(max_length=253)] = Field(description="Name of the Approval.")
    uid: Annotated[str, Field(max_length=63)] = Field(default="", description="Its UID.")
    stage: ApprovalStage = Field(description="Train, Review, Promote or Waive.")
    approver: Annotated[str, Field(max_length=253)] = Field(description="Who gave it.")
    subject_digest: Annotated[str, Field(max_length=71)] = Field(description="Digest of the decision that it is for.")
    reason: Annotated[str, Field(max_length=256)] = Field(default="", description="Why, in the approver's words, cut to 256 characters.")
    given_at: Timestamp = Field(description="When.")
    expires_at: Timestamp | None = Field(default=None, description="Until when it counts.")


class RecordStatus(ApiModel):
    """Where the signed record of a run stands in the chain of its namespace."""

    sequence: Annotated[int, Field(ge=1)] = Field(description="Its number in the chain, from 1.")
    digest: ContentDigest = Field(description="SHA-256 of the signed statement, which the next record names as the one before.")
    key_id: Annotated[str, Field(max_length=64)] = Field(description="SHA-256 of the public key that verifies it.")
