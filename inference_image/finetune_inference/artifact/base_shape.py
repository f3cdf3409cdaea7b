"""Sizes of a decoder's linear layers, from its ``config.json`` alone.

Covers the families whose layers are named as Llama's are, with or without fused projections. For any other nothing is known here, and the
engine's own check decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LLAMA_LIKE = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2"}
    | {"granite", "cohere", "cohere2", "starcoder2", "exaone4"}
)
_OWN_HEAD_SIZE = frozenset({"gemma", "gemma2", "gemma3_text", "qwen3"})
"""Families whose heads are of a size of their own where the config names none."""


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
    if config is None or "vision_config" in config or str(config.get("model_type")) not in LLAMA_LIKE:
        return None
    hidden, inner, layers, heads, vocabulary = (
        _size(config, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    )
    if not (hidden and inner and layers and heads and vocabulary):
        return None
    kind = str(config["model_type"])
    head = _size(config, "head_dim") or (None if kind in _OWN_HEAD_SIZE else hidden // heads)
    groups = _size(config, "num_key_value_heads") or (heads if kind == "llama" else None)
    if not (head and groups):
        return None
    keys = groups * head
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
