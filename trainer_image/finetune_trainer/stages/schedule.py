"""How many steps a run has and how an effective batch is split: arithmetic that several processes and several attempts must agree on."""

from dataclasses import dataclass
from math import ceil

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.defaults import METHODS


@dataclass(frozen=True)
class Schedule:
    """The effective batch is ``micro`` times ``accumulation`` times ``processes`` examples per optimizer step."""

    micro: int
    accumulation: int
    processes: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    evaluate_every: int | None


def plan_schedule(spec: RunSpec, examples: int, processes: int, micro: int, held_out: bool) -> Schedule:
    """Split the effective batch and count the steps.

    ``micro`` is a wish: the largest divisor of a process's share that is not above it is taken, so that the effective batch stays what the
    run spec says. Raises ``ConfigurationError`` if the batch cannot be shared by the processes.
    """
    training = spec.training
    if training.batch_size % processes:
        raise ConfigurationError(
            "BatchNotDivisible",
            f"training.batchSize: {training.batch_size} examples cannot be shared by {processes} processes",
            f"Choose a multiple of {processes}.",
        )
    share = training.batch_size // processes
    micro = max(divisor for divisor in range(1, min(share, max(1, micro)) + 1) if share % divisor == 0)
    accumulation = share // micro
    steps_per_epoch = ceil(ceil(ceil(examples / micro) / processes) / accumulation)
    epochs = float(training.epochs) if training.epochs is not None else METHODS[spec.stage, spec.tuner.type].epochs
    total = training.max_steps or max(1, ceil(epochs * steps_per_epoch))
    return Schedule(
        micro=micro,
        accumulation=accumulation,
        processes=processes,
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        warmup_steps=ceil(float(training.warmup_fraction) * total),
        evaluate_every=_evaluate_every(spec, total) if held_out else None,
    )


def _evaluate_every(spec: RunSpec, total: int) -> int | None:
    """Steps between two looks at the held-out rows; ten looks a run where early stopping needs them and nobody said how often."""
    if spec.training.evaluate_every_steps is not None:
        return spec.training.evaluate_every_steps
    return max(1, ceil(total / 10)) if spec.training.early_stopping_patience is not None else None
