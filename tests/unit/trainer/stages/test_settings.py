"""Defaults, precision and extra arguments: decided without torch."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from finetune_trainer.contract import Precision, RunSpec, Stage, TunerType
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.defaults import METHODS, learning_rate, precision_of
from finetune_trainer.stages.extra_arguments import _OPEN, check_extra_arguments, known_arguments, usable_schedules
from finetune_trainer.stages.library_source import optimizers, schedules
from tests.unit.trainer.stages.test_schedule import BASE


def spec(**sections: Any) -> RunSpec:
    return RunSpec.model_validate({**BASE, **sections})


def test_every_method_of_every_stage_has_a_default_with_a_source() -> None:
    assert set(METHODS) == {(stage, tuner) for stage in Stage for tuner in TunerType}
    assert all(defaults.source for defaults in METHODS.values())


def test_a_declared_learning_rate_wins() -> None:
    assert learning_rate(spec()) == 2e-4
    assert learning_rate(spec(training={"learningRate": "5e-3"})) == 5e-3


@pytest.mark.parametrize(
    ("asked", "device", "bf16", "expected"),
    [
        ("Auto", "cpu", False, Precision.FP32),
        ("Auto", "cuda", True, Precision.BF16),
        ("Auto", "cuda", False, Precision.FP16),
        ("BF16", "cpu", False, Precision.BF16),
        ("FP32", "cuda", True, Precision.FP32),
    ],
)
def test_precision_follows_the_device(asked: str, device: Any, bf16: bool, expected: Precision) -> None:
    assert precision_of(spec(training={"precision": asked}), device, bf16) is expected


@pytest.mark.parametrize(("asked", "device"), [("FP16", "cpu"), ("BF16", "cuda")])
def test_a_precision_that_the_device_lacks_is_refused(asked: str, device: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"training\.precision"):
        precision_of(spec(training={"precision": asked}), device, bf16_supported=False)


def test_open_arguments_exist_in_the_library() -> None:
    assert set(_OPEN) <= known_arguments()


def test_a_true_is_no_number() -> None:
    with pytest.raises(ConfigurationError, match="adam_epsilon"):
        check_extra_arguments(spec(training={"extraArguments": {"adam_epsilon": True}}))


def test_open_arguments_pass() -> None:
    check_extra_arguments(spec(training={"extraArguments": {"adam_beta2": 0.95, "neftune_noise_alpha": 5}}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optim": "no-such-optimizer"}, "optim: the training library knows no such optimizer"),
        ({"optim": "galore_adamw"}, "optim: this optimizer needs galore_torch, which the image lacks"),
        ({"lr_scheduler_type": "cosinus"}, "lr_scheduler_type: the training library knows no such schedule"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type: this schedule follows an evaluation"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "lr_scheduler_kwargs: the schedule warmup_stable_decay needs num_decay_steps"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_kwargs: the schedule cosine_with_min_lr needs either min_lr or"),
        ({"lr_scheduler_kwargs": {"min_lr": 0.1}}, "lr_scheduler_kwargs: the schedule cosine takes no min_lr"),
        ({"adam_beta1": 1.5}, "adam_beta1: 1.5 is not at least 0 and below 1"),
        ({"torch_empty_cache_steps": 0}, "torch_empty_cache_steps: 0 is not at least 1"),
        ({"adam_epsilon": float("nan")}, "adam_epsilon: nan is not at least 0"),
    ],
)
def test_values_that_the_library_would_refuse_after_a_node_was_found_are_refused_before(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"training.extraArguments.{words}") as caught:
        check_extra_arguments(spec(training={"extraArguments": arguments}))
    assert caught.value.hint.startswith("Correct")
    assert len(caught.value.hint) <= 512, "a longer one would be cut"


def test_compiling_is_not_open_since_the_image_has_no_compiler() -> None:
    with pytest.raises(ConfigurationError, match="ArgumentNotOpen"):
        check_extra_arguments(spec(training={"extraArguments": {"torch_compile": True}}))


def test_names_read_from_the_source_are_those_of_the_library() -> None:
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert optimizers() == {member.value for member in OptimizerNames}
    assert set(schedules()) == {member.value for member in SchedulerType}


@pytest.mark.parametrize("name", usable_schedules())
def test_every_usable_schedule_can_be_made_from_checked_arguments(name: str) -> None:
    import torch
    from transformers.optimization import get_scheduler

    given = {"warmup_stable_decay": {"num_decay_steps": 2}}.get(name, {"min_lr": 1e-6} if "min_lr" in name else {})
    check_extra_arguments(spec(training={"extraArguments": {"lr_scheduler_type": name, "lr_scheduler_kwargs": given}}))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    assert get_scheduler(name, optimizer, 1, 10, scheduler_specific_kwargs=given)


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_bnb_8bit", "sgd", "adafactor"])
def test_usual_optimizers_are_usable(name: str) -> None:
    check_extra_arguments(spec(training={"extraArguments": {"optim": name}}))


def test_settings_are_checked_without_torch() -> None:
    program = (
        "import sys; import finetune_trainer.stages.extra_arguments as e, finetune_trainer.stages.schedule;"
        "import finetune_trainer.stages.checkpoints; assert len(e.known_arguments()) > 100; assert e.usable_optimizers();"
        "assert e.usable_schedules(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_fingerprint_ignores_how_many_examples_go_through_at_once(run_spec: Callable[..., RunSpec]) -> None:
    from finetune_trainer.stages.fingerprint import fingerprint

    def of(**training: Any) -> dict[str, str]:
        made = run_spec(training=training)
        return fingerprint(made, data_digest="d", base_digest="b", device="cpu", processes=1)

    assert of(microBatchSize=2) == of(microBatchSize=1)
    assert of(learningRate="1e-4") != of(learningRate="2e-4")
