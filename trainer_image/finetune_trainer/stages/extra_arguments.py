"""``training.extraArguments``: which knobs of the library underneath are open, checked against its configuration class from its source.

Only arguments that take effect here are accepted. Those that the run spec has a field for, those that would send something out of the pod
and those that belong to parts of the library that are not used are refused, each with a word on why.
"""

import difflib
import importlib.util
import math
from typing import Any

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import ConfigurationError
from finetune_trainer.stages.defaults import SCHEDULERS
from finetune_trainer.stages.library_source import configuration_fields, optimizers, schedules

_OPEN: dict[str, tuple[type, ...]] = {
    "adam_beta1": (float, int),
    "adam_beta2": (float, int),
    "adam_epsilon": (float, int),
    "dataloader_num_workers": (int,),
    "ddp_timeout": (int,),
    "lr_scheduler_kwargs": (dict,),
    "lr_scheduler_type": (str,),
    "neftune_noise_alpha": (float, int),
    "optim": (str,),
    "optim_args": (str,),
    "torch_empty_cache_steps": (int,),
    "tf32": (bool,),
}
_FIELD_OF = {
    "activation_checkpointing": "training.gradientCheckpointing",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "gradient_accumulation_steps": "training.batchSize and training.microBatchSize",
    "gradient_checkpointing": "training.gradientCheckpointing",
    "learning_rate": "training.learningRate",
    "max_grad_norm": "training.maxGradientNorm",
    "max_length": "training.maxSequenceLength",
    "max_steps": "training.maxSteps",
    "num_train_epochs": "training.epochs",
    "packing": "training.packing",
    "per_device_train_batch_size": "training.microBatchSize",
    "save_steps": "checkpoint.everySeconds",
    "save_total_limit": "checkpoint.keep",
    "eval_steps": "training.evaluateEverySteps",
    "seed": "training.seed",
    "warmup_ratio": "training.warmupFraction",
    "warmup_steps": "training.warmupFraction",
    "weight_decay": "training.weightDecay",
    "assistant_only_loss": "training.lossOn",
    "completion_only_loss": "training.lossOn",
    "use_cpu": "resources.gpus",
}
_BELOW = {"adam_beta1": 1.0, "adam_beta2": 1.0}
_AT_LEAST = {"ddp_timeout": 1, "torch_empty_cache_steps": 1}
_NEEDS_PACKAGE = {
    "adalomo": "lomo_optim",
    "adamw_anyprecision": "torchdistx",
    "adamw_torch_4bit": "torchao",
    "adamw_torch_8bit": "torchao",
    "adamw_torch_npu_fused": "torch_npu",
    "adamw_torch_xla": "torch_xla",
    "apollo": "apollo_torch",
    "galore": "galore_torch",
    "grokadamw": "grokadamw",
    "lomo": "lomo_optim",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
}
"""Optimizers, by the beginning of their names, that the library takes from another package."""
_NEEDS_EVALUATION = {"reduce_lr_on_plateau", "greedy"}
"""Schedules that follow the library's own evaluation, which does not run here."""
_NEEDS_FLOOR = {"cosine_with_min_lr", "cosine_warmup_with_min_lr"}


