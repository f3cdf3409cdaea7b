"""Our defaults per stage, method and device, each with its source: the libraries' own are made for other uses.

The library underneath would train with 2e-5 whatever the method (ten times too low for an adapter), cut rows at 1,024 tokens, run bf16 on
a CPU, recompute activations without being asked and save every 500 steps. A number of the run spec always wins over this table.
"""

from dataclasses import dataclass
from typing import Literal

from finetune_trainer.contract import Precision, RunSpec, Stage, TunerType
from finetune_trainer.pod.errors import ConfigurationError

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class MethodDefaults:
    """What a method takes when the run spec is silent; ``source`` says who found it."""

    learning_rate: float
    epochs: float
    source: str


_QLORA = "QLoRA, arXiv:2305.14314, table 9: 2e-4 up to 13 B parameters"
_DORA = "DoRA, arXiv:2402.09353, appendix A: 2e-4 with rank 16 and 32"
_RSLORA = "rsLoRA, arXiv:2312.03732, section 5: 5e-5, since its scale grows with the root of the rank"
_FULL = "Alpaca and Vicuna recipes: 2e-5 for supervised tuning of all weights"
_BIDERMAN = "LoRA Learns Less and Forgets Less, arXiv:2405.09673, appendix: continued pre-training, one pass over the text"

METHODS: dict[tuple[Stage, TunerType], MethodDefaults] = {
    (Stage.SFT, TunerType.FULL): MethodDefaults(2e-5, 3, _FULL),
    (Stage.SFT, TunerType.LORA): MethodDefaults(2e-4, 3, _QLORA),
    (Stage.SFT, TunerType.QLORA): MethodDefaults(2e-4, 3, _QLORA),
    (Stage.SFT, TunerType.DORA): MethodDefaults(2e-4, 3, _DORA),
    (Stage.SFT, TunerType.RSLORA): MethodDefaults(5e-5, 3, _RSLORA),
    (Stage.CONTINUED_PRETRAINING, TunerType.FULL): MethodDefaults(1e-5, 1, _BIDERMAN),
    (Stage.CONTINUED_PRETRAINING, TunerType.LORA): MethodDefaults(1e-4, 1, _BIDERMAN),
    (Stage.CONTINUED_PRETRAINING, TunerType.QLORA): MethodDefaults(1e-4, 1, _BIDERMAN),
    (Stage.CONTINUED_PRETRAINING, TunerType.DORA): MethodDefaults(1e-4, 1, _BIDERMAN),
    (Stage.CONTINUED_PRETRAINING, TunerType.RSLORA): MethodDefaults(2.5e-5, 1, _RSLORA),
}

OPTIMIZERS: dict[Device, str] = {"cpu": "adamw_torch", "cuda": "adamw_torch_fused"}
"""AdamW (arXiv:1711.05101); the fused kernel where the parameters live on an accelerator, the one the memory estimate knows on a CPU."""

SCHEDULERS = {"Cosine": "cosine", "Linear": "linear", "Constant": "constant_with_warmup"}


def learning_rate(spec: RunSpec) -> float:
    """The run's peak learning rate."""
    declared = spec.training.learning_rate
    return float(declared) if declared is not None else METHODS[spec.stage, spec.tuner.type].learning_rate


def device_of(spec: RunSpec) -> Device:
    """A run that was given no accelerator trains on the CPU, even on a machine that has one."""
    return "cuda" if spec.resources.gpus else "cpu"


def precision_of(spec: RunSpec, device: Device, bf16_supported: bool) -> Precision:
    """Resolve ``Auto``: bf16 where the accelerator computes in it, fp16 on older ones, fp32 on a CPU. Raises ``ConfigurationError``."""
    asked = spec.training.precision
    if asked is Precision.AUTO:
        if device == "cpu":
            return Precision.FP32
        return Precision.BF16 if bf16_supported else Precision.FP16
    if asked is Precision.FP16 and device == "cpu":
        raise ConfigurationError(
            "PrecisionUnsupported", "training.precision: FP16 needs an accelerator", "Use Auto, BF16 or FP32, or set resources.gpus."
        )
    if asked is Precision.BF16 and device == "cuda" and not bf16_supported:
        raise ConfigurationError(
            "PrecisionUnsupported", "training.precision: this accelerator does not compute in BF16", "Use Auto or FP16."
        )
    return asked
