"""Labels and owner references that every child carries."""

from typing import Any

from finetune_operator.api.base import (
    API_VERSION,
    CHILD_NAME,
    FIELD_MANAGER,
    LABEL_ATTEMPT,
    LABEL_COMPONENT,
    LABEL_JOB,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_RUN,
    LABEL_STEP,
)
from finetune_operator.api.finetunejob import KIND
from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.manifests.names import Owner, label_value, run_hash
from finetune_trainer.contract.governance.vocabulary import LABEL_LEVEL, LABEL_RESIDENCY, REGIME_LABELS, YES


def run_labels(owner: Owner, run_key: str) -> dict[str, str]:
    """Labels of everything that belongs to one run."""
    return {
        LABEL_NAME: CHILD_NAME,
        LABEL_MANAGED_BY: FIELD_MANAGER,
        LABEL_JOB: label_value(owner.name),
        LABEL_RUN: run_hash(owner.uid, run_key),
    }


def step_labels(owner: Owner, run_key: str, step: str, attempt: int) -> dict[str, str]:
    """Labels of one attempt of a step: its Job and its pod."""
    return {
        **run_labels(owner, run_key),
        LABEL_COMPONENT: step,
        LABEL_STEP: step,
        LABEL_ATTEMPT: str(attempt),
    }


def classification_labels(classification: ClassificationStatus | None) -> dict[str, str]:
    """How sensitive it is, on everything that is made of it; of places, one, because data that must lie in two can lie nowhere."""
    if classification is None:
        return {}
    places = classification.residencies
    return {
        LABEL_LEVEL: classification.level.value,
        **{f"{REGIME_LABELS}{regime}": YES for regime in classification.regimes},
        **({LABEL_RESIDENCY: places[0]} if len(places) == 1 else {}),
    }


def owner_references(owner: Owner, kind: str = KIND) -> list[dict[str, Any]]:
    """Controlled by the owner: deleting it garbage-collects the child."""
    return [
        {"apiVersion": API_VERSION, "kind": kind, "name": owner.name, "uid": owner.uid, "controller": True, "blockOwnerDeletion": True},
    ]
