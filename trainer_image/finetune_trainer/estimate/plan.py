"""From spec, shapes and lengths to the estimate in status: which micro batch, whether it fits, and what would make it fit.

The remedies are tried from the one that changes least to the one that changes most: fewer examples per pass (the effective batch stays),
recomputing activations (slower), shorter rows (cuts data), four-bit weights (another method).
"""

from dataclasses import dataclass, replace

from finetune_trainer.contract import Estimate, Lora, Precision, RunSpec, Stage, TunerType
from finetune_trainer.estimate.duration import CPU_THREAD_RATE, GPU_RATE, evaluation_seconds, training_seconds
from finetune_trainer.estimate.memory import ADAM_BYTES, Method, Peak, Workload, peak_memory, trainable
from finetune_trainer.estimate.shape import ModelShape

PROCESS_BYTES = 700 << 20
"""A process with torch and the training libraries, before it loads anything."""
GPU_HOST_BYTES = 3 << 30
"""Host memory of a process that drives an accelerator: context, pinned buffers, libraries."""
GPU_CONTEXT_BYTES = 1 << 30
"""What the accelerator's context and allocator take; not measured here."""
USABLE_SHARE = 0.92
"""How much of a limit may be planned with: the rest is for what no formula knows."""
UNLIMITED_MICRO_BATCH = 8
"""Examples per pass where no limit is known: enough to keep a device busy."""


@dataclass(frozen=True)
class Lengths:
    """Of the training rows, in tokens; ``evaluation_items`` and ``item_tokens`` (question and answer) for the time estimate."""

    longest: int
    mean: float
    evaluation_items: int = 0
    item_tokens: int = 0


@dataclass(frozen=True)
class RunPlan:
    estimate: Estimate
    micro_batch_size: int
    peak: Peak


