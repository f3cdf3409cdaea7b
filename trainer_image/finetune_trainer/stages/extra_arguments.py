"""``training.extraArguments``: which knobs of the library underneath are open, checked against its configuration class from its source.

Only arguments that take effect here are accepted. Those that the run spec has a field for, those that would send something out of the pod
and those that belong to parts of the library that are not used are refused, each with a word on why.
"""

import ast
import difflib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from finetune_trainer.contract import RunSpec
from finetune_trainer.pod.errors import ConfigurationError

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
    "torch_compile": (bool,),
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
_SOURCES = (("transformers", "training_args.py"), ("trl", "trainer/base_config.py"), ("trl", "trainer/sft_config.py"))


def check_extra_arguments(spec: RunSpec) -> None:
    """Raise ``ConfigurationError`` for the first argument that is unknown, not open or of the wrong type. Imports no torch."""
    for name, value in sorted(spec.training.extra_arguments.items()):
        field = f"training.extraArguments.{name}"
        if name in _OPEN:
            if not isinstance(value, _OPEN[name]) or (isinstance(value, bool) and bool not in _OPEN[name]):
                wanted = _OPEN[name][0].__name__
                raise ConfigurationError(
                    "InvalidArgument", f"{field}: a {type(value).__name__} where a {wanted} belongs", "Correct the value."
                )
        elif name in _FIELD_OF:
            raise ConfigurationError("ArgumentHasField", f"{field}: the FineTuneJob has a field for this", f"Use {_FIELD_OF[name]}.")
        elif name in known_arguments():
            raise ConfigurationError(
                "ArgumentNotOpen", f"{field}: this argument has no effect here or reaches out of the pod", f"Open are {', '.join(_OPEN)}."
            )
        else:
            near = difflib.get_close_matches(name, _OPEN, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Open are {', '.join(_OPEN)}."
            raise ConfigurationError("UnknownArgument", f"{field}: the training library knows no such argument", hint)


def extra_arguments(spec: RunSpec) -> dict[str, Any]:
    """The checked arguments, ready for the configuration class."""
    check_extra_arguments(spec)
    return dict(spec.training.extra_arguments)


@cache
def known_arguments() -> frozenset[str]:
    """Every field of the installed configuration class, read from its source."""
    names: set[str] = set()
    for package, module in _SOURCES:
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            continue
        tree = ast.parse((Path(found.origin).parent / module).read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        fields = [item for node in classes for item in node.body if isinstance(item, ast.AnnAssign)]
        names.update(item.target.id for item in fields if isinstance(item.target, ast.Name))
    return frozenset(names)
