"""Which micro batch, whether it fits, and the cheapest change that would make it fit; held to the formula, never to a machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.contract import Lora, RunSpec, TunerType
from finetune_trainer.estimate.memory import Method, Workload, peak_memory, trainable
from finetune_trainer.estimate.plan import PROCESS_BYTES, Lengths, disk_bytes, plan_run
from finetune_trainer.estimate.shape import Linear, ModelShape, read_shape

GIB = 1 << 30
LAYERS, HIDDEN, WIDE, VOCABULARY = 16, 2048, 8192, 128_256
BILLION = ModelShape(
    hidden=HIDDEN,
    intermediate=WIDE,
    layers=LAYERS,
    vocabulary=VOCABULARY,
    heads=32,
    kv_heads=8,
    head_size=64,
    parameters=1_236_000_000,
    largest_tensor=VOCABULARY * HIDDEN,
    linears=tuple(
        Linear(f"model.layers.{n}.mlp.{name}", HIDDEN, WIDE) for n in range(LAYERS) for name in ("up_proj", "gate_proj", "down_proj")
    ),
    tied=True,
    stored_bytes=2_472_000_000,
    stored_as="BF16",
)


def spec_of(run_spec: Callable[..., RunSpec], memory: int | None = None, **sections: Any) -> RunSpec:
    training = {"batch_size": 32, "micro_batch_size": None, **sections.pop("training", {})}
    return run_spec(training=training, resources={"memory_bytes": memory, "gpus": 0}, **sections)


def plan(spec: RunSpec, length: int = 512) -> Any:
    return plan_run(spec, BILLION, Lengths(longest=length, mean=length / 2), steps=100, threads=2)


def test_the_micro_batch_is_the_largest_power_of_two_that_fits(run_spec: Callable[..., RunSpec]) -> None:
    chosen = [plan(spec_of(run_spec, memory=gib * GIB)).micro_batch_size for gib in (12, 24, 48, 500)]
    assert chosen == sorted(chosen)
    assert chosen[0] < chosen[2]
    assert chosen[-1] == 32
    assert all(32 % micro == 0 for micro in chosen)


def test_twice_the_chosen_micro_batch_would_not_have_fitted(run_spec: Callable[..., RunSpec]) -> None:
    spec = spec_of(run_spec, memory=24 * GIB)
    found = plan(spec)
    assert found.estimate.fits
    twice = plan_run(spec, BILLION, Lengths(512, 256), steps=1, threads=1, micro_batch_size=2 * found.micro_batch_size)
    assert not twice.estimate.fits


def test_what_the_spec_says_about_the_micro_batch_is_not_changed(run_spec: Callable[..., RunSpec]) -> None:
    found = plan(spec_of(run_spec, memory=8 * GIB, training={"micro_batch_size": 16}))
    assert (found.micro_batch_size, found.estimate.fits) == (16, False)


REMEDIES = [
    (24, 32, 512, "LoRA", "training.microBatchSize: "),
    (9, 1, 2048, "LoRA", "training.gradientCheckpointing: true"),
    (8, 1, 8192, "LoRA", "maxSequenceLength: "),
    (6, 1, 1024, "Full", "tuner.type: QLoRA"),
    (2, 1, 1024, "Full", "more memory: even QLoRA"),
]


@pytest.mark.parametrize(("gib", "micro", "length", "tuner", "words"), REMEDIES)
def test_the_cheapest_remedy_that_fits_is_told(
    gib: int, micro: int, length: int, tuner: str, words: str, run_spec: Callable[..., RunSpec]
) -> None:
    section = {"type": tuner} if tuner == "Full" else {"type": tuner, "lora": {"rank": 16, "alpha": 32}}
    spec = spec_of(run_spec, memory=gib * GIB, training={"micro_batch_size": micro})
    spec = spec.model_copy(update={"tuner": type(spec.tuner).model_validate(section)})
    estimate = plan(spec, length).estimate
    assert not estimate.fits
    assert words in str(estimate.cheapest_fix)


def test_a_told_micro_batch_fits_when_it_is_followed(run_spec: Callable[..., RunSpec]) -> None:
    estimate = plan(spec_of(run_spec, memory=24 * GIB, training={"micro_batch_size": 32})).estimate
    advice = str(estimate.cheapest_fix)
    micro = int(advice.rsplit(" ", 1)[-1])
    assert advice.startswith("training.microBatchSize")
    assert plan(spec_of(run_spec, memory=24 * GIB, training={"micro_batch_size": micro})).estimate.fits


@pytest.mark.parametrize("tuner", list(TunerType))
def test_more_tokens_take_more_and_recomputation_takes_less(tuner: TunerType) -> None:
    method, work = Method(tuner, Lora(rank=16)), Workload(4, 512, checkpointing=False)
    plain = peak_memory(BILLION, method, work).working_set
    assert peak_memory(BILLION, method, replace(work, rows=8)).working_set > plain
    assert peak_memory(BILLION, method, replace(work, checkpointing=True)).working_set < plain


def test_rows_of_unequal_length_need_a_mask_only_when_they_share_a_pass() -> None:
    method, even = Method(TunerType.LORA, Lora(rank=16)), Workload(4, 512, checkpointing=False)
    uneven = replace(even, padded=True)
    assert peak_memory(BILLION, method, uneven).total > peak_memory(BILLION, method, even).total
    alone = [peak_memory(BILLION, method, replace(work, rows=1)).total for work in (even, uneven)]
    assert alone[0] == alone[1]
    assert peak_memory(BILLION, method, replace(even, packed=True)).total > peak_memory(BILLION, method, uneven).total


def test_dropout_keeps_masks() -> None:
    work = Workload(4, 512, checkpointing=False)
    plain, dropping = (peak_memory(BILLION, Method(TunerType.LORA, Lora(rank=16, dropout=share)), work).total for share in ("0", "0.1"))
    assert dropping > plain


def test_four_bits_a_weight_take_less_than_thirty_two() -> None:
    work = Workload(1, 128, checkpointing=True)
    sizes = [
        peak_memory(BILLION, Method(tuner, Lora(rank=8)), work).working_set for tuner in (TunerType.QLORA, TunerType.LORA, TunerType.FULL)
    ]
    assert sizes == sorted(sizes)


def test_trainable_numbers_are_counted_as_the_tuner_makes_them() -> None:
    linears = len(BILLION.linears)
    lora = trainable(BILLION, Method(TunerType.LORA, Lora(rank=8)))
    assert lora == linears * 8 * (HIDDEN + WIDE)
    assert trainable(BILLION, Method(TunerType.DORA, Lora(rank=8))) == lora + linears * WIDE
    up = trainable(BILLION, Method(TunerType.LORA, Lora(rank=8, target_modules=["up_proj"])))
    assert up * 3 == lora
    assert trainable(BILLION, Method(TunerType.FULL, Lora())) == BILLION.parameters


def test_disk_counts_one_checkpoint_more_than_kept(run_spec: Callable[..., RunSpec]) -> None:
    method = Method(TunerType.FULL, Lora())
    two, three = (disk_bytes(spec_of(run_spec, checkpoint={"keep": keep}), BILLION, method) for keep in (2, 3))
    assert three - two == 12 * BILLION.parameters
    assert two >= 3 * 12 * BILLION.parameters


def test_a_run_on_an_accelerator_is_marked_unfitted(run_spec: Callable[..., RunSpec]) -> None:
    spec = run_spec(resources={"gpus": 1, "gpu_memory_bytes": 24 * GIB}, training={"batch_size": 16, "micro_batch_size": None})
    estimate = plan(spec).estimate
    assert estimate.confidence == "Unfitted"
    assert estimate.gpu_memory_bytes is not None
    assert estimate.gpu_memory_bytes < 24 * GIB


def test_the_shape_of_a_model_is_read_from_its_files_without_loading_them(tiny_base: Path) -> None:
    shape = read_shape(tiny_base)
    assert (shape.hidden, shape.intermediate, shape.layers, shape.heads, shape.kv_heads, shape.head_size) == (64, 128, 2, 4, 2, 16)
    assert len(shape.linears) == 2 * 7
    assert shape.linear_parameters == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    assert (shape.tied, shape.stored_as) == (True, "F32")
    assert PROCESS_BYTES > 0
