"""The AdapterDeployment a decision is about, read from what the API server stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from finetune_inference.contract.routes import Route
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus
from finetune_operator.api.base import LABEL_PREFIX
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.subject import Mistakes, mistakes_of
from finetune_operator.manifests.names import Owner

ACTION = f"{LABEL_PREFIX}rollout"
"""Annotation for one-shot orders of a person: ``promote:N``, ``abort:N`` or ``retry:N``, with any N that was not there before."""


@dataclass(frozen=True)
class Subject:
    """``stored_status`` is the status as it lies there, for comparison; ``action`` the value of the annotation."""

    owner: Owner
    generation: int
    created_at: datetime | None
    deleting: bool
    action: str
    labels: Mapping[str, str]
    spec: AdapterDeploymentSpec | Mistakes
    status: AdapterDeploymentStatus | Mistakes
    stored_status: Mapping[str, Any]


def read_subject(resource: JsonObject) -> Subject | None:
    """None for something that has no usable name, namespace, uid or generation: nothing can be decided about it."""
    metadata = reading.at(resource, "metadata")
    owner = Owner(*(reading.text(metadata, field) for field in ("namespace", "name", "uid")))
    generation = reading.integer(metadata, "generation")
    if not (owner.namespace and _is_name(owner.name) and owner.uid) or generation is None or generation < 0:
        return None
    stored = reading.at(resource, "status")
    status = stored if isinstance(stored, Mapping) else {}
    return Subject(
        owner=owner,
        generation=generation,
        created_at=reading.moment(metadata, "creationTimestamp"),
        deleting=reading.at(metadata, "deletionTimestamp") is not None,
        action=reading.text(reading.at(metadata, "annotations"), ACTION)[:128],
        labels=_labels(reading.at(metadata, "labels")),
        spec=_spec(reading.at(resource, "spec")),
        status=_status(status),
        stored_status=status,
    )


def _labels(stored: Any) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in stored.items()} if isinstance(stored, Mapping) else {}


def _is_name(name: str) -> bool:
    """Whether a route can carry it; the API server admits no other."""
    try:
        Route(deployment=name, alias="x", generation=1)
    except ValidationError:
        return False
    return True


def _spec(stored: Any) -> AdapterDeploymentSpec | Mistakes:
    try:
        return AdapterDeploymentSpec.model_validate(stored)
    except ValidationError as error:
        return mistakes_of(error, "spec")


def _status(stored: Mapping[str, Any]) -> AdapterDeploymentStatus | Mistakes:
    try:
        return AdapterDeploymentStatus.model_validate(stored)
    except ValidationError as error:
        return mistakes_of(error, "status")
