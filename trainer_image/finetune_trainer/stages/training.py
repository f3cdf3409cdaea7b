"""The course of a training: load, resume, step, keep, finish. The stages differ only in their ``StageMethod``."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datasets import Dataset
from torch import distributed
from transformers import set_seed

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import OutOfMemoryError, Stopped, StorageError
from finetune_trainer.pod.resolved import ResolvedRun
from finetune_trainer.pod.termination import step_error
from finetune_trainer.pod.workspace import Workspace
from finetune_trainer.stages.arguments import training_arguments
from finetune_trainer.stages.checkpoints import TRAINED, Checkpoint, CheckpointFolder
from finetune_trainer.stages.defaults import Device, device_of
from finetune_trainer.stages.model import load_for_training, load_tokenizer, resolve_precision
from finetune_trainer.stages.probe import take_probe
from finetune_trainer.stages.processes import Process, check_world
from finetune_trainer.stages.resolution import resolve
from finetune_trainer.stages.rows import load_rows
from finetune_trainer.stages.schedule import Schedule, plan_schedule
from finetune_trainer.stages.stage import StageMethod
from finetune_trainer.stages.totals import FILE as TOTALS_FILE
from finetune_trainer.stages.totals import Totals, read_totals
from finetune_trainer.stages.trainer import SealingTrainer
from finetune_trainer.stages.validation import validation_loss
from finetune_trainer.stages.watch import Observer, Watch, diverged


class Listener(Observer, Protocol):
    """Who hears about the course of a training: progress server, event log, the evidence for the last word."""

    def resolved(self, run: ResolvedRun) -> None: ...

    def planned(self, schedule: Schedule, totals: Totals, *, trainable: int, parameters: int) -> None: ...

    def sealed(self, checkpoint: Checkpoint) -> None: ...


@dataclass(frozen=True)
class Training:
    """Everything a training needs to be told."""

    spec: RunSpec
    workspace: Workspace
    stage: StageMethod
    checkpoints: CheckpointFolder
    process: Process
    micro_batch_size: int
    listener: Listener
    stop_requested: Callable[[], bool]
    deferred: Callable[[], AbstractContextManager[None]] = nullcontext
    """Held from the first step to the last seal: a stop then waits for the end of the step."""


def train(training: Training, resume: Checkpoint | None) -> None:
    """Train to the end and seal the result as ``checkpoints.trained()``.

    Raises ``Stopped`` with a sealed checkpoint, ``DivergedError``, ``OutOfMemoryError`` with what would fit, ``StorageError``;
    ``ConfigurationError``, ``DataError`` and ``ModelError`` before the first step.
    """
    spec, device = training.spec, device_of(training.spec)
    rows = load_rows(training.workspace.train_rows)
    held_out = load_rows(path) if (path := training.workspace.validation_rows).exists() else None
    schedule = plan_schedule(spec, len(rows), training.process.count, training.micro_batch_size, held_out=held_out is not None)
    try:
        trainer, watch = _assemble(training, schedule, device, rows, held_out)
        with training.deferred():
            _take_steps(training, trainer, watch, resume)
            if training.process.first:
                _finish(training, trainer, watch)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(step_error(error, training.workspace.root), OutOfMemoryError):
            raise
        raise _with_what_fits(training, schedule) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _assemble(
    training: Training, schedule: Schedule, device: Device, rows: Dataset, held_out: Dataset | None
) -> tuple[SealingTrainer, Watch]:
    spec = training.spec
    precision = resolve_precision(spec, device)
    base = training.workspace.base_model(spec)
    tokenizer = load_tokenizer(base)
    collate = training.stage.collate(spec, int(tokenizer.pad_token_id))
    set_seed(spec.training.seed)
    model = load_for_training(spec, base, device, precision, index=training.process.local_rank)
    watch = Watch(
        schedule=schedule,
        vocabulary=int(model.config.get_text_config().vocab_size),
        patience=spec.training.early_stopping_patience,
        save_every_seconds=spec.checkpoint.every_seconds,
        stop_requested=training.stop_requested,
        observer=training.listener,
    )
    trainer = SealingTrainer(
        model=model,
        arguments=training_arguments(spec, schedule, device, precision, training.checkpoints.root),
        rows=rows,
        collate=collate,
        tokenizer=tokenizer,
        watch=watch,
        checkpoints=training.checkpoints,
        on_sealed=lambda checkpoint: _sealed(training, checkpoint, watch.totals.best_step),
    )
    check_world(training.process, int(trainer.args.world_size))
    watch.take_fed = trainer.take_fed
    if held_out is not None:
        watch.look = lambda: validation_loss(
            trainer.model,
            held_out,
            collate,
            schedule.micro,
            process=training.process,
            stopped=training.stop_requested,
            compute=trainer.accelerator.autocast,
        )
        watch.keep_best = trainer.seal_best
    return trainer, watch


def _take_steps(training: Training, trainer: SealingTrainer, watch: Watch, resume: Checkpoint | None) -> None:
    """Step to the end. Raises ``Stopped`` when asked to leave before; then a checkpoint is sealed."""
    if resume is not None:
        watch.resume(read_totals(resume.path))
    training.listener.resolved(_resolved(training, trainer, watch.schedule))
    sizes = [(p.numel(), p.requires_grad) for p in trainer.model.parameters()]
    training.listener.planned(
        watch.schedule, watch.totals, trainable=sum(n for n, learned in sizes if learned), parameters=sum(n for n, _ in sizes)
    )
    if resume is not None:
        trainer.load_weights(resume.path)
        watch.catch_up()
    if not watch.finished and not watch.stopped:
        trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    if watch.stopped:
        raise Stopped(
            "Stopped",
            f"asked to stop; step {watch.totals.step} of {watch.schedule.total_steps} is sealed",
            "Resume, or let the operator start the next attempt.",
        )


def _finish(training: Training, trainer: SealingTrainer, watch: Watch) -> None:
    """Seal the weights that count, the best ones where early stopping chose, else the last ones; with what they answer and came from.

    Raises ``DivergedError`` for weights that are no numbers: the last step may have made them so, and no loss was taken after it.
    ``StorageError`` when the best ones are not what was sealed.
    """
    folder = training.checkpoints
    draft = folder.begin(TRAINED)
    best = watch.totals.best_step
    if watch.patience is not None and best is not None and best != watch.totals.step:
        trainer.load_weights(_best_model(folder, best).path)
    if not trainer.learned_finite_weights():
        raise diverged(watch.totals.step, "its weights are not finite any more")
    trainer.write_weights(draft)
    take_probe(trainer.bare_model(), trainer.processing_class).write(draft)
    watch.totals.write(draft)
    _resolved(training, trainer, watch.schedule).write(draft)
    training.listener.sealed(folder.seal(draft, TRAINED, watch.totals.step))


def _resolved(training: Training, trainer: SealingTrainer, schedule: Schedule) -> ResolvedRun:
    spec, device = training.spec, device_of(training.spec)
    precision = resolve_precision(spec, device)
    return resolve(spec, schedule, trainer.args, fingerprint=training.checkpoints.fingerprint, device=device, precision=precision)


def _best_model(folder: CheckpointFolder, step: int) -> Checkpoint:
    """The weights of the best look, verified. Raises ``StorageError``."""
    found = folder.verify(folder.root / f"best-{step}")
    if isinstance(found, Checkpoint):
        return found
    raise StorageError(
        "BestModelDamaged",
        f"the weights of step {step}, the best on the held-out rows, cannot be used: best-{step}: {found}",
        "Look at the work folder's volume, then set spec.rerun to a new value: training starts again from the base model.",
    )


def _sealed(training: Training, checkpoint: Checkpoint, best: int | None) -> None:
    training.listener.sealed(checkpoint)
    training.checkpoints.prune(_best_of, best)


def _best_of(checkpoint: Path) -> int | None:
    return read_totals(checkpoint).best_step if (checkpoint / TOTALS_FILE).exists() else None


def _with_what_fits(training: Training, schedule: Schedule) -> OutOfMemoryError:
    """Exhausted memory, with the numbers that would need less."""
    length = training.spec.training.max_sequence_length
    what = f"memory did not suffice for {schedule.micro} examples of up to {length} tokens at once"
    if schedule.micro > 1:
        return OutOfMemoryError(
            "OutOfMemory",
            what,
            f"Set spec.training.microBatchSize to {schedule.micro // 2}: the effective batch stays {training.spec.training.batch_size}.",
        )
    remedy = "give the step more memory" if training.spec.training.gradient_checkpointing else "turn on spec.training.gradientCheckpointing"
    return OutOfMemoryError("OutOfMemory", what, f"Lower spec.training.maxSequenceLength to {max(8, length // 2)}, or {remedy}.")
