"""The immutable ConfigMap that carries a run's spec to every one of its pods."""

from collections.abc import Mapping
from typing import Any

from finetune_operator.manifests.labels import owner_references, run_labels
from finetune_operator.manifests.names import Owner
from finetune_trainer.contract import RunSpec

RUN_SPEC_KEY = "run.json"


def build_config_map(owner: Owner, document: RunSpec, classification: Mapping[str, str]) -> dict[str, Any]:
    """``document`` under ``run.json``, named after the run; ``classification`` are labels."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": document.run.name,
            "namespace": owner.namespace,
            "labels": {**run_labels(owner, document.run.key), **classification},
            "ownerReferences": owner_references(owner),
        },
        "immutable": True,
        "data": {RUN_SPEC_KEY: document.to_json()},
    }
