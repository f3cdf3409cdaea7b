"""The immutable ConfigMap that carries a run's spec to every one of its pods."""

from typing import Any

from finetune_operator.manifests.labels import owner_references, run_labels
from finetune_operator.manifests.names import Owner
from finetune_trainer.contract import RunSpec

RUN_SPEC_KEY = "run.json"


def build_config_map(owner: Owner, document: RunSpec) -> dict[str, Any]:
    """``document`` under ``run.json``, named after the run."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": document.run.name,
            "namespace": owner.namespace,
            "labels": run_labels(owner, document.run.key),
            "ownerReferences": owner_references(owner),
        },
        "immutable": True,
        "data": {RUN_SPEC_KEY: document.to_json()},
    }
