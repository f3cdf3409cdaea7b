"""Defaults, precision and extra arguments: decided without torch."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from finetune_trainer.contract import Precision, RunSpec, Stage, TunerType
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.defaults import METHODS, learning_rate, precision_of
from finetune_trainer.stages.extra_arguments import _OPEN, check_extra_arguments, known_arguments
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


def test_settings_are_checked_without_torch() -> None:
    program = (
        "import sys; import finetune_trainer.stages.extra_arguments as e, finetune_trainer.stages.schedule;"
        "import finetune_trainer.stages.checkpoints; assert len(e.known_arguments()) > 100; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_fingerprint_ignores_how_many_examples_go_through_at_once(run_spec: Callable[..., RunSpec]) -> None:
    from finetune_trainer.stages.fingerprint import fingerprint

    def of(**training: Any) -> dict[str, str]:
        made = run_spec(training=training)
        return fingerprint(made, data_digest="d", base_digest="b", device="cpu", processes=1)

    assert of(microBatchSize=2) == of(microBatchSize=1)
    assert of(learningRate="1e-4") != of(learningRate="2e-4")
