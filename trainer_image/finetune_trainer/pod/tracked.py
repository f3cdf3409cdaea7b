"""What is told to a tracker about a run: settings, digests and figures; no text of a row, no path, and no place of data."""

from collections.abc import Mapping
from typing import Any

from finetune_trainer.contract import PrepareSummary, RunSpec, TrainSummary
from finetune_trainer.pod.resolved import ResolvedRun
from finetune_trainer.pod.tracker import Described


def described(spec: RunSpec, prepared: PrepareSummary, experiment: str) -> Described:
    """The run as people look for it. Its mark is of this object and of what defines its result, whatever number an attempt has."""
    run = spec.run
    tags = {
        "finetune.namespace": run.job_namespace,
        "finetune.job": run.job_name,
        "finetune.job_uid": run.job_uid,
        "finetune.run_number": str(run.number),
        "finetune.dataset_digest": prepared.dataset.digest,
        "finetune.base_digest": prepared.base_digest,
        **run.labels,
    }
    return Described(experiment, f"{run.job_name}-{run.number}", f"{run.job_uid}/{run.key}", tags)


def settings(resolved: ResolvedRun) -> dict[str, str]:
    """Every value that the training ended up with, by a name with dots, and the model that it started from."""
    spec = resolved.spec
    return {
        "base_model": spec.base_model.uri,
        "task": spec.task.type.value,
        "stage": spec.stage.value,
        **_flat(resolved.training.model_dump(mode="json", exclude_none=True)),
        "max_sequence_length": str(spec.training.max_sequence_length),
        "packing": str(spec.training.packing),
        "loss_on": spec.training.loss_on.value,
        "gradient_checkpointing": str(spec.training.gradient_checkpointing),
        **_flat(resolved.tuner.model_dump(mode="json", exclude_none=True), "tuner."),
        **_flat(spec.training.extra_arguments, "extra."),
    }


def outcome(summary: TrainSummary) -> tuple[dict[str, float | None], dict[str, str]]:
    """Figures and tags of a training that has ended and was compared with its base model."""
    compared = summary.evaluation
    figures: dict[str, float | None] = {"evaluation/items": float(compared.items)}
    for metric in compared.metrics:
        for side in ("base", "tuned", "delta", "low", "high"):
            figures[f"evaluation/{metric.name.value}/{side}"] = float(getattr(metric, side))
    return figures, {"finetune.artifact_digest": summary.adapter_digest, "finetune.verdict": compared.verdict.value}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return found
