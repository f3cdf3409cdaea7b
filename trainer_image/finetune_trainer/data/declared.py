"""What a run spec says about itself that cannot be: decided from the document alone, before any file is opened."""

from finetune_trainer.contract import DataFormat, LossOn, Metric, RunSpec, Stage, TunerType
from finetune_trainer.pod.errors import ConfigurationError

_WITH_ADAPTER = {TunerType.LORA, TunerType.QLORA, TunerType.DORA, TunerType.RSLORA}
_OF_A_SCHEMA = {Metric.SCHEMA_COMPLIANCE, Metric.FIELD_COMPLETENESS}


def check_declared(spec: RunSpec) -> None:
    """Raise ``ConfigurationError`` for combinations that no data and no model can make work."""
    training, tuner = spec.training, spec.tuner
    if training.epochs is not None and training.max_steps is not None:
        raise _error("training.epochs", "epochs and maxSteps are both set", "Keep one of them.")
    if training.epochs is not None and float(training.epochs) <= 0:
        raise _error("training.epochs", "epochs must be more than 0", "Set a positive number, for example 3.")
    if training.micro_batch_size is not None and training.batch_size % training.micro_batch_size:
        message = f"microBatchSize {training.micro_batch_size} does not divide batchSize {training.batch_size}"
        raise _error("training.microBatchSize", message, "Choose a divisor of batchSize.")
    if tuner.type is TunerType.FULL and (tuner.lora is not None or tuner.quantization is not None):
        raise _error("tuner", "Full trains every weight and takes neither lora nor quantization", "Remove them or choose LoRA or QLoRA.")
    if tuner.quantization is not None and tuner.type is not TunerType.QLORA:
        raise _error("tuner.quantization", f"{tuner.type.value} does not quantize its base", "Remove quantization or choose QLoRA.")
    if tuner.type in _WITH_ADAPTER and tuner.lora is not None and "lm_head" in tuner.lora.target_modules:
        raise _error("tuner.lora.targetModules", "lm_head cannot carry an adapter", "Remove lm_head; all-linear leaves it out already.")
    _check_formats(spec)
    _check_metrics(spec)
    _check_held_out(spec)


def _check_formats(spec: RunSpec) -> None:
    if spec.stage is Stage.CONTINUED_PRETRAINING:
        if spec.dataset.format not in (DataFormat.AUTO, DataFormat.TEXT):
            message = f"ContinuedPretraining learns from raw text, not from {spec.dataset.format.value}"
            raise _error("dataset.format", message, "Use format Text, or stage SFT.")
        if spec.task.output_schema_path is not None:
            raise _error("task.outputSchema", "raw text has no answers that a schema could check", "Remove outputSchema, or use stage SFT.")
    elif spec.dataset.format is DataFormat.TEXT and spec.training.loss_on is LossOn.COMPLETION:
        raise _error("training.lossOn", "raw text has no completion", "Use lossOn All, or a format with prompts and answers.")


def _check_metrics(spec: RunSpec) -> None:
    metrics, improvement = spec.evaluation.metrics, spec.evaluation.improvement
    if improvement is not None and metrics and improvement.metric not in metrics:
        message = f"the gate needs {improvement.metric.value}, which is not measured"
        raise _error("evaluation.improvement.metric", message, "Add it to evaluation.metrics.")
    wanted = [*metrics, improvement.metric] if improvement else metrics
    of_schema = [metric.value for metric in wanted if metric in _OF_A_SCHEMA]
    if of_schema and spec.task.output_schema_path is None:
        raise _error("evaluation.metrics", f"{of_schema[0]} needs task.outputSchema", "Set task.outputSchema or choose another metric.")
    if Metric.JUDGE in wanted and spec.evaluation.judge is None:
        raise _error("evaluation.metrics", "Judge needs evaluation.judge", "Set evaluation.judge or choose another metric.")
    if spec.stage is Stage.CONTINUED_PRETRAINING and any(metric is not Metric.PERPLEXITY for metric in wanted):
        raise _error("evaluation.metrics", "raw text can be measured by Perplexity only", "Use Perplexity, or stage SFT.")


def _check_held_out(spec: RunSpec) -> None:
    validation = spec.validation.percent is not None or spec.validation.source is not None
    if not validation and spec.training.early_stopping_patience is not None:
        raise _error("training.earlyStopping", "nothing is held out that could tell when to stop", "Set dataset.validation.percent.")
    if not validation and spec.evaluation.source is None and spec.evaluation.improvement is not None:
        hint = "Set dataset.validation.percent or evaluation.dataset."
        raise _error("validation", "the gate has nothing to measure: no row is held out", hint)


def _error(field: str, message: str, hint: str) -> ConfigurationError:
    return ConfigurationError("InvalidSpec", f"{field}: {message}", hint)
