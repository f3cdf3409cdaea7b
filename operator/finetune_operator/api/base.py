"""Names that identify this API, and what every object of it has in common.

Group, version and label prefix are written here and nowhere else. The models are the one source of the custom resource definitions, and
the very same models read stored objects at run time: there they ignore fields they do not know, because an object may have been
written under a newer definition, and the API server has already reported unknown fields to whoever typed them.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from finetune_operator.api.markers import Rule

GROUP = "finetune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "finetune-operator"

LABEL_PREFIX = f"{GROUP}/"
LABEL_JOB = f"{GROUP}/finetunejob"
LABEL_RUN = f"{GROUP}/run"
LABEL_STEP = f"{GROUP}/step"
LABEL_ATTEMPT = f"{GROUP}/attempt"
ANNOTATION_RECORD = f"{GROUP}/record"
ANNOTATION_MODEL_SIGNATURE = f"{GROUP}/model-signature"
"""On the pod that publishes a governed run: what is signed about it."""
ANNOTATION_ORDER = f"{GROUP}/order"
"""On the pods of a governed run: the facts and policies by which each was let begin, for its preflight to decide again."""
LABEL_NAME = "app.kubernetes.io/name"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_SERVING_ROLE = f"{GROUP}/serving-role"
"""``server`` or ``router``, on the pods of an inference service; ``check`` and ``merge``, on the Jobs that come before them."""
LABEL_DEPLOYMENT = f"{GROUP}/adapter-deployment"
"""The AdapterDeployment that a server pod belongs to."""
LABEL_VERSION = f"{GROUP}/version"
"""First digits of the digest of the one version that a server pod serves, in mode Merged."""

CHILD_NAME = "finetune-job"
"""Value of ``app.kubernetes.io/name`` on every child of a FineTuneJob."""


class ApiModel(BaseModel):
    """A frozen, camelCase value object; ``RULES`` are the CEL rules the API server checks on it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    RULES: ClassVar[tuple[Rule, ...]] = ()

    def to_manifest(self) -> dict[str, Any]:
        """The object as the API server stores it: camelCase, JSON types, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def replacing(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate({**dict(self), **changes})


def _whole_seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    """A moment as Kubernetes writes it: UTC, whole seconds, ``Z``."""
    return _whole_seconds(moment).isoformat().replace("+00:00", "Z")  # strftime writes the year 1 with one digit


def _written_out(moment: object) -> object:
    """Raises ``ValueError`` for seconds since 1970, which no schema takes and pydantic would."""
    if isinstance(moment, int | float) or (isinstance(moment, str) and "T" not in moment.upper()):
        raise ValueError("a moment is written as 2026-01-31T12:00:00Z")
    return moment


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_written_out),
    AfterValidator(_whole_seconds),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC with whole seconds, so that what was written and what is read back are equal."""


def _text_of_integer(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


IntegerAsText = BeforeValidator(_text_of_integer)
"""Accepts ``3`` where ``"3"`` is meant, as Kubernetes does for quantities."""
