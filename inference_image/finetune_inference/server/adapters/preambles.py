"""Prompt, p-tuned and prefix adapters: what stands before every prompt, taken from the one tensor that PEFT saves of them."""

from collections.abc import Mapping
from typing import Any

import torch

from finetune_inference.server.adapters.files import CONFIG, WEIGHTS
from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_inference.server.sequence import Preamble

TENSOR = "prompt_embeddings"
KINDS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")


def preamble(
    settings: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], base: Any, device: torch.device, dtype: torch.dtype
) -> Preamble:
    """``base`` is the configuration of the base model's text part.

    Raises:
        AdapterRefused: the tensor is missing or of another shape than the base model takes.
    """
    if set(tensors) != {TENSOR}:
        raise AdapterRefused(f"{WEIGHTS} has {', '.join(sorted(tensors)) or 'nothing'}, where {TENSOR} alone was expected")
    tokens = settings.get("num_virtual_tokens")
    heads = getattr(base, "num_key_value_heads", None) or base.num_attention_heads
    width = getattr(base, "head_dim", None) or base.hidden_size // base.num_attention_heads
    prefix = settings.get("peft_type") == "PREFIX_TUNING"
    expected = (tokens, base.num_hidden_layers * 2 * heads * width if prefix else base.hidden_size)
    found = tensors[TENSOR].to(device, dtype)
    if tuple(found.shape) != expected or not isinstance(tokens, int):
        raise AdapterRefused(f"{WEIGHTS}: {TENSOR} is {tuple(found.shape)}, {CONFIG} and the base model ask for {expected}")
    if not prefix:
        return Preamble(tokens, embeddings=found)
    by_layer = found.view(tokens, base.num_hidden_layers, 2, heads, width).permute(1, 2, 3, 0, 4)
    return Preamble(tokens, states=tuple((layer[0][None], layer[1][None]) for layer in by_layer))
