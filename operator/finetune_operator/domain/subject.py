"""The object a decision is about, read from what the API server stores: identity, spec or what is wrong with it, status or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import FineTuneJobStatus
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject
from finetune_operator.manifests.names import Owner

_SHOWN_MISTAKES = 5

NEW: Final = timedelta(seconds=2)
"""How long an object counts as new: twice the resolution of its creationTimestamp."""


@dataclass(frozen=True)
class Mistakes:
    """What does not fit the schema, as "field: what is wrong", bounded."""

    text: str


@dataclass(frozen=True)
class Subject:
    """A FineTuneJob as decisions see it; ``stored_status`` is the status as it lies there, for comparison."""

    owner: Owner
    generation: int
    created_at: datetime | None
    deleting: bool
    suspend: bool
    """``spec.suspend`` as it lies there: it holds a run also while another field of the spec is wrong."""
    cancel: int
    """``spec.runPolicy.cancel`` as it lies there, for the same reason; 0 cancels nothing."""
    spec: FineTuneJobSpec | Mistakes
    status: FineTuneJobStatus | Mistakes
    stored_status: Mapping[str, Any]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def new(self, now: datetime) -> bool:
        """Whether what is known of the object cannot be old, however late it arrived: there is nothing older than its creation.

        Never edited, and created a moment ago by the API server's clock; where the two clocks disagree it is not new.
        """
        return self.generation == 1 and self.created_at is not None and timedelta(0) <= now - self.created_at <= NEW


def read_subject(resource: JsonObject) -> Subject | None:
    """None for something that has no name, namespace, uid or generation: nothing can be decided about it."""
    metadata = reading.at(resource, "metadata")
    owner = Owner(*(reading.text(metadata, field) for field in ("namespace", "name", "uid")))
    generation = reading.integer(metadata, "generation")
    if not (owner.namespace and owner.name and owner.uid) or generation is None or generation < 0:
        return None
    stored = reading.at(resource, "status")
    status = stored if isinstance(stored, Mapping) else {}
    return Subject(
        owner=owner,
        generation=generation,
        created_at=reading.moment(metadata, "creationTimestamp"),
        deleting=reading.at(metadata, "deletionTimestamp") is not None,
        suspend=reading.at(resource, "spec", "suspend") is True,
        cancel=reading.integer(resource, "spec", "runPolicy", "cancel") or 0,
        spec=_spec(reading.at(resource, "spec")),
        status=_status(status),
        stored_status=status,
        labels=_texts(reading.at(metadata, "labels")),
        annotations=_texts(reading.at(metadata, "annotations")),
    )


def _texts(stored: Any) -> dict[str, str]:
    """Labels or annotations, cut where no API server would have stored them."""
    if not isinstance(stored, Mapping):
        return {}
    return {key[:317]: value[:256] for key, value in stored.items() if isinstance(key, str) and isinstance(value, str)}


def parse_spec(text: str) -> FineTuneJobSpec | None:
    """A spec as it was kept in status; None if it cannot be read any more."""
    try:
        return FineTuneJobSpec.model_validate_json(text)
    except ValidationError:
        return None


def mistakes_of(error: ValidationError, prefix: str) -> Mistakes:
    """Field and complaint, without the values: they are the user's and may be long."""
    found = error.errors(include_input=False, include_url=False)
    texts = [".".join([prefix, *(str(part) for part in mistake["loc"])]) + ": " + mistake["msg"] for mistake in found]
    more = f"; and {len(texts) - _SHOWN_MISTAKES} more" if len(texts) > _SHOWN_MISTAKES else ""
    return Mistakes("; ".join(texts[:_SHOWN_MISTAKES])[:1800] + more)


def _spec(stored: Any) -> FineTuneJobSpec | Mistakes:
    try:
        return FineTuneJobSpec.model_validate(stored)
    except ValidationError as error:
        return mistakes_of(error, "spec")


def _status(stored: Mapping[str, Any]) -> FineTuneJobStatus | Mistakes:
    try:
        return FineTuneJobStatus.model_validate(stored)
    except ValidationError as error:
        return mistakes_of(error, "status")
