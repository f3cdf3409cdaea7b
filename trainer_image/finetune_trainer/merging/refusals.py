"""What cannot be merged, told from the two configs alone: before torch is imported and before any weight is read."""

from collections.abc import Mapping
from typing import Any

from finetune_trainer.pod.errors import ConfigurationError, ModelError

MERGEABLE = frozenset(
    {"ADALORA", "BOFT", "FOURIERFT", "HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "LORA", "OFT", "RANDLORA", "SHIRA", "VERA"}
)
"""Kinds of adapter that only change weights, and whose merged model the tests compare with base and adapter."""

_PROMPTS = frozenset({"ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"})
_OWN_SERVER = "Serve it as an adapter with engine Transformers, or train it again with tuner LoRA."
_RETRAIN = "Train it again with tuner LoRA, DoRA or RSLoRA."
_BY_INPUT = {
    "alora_invocation_tokens": "it acts after certain tokens only, and merged weights act on all",
    "arrow_config": "it chooses between adapters token by token, and merged weights cannot",
}
_OTHER_BASE = {
    "layer_replication": "it repeats layers of the base model, and another architecture would have to be served",
    "use_qalora": "it belongs to a quantized base model",
}
_SHIFTING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that move part of the base weights into the adapter: right only on a base that was changed with them."""


def refuse_adapter(config: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` for an adapter that no set of weights can stand for; ``config`` is its adapter_config.json."""
    kind = str(config.get("peft_type")).upper()[:40]
    if kind in _PROMPTS:
        raise _not_mergeable("peft_type", f"{kind} puts learned vectors in front of the input and changes no weight", _OWN_SERVER)
    if kind not in MERGEABLE:
        raise _not_mergeable("peft_type", f"merging {kind} is not known to keep its answers", _RETRAIN)
    for name, reason in {**_BY_INPUT, **_OTHER_BASE}.items():
        if config.get(name):
            raise _not_mergeable(name, reason, _RETRAIN)
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_SHIFTING_STARTS):
        hint = f"Convert it to plain LoRA where it was trained (path_initial_model_for_weight_conversion). {_RETRAIN}"
        raise _not_mergeable("init_lora_weights", f"{start[:40]} moved base weights into the adapter", hint)


def refuse_base(config: Mapping[str, Any]) -> None:
    """Raise ``ModelError`` for a base model whose weights are quantized; ``config`` is its config.json."""
    if config.get("quantization_config"):
        raise ModelError(
            "BaseModelQuantized",
            "base model: config.json says that the weights are quantized; merged into them, the adapter would be rounded away",
            "Merge into the full-precision model that it was made from, also if the adapter was trained on the quantized one (QLoRA).",
        )


def _not_mergeable(field: str, reason: str, hint: str) -> ConfigurationError:
    return ConfigurationError("AdapterNotMergeable", f"adapter_config.json:{field}: {reason}", hint)
