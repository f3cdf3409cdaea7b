"""The ``Approval``: somebody's word for one sealed decision, given once."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from finetune_operator.api.base import API_VERSION, ApiModel, Timestamp
from finetune_operator.api.finetunejob import ObjectMeta
from finetune_operator.api.governance.vocabulary import CREATE_ONLY, ObjectName, UserName
from finetune_operator.api.markers import Rule
from finetune_operator.api.scalars import ContentDigest
from finetune_trainer.contract.governance import facts

KIND = "Approval"
PLURAL = "approvals"
SINGULAR = "approval"
SHORT_NAMES = ("appr",)


class SubjectReference(ApiModel):
    resource: Literal["finetunejobs"] = Field(default="finetunejobs", description="What kind of object is approved.")
    name: ObjectName = Field(description="Name of the object, in this namespace.")


class ApprovalSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = (CREATE_ONLY,)

    subject_ref: SubjectReference = Field(description="What is approved.")
    subject_digest: ContentDigest = Field(
        description="Digest of the decision that the approver has seen, from the object's status.governance.digest; another one has "
        "another digest, and this approval does not count for it."
    )
    stage: facts.ApprovalStage = Field(
        description="What may go on: Train the training, Review the data by rows that were drawn, Promote the publishing; "
        "Waive lets findings pass that need approval."
    )
    approver: UserName = Field(description="Who approves, by the API server's own name for them; neither submitter nor author.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="Why, for whoever reads the record.")
    expires_at: Timestamp | None = Field(default=None, description="From this moment on it does not count; a policy may set less.")


class Approval(ApiModel):
    """An approval of one stage of one object, bound to the digest of a decision."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: ApprovalSpec = Field(description="Who agrees to what.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
