"""The library's configuration, filled in completely: no default of its own reaches a run."""

import os
from pathlib import Path
from typing import Any

from trl import SFTConfig

from finetune_trainer.contract import Precision, RunSpec
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.defaults import OPTIMIZERS, SCHEDULERS, Device, learning_rate
from finetune_trainer.stages.extra_arguments import extra_arguments
from finetune_trainer.stages.schedule import Schedule

_RECOMPUTE = next(name for name in ("activation_checkpointing", "gradient_checkpointing") if name in SFTConfig.__dataclass_fields__)
"""The libraries are renaming this switch."""


def training_arguments(spec: RunSpec, schedule: Schedule, device: Device, precision: Precision, output: Path) -> SFTConfig:
    """The configuration object; raises ``ConfigurationError`` if the library refuses an extra argument."""
    training = spec.training
    ours: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": schedule.total_steps,
        "per_device_train_batch_size": schedule.micro,
        "gradient_accumulation_steps": schedule.accumulation,
        "learning_rate": learning_rate(spec),
        "lr_scheduler_type": SCHEDULERS[training.scheduler],
        "warmup_steps": schedule.warmup_steps,
        "weight_decay": float(training.weight_decay),
        "max_grad_norm": float(training.max_gradient_norm),
        "optim": OPTIMIZERS[device],
        "seed": training.seed,
        "data_seed": training.seed,
        "use_cpu": device == "cpu",
        "bf16": precision is Precision.BF16,
        "fp16": precision is Precision.FP16,
        _RECOMPUTE: False,  # thrown in ``model.recompute_activations``
        "max_length": None,
        "packing": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "dataloader_pin_memory": device == "cuda",
        "average_tokens_across_devices": True,
        "logging_strategy": "no",  # ``watch`` asks for a log at every step
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,
        "ddp_backend": "gloo" if device == "cpu" and "RANK" in os.environ else None,
    }
    try:
        return SFTConfig(**{**ours, **extra_arguments(spec)})
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "ArgumentsRefused", f"training.extraArguments: {str(error).splitlines()[0][:300]}", "Correct or remove the argument."
        ) from error
