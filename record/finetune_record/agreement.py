"""Sections of a record about people and rules: who asked, which policies applied, what they found, who agreed."""

from typing import Annotated

from pydantic import Field

from finetune_record.bounds import Count, Moment, Name, Number, Reference, Text, Uri, Word
from finetune_trainer.contract import Digest, Document
from finetune_trainer.contract.governance.vocabulary import LabelWord, Level


class Classification(Document):
    """How sensitive something is; ``residencies`` are the places where it must lie, none means anywhere."""

    level: Level
    regimes: list[LabelWord] = Field(default_factory=list, max_length=64)
    residencies: list[LabelWord] = Field(default_factory=list, max_length=96)


class Program(Document):
    """A program of ours that took part."""

    version: Word
    image: Reference | None = Field(default=None, description="As it ran, with its digest.")


class Identity(Document):
    """Whose run it was."""

    namespace: Name = Field(description="Namespace of the FineTuneJob.")
    job: Name = Field(description="Its name.")
    uid: Word = Field(description="Its UID.")
    generation: Count = Field(description="The generation of its spec that was run.")
    run_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="Hash of the fields that define the result.")
    run_number: Number = Field(description="Runs of the job, counted from 1.")
    spec_digest: Digest | None = Field(default=None, description="Of the run spec that the trainer was given.")
    submitter: Name | None = Field(default=None, description="Who created the job, by the API server's own name for them.")
    authors: list[Name] = Field(default_factory=list, max_length=64, description="Who else has written its spec.")
    justification: Text | None = Field(default=None, description="Why, as the submitter put it.")
    cluster: Name | None = Field(default=None, description="UID of the cluster's kube-system namespace.")
    operator: Program | None = Field(default=None, description="The operator that states this.")


class PolicyReference(Document):
    name: Name
    generation: Count = Field(description="The generation that was applied.")
    uid: Word | None = None
    digest: Digest | None = Field(default=None, description="Of the policy as it was applied.")


class RecordedFinding(Document):
    """One finding of the decision, with what was let pass by a waiver."""

    rule: Word
    severity: Word
    field: Annotated[str, Field(max_length=384)]
    message: Text
    policy: Annotated[str, Field(max_length=280)] | None = Field(default=None, description="Whose demand it is, as NAME@GENERATION.")
    blocks: bool = Field(description="False for a note, for what is waived, and for a policy that only audits.")
    waived: bool = False


class PolicySection(Document):
    """By which rules it was decided, and how."""

    decision: Word = Field(description="Allow, Hold, NeedsApproval or Deny.")
    decision_digest: Digest | None = Field(default=None, description="Of the sealed decision, which approvals name.")
    classification: Classification | None = Field(default=None, description="Effective: of everything together.")
    policies: list[PolicyReference] = Field(default_factory=list, max_length=128)
    findings: list[RecordedFinding] = Field(default_factory=list, max_length=64)
    admission_policies: list[Name] = Field(
        default_factory=list, max_length=32, description="ValidatingAdmissionPolicies that were in force when the job was accepted."
    )


class Agreement(Document):
    """Somebody's word for the sealed decision: an approval, or a waiver of what it found."""

    approver: Name = Field(description="By the API server's own name for them.")
    stage: Word = Field(description="Train, Promote or Waive.")
    given_at: Moment
    subject_digest: Digest = Field(description="Digest of the decision that the approver saw.")
    name: Name | None = Field(default=None, description="Name of the Approval.")
    uid: Word | None = None
    groups: list[Name] = Field(default_factory=list, max_length=32)
    reason: Text | None = None
    expires_at: Moment | None = None


class Obligation(Document):
    """What a licence asks of whoever serves the adapter."""

    licence: Annotated[str, Field(max_length=128)]
    name_prefix: Annotated[str, Field(max_length=64)] = ""
    notice: Annotated[str, Field(max_length=256)] = ""
    source: Uri | None = Field(default=None, description="The model whose licence it is.")