def plan_run(
    spec: RunSpec, shape: ModelShape, lengths: Lengths, *, steps: int, threads: int, micro_batch_size: int | None = None
) -> RunPlan:
    """The estimate for ``steps`` optimizer steps; ``micro_batch_size`` overrides the spec."""
    method = Method(spec.tuner.type, spec.tuner.lora or Lora())
    share = max(1, spec.training.batch_size // max(1, spec.resources.gpus))
    limit = spec.resources.gpu_memory_bytes if spec.resources.gpus else spec.resources.memory_bytes
    declared = micro_batch_size or spec.training.micro_batch_size
    work = _workload(spec, shape, rows=declared or 1, length=lengths.longest)
    if declared is None:
        work = replace(work, rows=_largest_fitting(spec, shape, method, work, share=share, limit=limit))
    peak = peak_memory(shape, method, work)
    fits = _fits(spec, peak, limit)
    rate = GPU_RATE * spec.resources.gpus if spec.resources.gpus else CPU_THREAD_RATE * threads
    tokens = round(steps * spec.training.batch_size * lengths.mean)
    seconds = training_seconds(shape, method, tokens, checkpointing=work.checkpointing, rate=rate)
    seconds += evaluation_seconds(shape, lengths.evaluation_items, lengths.item_tokens, rate=rate)
    estimate = Estimate(
        memory_bytes=_host_bytes(spec, shape, peak),
        gpu_memory_bytes=_needed(spec, peak) if spec.resources.gpus else None,
        disk_bytes=disk_bytes(spec, shape, method),
        seconds=seconds,
        confidence="Unfitted" if spec.resources.gpus else "Fitted",
        fits=fits,
        cheapest_fix=None if fits else _cheapest_fix(spec, shape, method, work, limit or 0),
    )
    return RunPlan(estimate, work.rows, peak)


def disk_bytes(spec: RunSpec, shape: ModelShape, method: Method) -> int:
    """What the work folder grows to: checkpoints (one more than kept while one is written), the best one, and the artifact."""
    learning = trainable(shape, method)
    weights = 4 * learning
    best = weights if spec.training.early_stopping_patience is not None else 0
    out = shape.stored_bytes if method.full else weights
    fetched = shape.stored_bytes if spec.base_model.path is None else 0
    return (spec.checkpoint.keep + 1) * (weights + ADAM_BYTES * learning) + best + out + fetched


def _workload(spec: RunSpec, shape: ModelShape, *, rows: int, length: int) -> Workload:
    on_gpu = spec.resources.gpus > 0
    halves = spec.training.precision is not Precision.FP32 if on_gpu else spec.training.precision is Precision.BF16
    even = spec.stage is Stage.CONTINUED_PRETRAINING and spec.training.packing
    frozen_halves = on_gpu and halves and spec.tuner.type is not TunerType.FULL
    return Workload(
        rows=rows,
        length=length,
        checkpointing=spec.training.gradient_checkpointing,
        activation_bytes=2 if halves else 4,
        weight_bytes=2 if frozen_halves else 4,
        padded=not even,
        packed=spec.training.packing and not even,
        maps_weights=not on_gpu and shape.stored_as == "F32",
    )


def _largest_fitting(spec: RunSpec, shape: ModelShape, method: Method, work: Workload, *, share: int, limit: int | None) -> int:
    """The largest power of two that divides the share of a process and fits, 1 if none does."""
    powers = [1 << exponent for exponent in range(share.bit_length()) if share % (1 << exponent) == 0]
    if limit is None:
        return max(power for power in powers if power <= UNLIMITED_MICRO_BATCH)
    fitting = [power for power in powers if _fits(spec, peak_memory(shape, method, replace(work, rows=power)), limit)]
    return max(fitting, default=1)


def _fits(spec: RunSpec, peak: Peak, limit: int | None) -> bool:
    return limit is None or _needed(spec, peak) <= limit * USABLE_SHARE


def _needed(spec: RunSpec, peak: Peak) -> int:
    """On the device that computes."""
    return peak.working_set + (GPU_CONTEXT_BYTES if spec.resources.gpus else PROCESS_BYTES)


def _host_bytes(spec: RunSpec, shape: ModelShape, peak: Peak) -> int:
    return GPU_HOST_BYTES + shape.stored_bytes if spec.resources.gpus else _needed(spec, peak)


def _cheapest_fix(spec: RunSpec, shape: ModelShape, method: Method, work: Workload, limit: int) -> str:
    def fits(changed: Workload, how: Method = method) -> bool:
        return _fits(spec, peak_memory(shape, how, changed), limit)

    smaller = [rows for rows in range(work.rows - 1, 0, -1) if spec.training.batch_size % rows == 0]
    for rows in smaller:
        if fits(replace(work, rows=rows)):
            return f"training.microBatchSize: {rows}"
    single = replace(work, rows=1)
    recomputing = replace(single, checkpointing=True)
    prefix = "training.microBatchSize: 1 and " if work.rows > 1 else ""
    if not work.checkpointing and fits(recomputing):
        rows = max(rows for rows in (1, *smaller, work.rows) if fits(replace(work, rows=rows, checkpointing=True)))
        return "training.gradientCheckpointing: true" + (f" with microBatchSize: {rows}" if rows != work.rows else "")
    for length in (step for step in (8192, 4096, 2048, 1024, 512, 256, 128) if step < work.length):
        if fits(replace(recomputing, length=length)):
            return f"{prefix}training.gradientCheckpointing: true with maxSequenceLength: {length}"
    if not method.quantized and fits(recomputing, replace(method, tuner=TunerType.QLORA)):
        return f"tuner.type: QLoRA with {prefix}training.gradientCheckpointing: true"
    needed = _needed(spec, peak_memory(shape, replace(method, tuner=TunerType.QLORA), replace(recomputing, length=min(work.length, 128))))
    return f"more memory: even QLoRA with single short rows needs {needed / 2**30:.1f} GiB of the {limit / 2**30:.1f} GiB given"
