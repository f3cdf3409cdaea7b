"""Every value a training ends up with, taken from where it takes effect: the library's filled-in configuration and our schedule."""

from collections.abc import Mapping

from trl import SFTConfig

from finetune_trainer.contract import Lora, Precision, Quantization, RunSpec, Tuner, TunerType
from finetune_trainer.pod.progress import decimal
from finetune_trainer.pod.resolved import ResolvedRun, ResolvedTraining
from finetune_trainer.stages.defaults import Device
from finetune_trainer.stages.fingerprint import versions
from finetune_trainer.stages.schedule import Schedule


def resolve(
    spec: RunSpec, schedule: Schedule, arguments: SFTConfig, *, fingerprint: Mapping[str, str], device: Device, precision: Precision
) -> ResolvedRun:
    """The document that is sealed with the trained weights."""
    training = ResolvedTraining(
        learning_rate=decimal(arguments.learning_rate),
        scheduler=_name(arguments.lr_scheduler_type),
        warmup_steps=schedule.warmup_steps,
        total_steps=schedule.total_steps,
        steps_per_epoch=schedule.steps_per_epoch,
        epochs=decimal(schedule.total_steps / schedule.steps_per_epoch),
        batch_size=schedule.micro * schedule.accumulation * schedule.processes,
        micro_batch_size=schedule.micro,
        accumulation=schedule.accumulation,
        processes=schedule.processes,
        device=device,
        precision=precision,
        optimizer=_name(arguments.optim),
        adam_beta1=decimal(arguments.adam_beta1),
        adam_beta2=decimal(arguments.adam_beta2),
        adam_epsilon=decimal(arguments.adam_epsilon),
        weight_decay=decimal(arguments.weight_decay),
        max_gradient_norm=decimal(arguments.max_grad_norm),
        seed=arguments.seed,
        evaluate_every_steps=schedule.evaluate_every,
    )
    return ResolvedRun(training=training, tuner=_tuner(spec), fingerprint=dict(fingerprint), versions=versions(), spec=spec)


def _tuner(spec: RunSpec) -> Tuner:
    kind = spec.tuner.type
    return Tuner(
        type=kind,
        lora=None if kind is TunerType.FULL else spec.tuner.lora or Lora(),
        quantization=spec.tuner.quantization or Quantization() if kind is TunerType.QLORA else None,
    )


def _name(value: object) -> str:
    """The library keeps some settings as members of an enumeration."""
    return str(getattr(value, "value", value))
