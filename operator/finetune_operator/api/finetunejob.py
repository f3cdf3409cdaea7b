"""The ``FineTuneJob``: a desired adapter. A change of what defines its result makes a new run."""

from typing import Any, ClassVar, Self

from pydantic import Field

from finetune_operator.api import rules
from finetune_operator.api.base import API_VERSION, ApiModel, Timestamp
from finetune_operator.api.markers import Rule
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import FineTuneJobStatus

KIND = "FineTuneJob"
PLURAL = "finetunejobs"
SINGULAR = "finetunejob"
SHORT_NAMES = ("ftj",)


class ObjectMeta(ApiModel):
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class FineTuneJob(ApiModel):
    """An adapter to be made: from which model and data, how, checked by what, and where it goes."""

    RULES: ClassVar[tuple[Rule, ...]] = rules.JOB

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: FineTuneJobSpec = Field(description="What is asked for.")
    status: FineTuneJobStatus = Field(default=FineTuneJobStatus(), description="What is.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
