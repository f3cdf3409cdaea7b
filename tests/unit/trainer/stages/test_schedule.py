"""Steps and batches."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.schedule import Schedule, plan_schedule

BASE: dict[str, Any] = {
    "run": {"key": "a" * 64, "name": "n", "number": 1, "job_namespace": "ns", "job_name": "j", "job_uid": "u"},
    "base_model": {"uri": "pvc://m/b"},
    "dataset": {"uri": "pvc://d/x", "path": "/d"},
    "tuner": {"type": "LoRA"},
    "artifact": {"uri": "pvc://a/x", "path": "/a"},
}


def plan(examples: int, processes: int = 1, micro: int = 4, held_out: bool = True, **training: Any) -> Schedule:
    return plan_schedule(RunSpec.model_validate({**BASE, "training": training}), examples, processes, micro, held_out=held_out)


def test_an_epoch_ends_with_a_smaller_step() -> None:
    schedule = plan(100, epochs="2", batch_size=32)
    assert (schedule.steps_per_epoch, schedule.total_steps, schedule.accumulation) == (4, 8, 8)


def test_without_epochs_and_steps_the_method_decides() -> None:
    assert plan(64, batch_size=32).total_steps == 3 * 2


def test_max_steps_wins() -> None:
    assert plan(100, batch_size=8, max_steps=7).total_steps == 7


@given(st.integers(1, 64), st.integers(1, 80), st.sampled_from([1, 2, 4]))
def test_the_effective_batch_is_what_was_asked_for(share: int, micro: int, processes: int) -> None:
    schedule = plan(1000, processes, micro, batch_size=share * processes)
    assert schedule.micro * schedule.accumulation * processes == share * processes
    assert schedule.micro <= max(1, micro)


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 processes"):
        plan(100, processes=3, batch_size=8)


def test_early_stopping_looks_ten_times_unless_told_otherwise() -> None:
    assert plan(100, batch_size=10, max_steps=200, early_stopping_patience=2).evaluate_every == 20
    assert plan(100, batch_size=10, max_steps=200, early_stopping_patience=2, evaluate_every_steps=5).evaluate_every == 5
    assert plan(100, batch_size=10, max_steps=200).evaluate_every is None
    assert plan(100, batch_size=10, max_steps=200, held_out=False, evaluate_every_steps=5).evaluate_every is None


def test_the_warm_up_is_a_share_of_the_steps(run_spec: Callable[..., RunSpec]) -> None:
    assert plan(100, batch_size=10, max_steps=200, warmup_fraction="0.05").warmup_steps == 10
