"""The ``AdapterDeployment`` as a whole."""

from typing import Any, ClassVar, Self

from pydantic import Field

from finetune_operator.api.adapterdeployment import rules
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.api.base import API_VERSION, ApiModel
from finetune_operator.api.finetunejob import ObjectMeta
from finetune_operator.api.markers import Rule

KIND = "AdapterDeployment"
PLURAL = "adapterdeployments"
SINGULAR = "adapterdeployment"
SHORT_NAMES = ("adep",)


class AdapterDeployment(ApiModel):
    """An adapter behind a model name: which one, on which servers, and how a new one replaces it."""

    RULES: ClassVar[tuple[Rule, ...]] = rules.DEPLOYMENT

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: AdapterDeploymentSpec = Field(description="What is asked for.")
    status: AdapterDeploymentStatus = Field(default=AdapterDeploymentStatus(), description="What is.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