def check_extra_arguments(spec: RunSpec) -> None:
    """Raise ``ConfigurationError`` for the first argument that is unknown, not open or of a wrong type or value. Imports no torch."""
    for name, value in sorted(spec.training.extra_arguments.items()):
        field = f"training.extraArguments.{name}"
        if name in _OPEN:
            if not isinstance(value, _OPEN[name]) or (isinstance(value, bool) and bool not in _OPEN[name]):
                wanted = _OPEN[name][0].__name__
                raise ConfigurationError(
                    "InvalidArgument", f"{field}: a {type(value).__name__} where a {wanted} belongs", "Correct the value."
                )
            _check_bounds(name, value)
        elif name in _FIELD_OF:
            raise ConfigurationError("ArgumentHasField", f"{field}: the FineTuneJob has a field for this", f"Use {_FIELD_OF[name]}.")
        elif name in known_arguments():
            raise ConfigurationError(
                "ArgumentNotOpen",
                f"{field}: this argument has no effect here, cannot work in the image or reaches out of the pod",
                f"Open are {', '.join(_OPEN)}.",
            )
        else:
            near = difflib.get_close_matches(name, _OPEN, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Open are {', '.join(_OPEN)}."
            raise ConfigurationError("UnknownArgument", f"{field}: the training library knows no such argument", hint)
    _check_values(spec)


def extra_arguments(spec: RunSpec) -> dict[str, Any]:
    """The checked arguments, ready for the configuration class."""
    check_extra_arguments(spec)
    return dict(spec.training.extra_arguments)


def known_arguments() -> frozenset[str]:
    """Every field of the installed configuration class, read from its source."""
    return configuration_fields()


def usable_optimizers() -> list[str]:
    """The library's optimizers whose packages are installed."""
    return sorted(name for name in optimizers() if not _missing_package(name))


def usable_schedules() -> list[str]:
    return sorted(set(schedules()) - _NEEDS_EVALUATION)


def _missing_package(optimizer: str) -> str | None:
    packages = [package for beginning, package in _NEEDS_PACKAGE.items() if optimizer.startswith(beginning)]
    return next((package for package in packages if importlib.util.find_spec(package) is None), None)


def _check_bounds(name: str, value: Any) -> None:
    """Refuse numbers that an optimizer or the library refuses; what is left open may still be unwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, below = _AT_LEAST.get(name, 0), _BELOW.get(name, math.inf)
    if not least <= value < below:
        bounds = f"at least {least}" + (f" and below {below:g}" if below < math.inf else "")
        raise ConfigurationError("InvalidArgument", f"training.extraArguments.{name}: {value} is not {bounds}", "Correct the value.")


def _check_values(spec: RunSpec) -> None:
    """Names that the library would look up in the train step only."""
    arguments = spec.training.extra_arguments
    optimizer = arguments.get("optim")
    if optimizer is not None and optimizer not in usable_optimizers():
        package = _missing_package(optimizer) if optimizer in optimizers() else None
        why = f"this optimizer needs {package}, which the image lacks" if package else "the training library knows no such optimizer"
        raise _refused("optim", why, f"Correct the value; usable are {', '.join(usable_optimizers())}.")
    schedule = arguments.get("lr_scheduler_type")
    if schedule is not None and schedule not in usable_schedules():
        evaluates = "this schedule follows an evaluation that does not run here"
        why = evaluates if schedule in _NEEDS_EVALUATION else "the training library knows no such schedule"
        raise _refused("lr_scheduler_type", why, f"Correct the value; usable are {', '.join(usable_schedules())}.")
    if schedule is not None or "lr_scheduler_kwargs" in arguments:
        _check_schedule(schedule or SCHEDULERS[spec.training.scheduler], arguments.get("lr_scheduler_kwargs", {}))


def _check_schedule(schedule: str, given: dict[str, Any]) -> None:
    """Whether the function behind a schedule takes the arguments that it is given, and gets those it needs."""
    arguments, name = schedules()[schedule], "lr_scheduler_kwargs"
    accepted = ", ".join(sorted(arguments.accepted or ())) or "none"
    for argument in sorted(given):
        if arguments.accepted is not None and argument not in arguments.accepted:
            raise _refused(name, f"the schedule {schedule} takes no {argument}", f"Correct the arguments; it takes {accepted}.")
    missing = sorted(arguments.required - set(given))
    if missing:
        raise _refused(name, f"the schedule {schedule} needs {missing[0]}", f"Correct the arguments: add {missing[0]}.")
    if schedule in _NEEDS_FLOOR and len({"min_lr", "min_lr_rate"} & set(given)) != 1:
        raise _refused(name, f"the schedule {schedule} needs either min_lr or min_lr_rate", "Correct the arguments: set one of the two.")


def _refused(name: str, why: str, hint: str) -> ConfigurationError:
    return ConfigurationError("ArgumentsRefused", f"training.extraArguments.{name}: {why}", hint)
