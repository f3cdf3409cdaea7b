"""What an adapter's configuration may say. The rest is refused with the way out, before any weight is read."""

from collections.abc import Mapping
from typing import Any

from finetune_inference.server.adapters.files import CONFIG
from finetune_inference.server.adapters.refusals import AdapterRefused

SERVED = ("LORA", "IA3", "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
MERGE = "merge the adapter into the base model"
REFUSED = {
    "modules_to_save": "whole layers cannot differ from row to row",
    "trainable_token_indices": "embeddings cannot differ from row to row",
    "target_parameters": "parameters outside linear layers are not served",
    "layer_replication": "it changes the base model's depth",
    "lora_bias": "trained biases are not served",
    "alora_invocation_tokens": "activated LoRA is not served",
    "use_bdlora": "block-diagonal LoRA is not served",
    "use_qalora": "quantisation-aware LoRA is not served",
    "arrow_config": "routed LoRA is not served",
}
"""Settings that change more than a layer's output per row, or that this server does not compute, each with its reason."""


def refuse_unserved(config: Mapping[str, Any], max_rank: int, max_virtual_tokens: int) -> None:
    """Raise ``AdapterRefused`` for a configuration that cannot be served here."""
    kind = str(config.get("peft_type"))
    if kind not in SERVED:
        raise AdapterRefused(f"{CONFIG} peft_type: {kind} is not served, {', '.join(SERVED)} are; {MERGE}")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise AdapterRefused(f"{CONFIG} task_type: {config['task_type']} generates no text, CAUSAL_LM does")
    for name, reason in REFUSED.items():
        if config.get(name):
            raise AdapterRefused(f"{CONFIG} {name}: {reason}; {MERGE}")
    if config.get("bias", "none") != "none":
        raise AdapterRefused(f"{CONFIG} bias: trained biases are not served; {MERGE}")
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()] if kind == "LORA" else []
    highest = max((rank for rank in ranks if isinstance(rank, int)), default=0)
    if highest > max_rank:
        raise AdapterRefused(f"{CONFIG} r: rank {highest} is above this server's {max_rank}; raise --max-lora-rank")
    virtual = config.get("num_virtual_tokens") or 0
    if virtual > max_virtual_tokens:
        raise AdapterRefused(f"{CONFIG} num_virtual_tokens: {virtual} is above the {max_virtual_tokens} that --max-model-len allows")
