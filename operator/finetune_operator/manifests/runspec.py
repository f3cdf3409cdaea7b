"""From what a person declared to what the trainer reads: defaults that depend on other fields filled in, URIs turned into mounted paths."""

from finetune_operator.api import defaults
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.uris import volume_path
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.quantities import whole
from finetune_trainer.contract import (
    ARTIFACT_MOUNT,
    BASE_MOUNT,
    DATA_MOUNT,
    EVALUATION_MOUNT,
    OUTPUT_SCHEMA_PATH,
    VALIDATION_MOUNT,
    ArtifactTarget,
    BaseModelSource,
    Checkpoint,
    DataFormat,
    DataSource,
    DataThresholds,
    Evaluation,
    Improvement,
    Judge,
    Lora,
    Progress,
    Quantization,
    Resources,
    RunIdentity,
    RunSpec,
    Task,
    Tracking,
    Training,
    Tuner,
    Validation,
)


def build_run_spec(owner: Owner, spec: FineTuneJobSpec, *, key: str, name: str, number: int, token_digest: str) -> RunSpec:
    """The document of run ``number``; the same for all of its steps and attempts."""
    base = volume_path(spec.base_model.uri)
    return RunSpec(
        run=RunIdentity(key=key, name=name, number=number, job_namespace=owner.namespace, job_name=owner.name, job_uid=owner.uid),
        base_model=BaseModelSource(
            uri=spec.base_model.uri,
            path=_inside(BASE_MOUNT, base.path) if base else None,
            digest=spec.base_model.digest,
            licence=spec.base_model.licence,
        ),
        dataset=_source(spec.dataset.rows.uri, DATA_MOUNT, spec.dataset.rows.format, spec.dataset.rows.digest),
        validation=_validation(spec),
        thresholds=DataThresholds(max_dropped_percent=spec.dataset.max_dropped_percent),
        task=Task(type=spec.task.type, output_schema_path=OUTPUT_SCHEMA_PATH if spec.task.output_schema else None),
        stage=spec.stage,
        tuner=_tuner(spec),
        training=_training(spec),
        evaluation=_evaluation(spec),
        checkpoint=Checkpoint(every_seconds=spec.checkpoint.every_seconds, keep=spec.checkpoint.keep),
        resources=_resources(spec),
        artifact=ArtifactTarget(uri=spec.artifact.uri, path=ARTIFACT_MOUNT),
        progress=Progress(token_digest=token_digest),
        tracking=_tracking(owner, spec),
    )


def _tracking(owner: Owner, spec: FineTuneJobSpec) -> Tracking | None:
    if spec.tracking is None:
        return None
    mlflow = spec.tracking.mlflow
    return Tracking(uri=mlflow.uri, experiment=mlflow.experiment or f"{owner.namespace}/{owner.name}")


def _inside(mount: str, path: str) -> str:
    return f"{mount}/{path}" if path else mount


def _source(uri: str, mount: str, data_format: DataFormat | None, digest: str | None = None) -> DataSource:
    place = volume_path(uri)
    assert place is not None, "the schema admits pvc:// only"
    return DataSource(uri=uri, path=_inside(mount, place.path), format=data_format or DataFormat.AUTO, digest=digest)


def _validation(spec: FineTuneJobSpec) -> Validation:
    wanted = spec.dataset.validation
    if wanted.uri:
        return Validation(source=_source(wanted.uri, VALIDATION_MOUNT, wanted.format, wanted.digest))
    return Validation(percent=wanted.percent or None)


def _tuner(spec: FineTuneJobSpec) -> Tuner:
    lora, quantization = defaults.lora_of(spec), defaults.quantization_of(spec)
    return Tuner(
        type=spec.tuner.type,
        lora=Lora(**lora.model_dump()) if lora else None,
        quantization=Quantization(**quantization.model_dump()) if quantization else None,
    )


def _training(spec: FineTuneJobSpec) -> Training:
    wanted = spec.training
    return Training(
        epochs=wanted.epochs,
        max_steps=wanted.max_steps,
        learning_rate=wanted.learning_rate,
        scheduler=wanted.scheduler,
        warmup_fraction=wanted.warmup_fraction,
        weight_decay=wanted.weight_decay,
        max_gradient_norm=wanted.max_gradient_norm,
        batch_size=wanted.batch_size,
        micro_batch_size=wanted.micro_batch_size,
        max_sequence_length=wanted.max_sequence_length,
        packing=defaults.packing(spec),
        gradient_checkpointing=wanted.gradient_checkpointing,
        loss_on=defaults.loss_on(spec),
        precision=wanted.precision,
        early_stopping_patience=wanted.early_stopping.patience if wanted.early_stopping else None,
        evaluate_every_steps=wanted.evaluate_every_steps,
        seed=wanted.seed,
        extra_arguments=defaults.extra_arguments(spec),
    )


def _evaluation(spec: FineTuneJobSpec) -> Evaluation:
    wanted = spec.evaluation
    gate = wanted.gates.improvement if wanted.gates else None
    return Evaluation(
        metrics=list(defaults.metrics_of(spec)),
        source=_source(wanted.dataset.uri, EVALUATION_MOUNT, wanted.dataset.format, wanted.dataset.digest) if wanted.dataset else None,
        max_items=wanted.max_items,
        max_new_tokens=wanted.max_new_tokens,
        judge=Judge(endpoint=wanted.judge.endpoint, model=wanted.judge.model) if wanted.judge else None,
        improvement=Improvement(metric=gate.metric, min_delta=gate.min_delta) if gate else None,
        on_inconclusive=wanted.on_inconclusive,
    )


def _resources(spec: FineTuneJobSpec) -> Resources:
    limits = spec.resources.limits
    return Resources(
        gpus=spec.resources.gpus_per_node,
        memory_bytes=whole(limits.memory) if limits else None,
        gpu_memory_bytes=whole(spec.resources.gpu_memory),
    )
