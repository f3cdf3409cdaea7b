"""Sizes of a decoder's linear layers, from its ``config.json`` alone.

Covers the families whose layers are named as Llama's are, with or without fused projections. For any other nothing is known here, and the
engine's own check decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LLAMA_LIKE = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2"}
    | {"granite", "stablelm", "cohere", "cohere2", "starcoder2", "exaone4"}
)


@dataclass(frozen=True)
class Linear:
    inputs: int
    outputs: int


@dataclass(frozen=True)
class BaseShape:
    """``linears`` by the last part of a module's name; ``layers`` counts decoder layers."""

    layers: int
    linears: Mapping[str, Linear]


def base_shape(config: Mapping[str, Any] | None) -> BaseShape | None:
    """The layers of the model that ``config`` describes, or None for an architecture that is not known here, such as one that also sees."""
    if config is None or "vision_config" in config:
        return None
    hidden, inner, layers, heads, vocabulary = (
        _size(config, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    )
    if str(config.get("model_type")) not in _LLAMA_LIKE or not (hidden and inner and layers and heads and vocabulary):
        return None
    head = _size(config, "head_dim") or hidden // heads
    keys = (_size(config, "num_key_value_heads") or heads) * head
    return BaseShape(
        layers,
        {
            "q_proj": Linear(hidden, heads * head),
            "k_proj": Linear(hidden, keys),
            "v_proj": Linear(hidden, keys),
            "qkv_proj": Linear(hidden, heads * head + 2 * keys),
            "o_proj": Linear(heads * head, hidden),
            "gate_proj": Linear(hidden, inner),
            "up_proj": Linear(hidden, inner),
            "gate_up_proj": Linear(hidden, 2 * inner),
            "down_proj": Linear(inner, hidden),
            "c_fc": Linear(hidden, inner),
            "c_proj": Linear(inner, hidden),
            "embed_tokens": Linear(vocabulary, hidden),
            "lm_head": Linear(hidden, vocabulary),
        },
    )


def _size(config: Mapping[str, Any], name: str) -> int | None:
    value = config.get(name)
    return value if isinstance(value, int) and value > 0 else None
