"""Defaults that depend on another field, which a schema cannot express: pure functions of the spec, the same for operator and reader.

They are part of what the run key hashes, so a change here would be a new version of the hashed form.
"""

import json
from typing import Any

from finetune_operator.api.spec import FineTuneJobSpec, LoraSpec, QuantizationSpec
from finetune_trainer.contract import LossOn, Metric, Stage, TaskType, TunerType

_JSON_METRICS = (Metric.JSON_VALIDITY, Metric.SCHEMA_COMPLIANCE, Metric.FIELD_COMPLETENESS)


def metrics_of(spec: FineTuneJobSpec) -> tuple[Metric, ...]:
    """What is measured: the listed metrics, else those that suit stage, task and output schema, with a judge its own, and the gate's."""
    if spec.evaluation.metrics is not None:
        return tuple(spec.evaluation.metrics)
    chosen = _metrics_of_task(spec)
    if spec.evaluation.judge is not None:
        chosen = (*chosen, Metric.JUDGE)
    gates = spec.evaluation.gates
    if gates is not None and gates.improvement is not None and gates.improvement.metric not in chosen:
        chosen = (*chosen, gates.improvement.metric)
    return chosen


def _metrics_of_task(spec: FineTuneJobSpec) -> tuple[Metric, ...]:
    if spec.stage is Stage.CONTINUED_PRETRAINING:
        return (Metric.PERPLEXITY,)
    if spec.task.output_schema is not None:
        return (*_JSON_METRICS, Metric.EXACT_MATCH)
    if spec.task.type is TaskType.FORMAT:
        return (Metric.JSON_VALIDITY, Metric.EXACT_MATCH)
    if spec.task.type is TaskType.CLASSIFICATION:
        return (Metric.EXACT_MATCH,)
    return (Metric.PERPLEXITY,)


def lora_of(spec: FineTuneJobSpec) -> LoraSpec | None:
    """The adapter's shape; None for ``Full``."""
    if spec.tuner.type is TunerType.FULL:
        return None
    return spec.tuner.lora or LoraSpec()


def quantization_of(spec: FineTuneJobSpec) -> QuantizationSpec | None:
    """How the base model is held; None but for ``QLoRA``."""
    if spec.tuner.type is not TunerType.QLORA:
        return None
    return spec.tuner.quantization or QuantizationSpec()


def loss_on(spec: FineTuneJobSpec) -> LossOn:
    if spec.training.loss_on is not None:
        return spec.training.loss_on
    return LossOn.ALL if spec.stage is Stage.CONTINUED_PRETRAINING else LossOn.ASSISTANT


def packing(spec: FineTuneJobSpec) -> bool:
    if spec.training.packing is not None:
        return spec.training.packing
    return spec.stage is Stage.CONTINUED_PRETRAINING


def extra_arguments(spec: FineTuneJobSpec) -> dict[str, Any]:
    """The arguments with their values as what the text says in JSON (``"0.95"``, ``"true"``), and as the text itself where it is none."""
    return {name: _value_of(text) for name, text in spec.training.extra_arguments.items()}


def _value_of(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json_value)
    except ValueError:
        return text


def _no_json_value(name: str) -> Any:
    msg = f"{name} is no JSON value"
    raise ValueError(msg)
