"""The few numbers of a model that decide what training it costs, read from its config and the headers of its weights."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_trainer.contract import Lora
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.weights import TensorHeader, read_headers


@dataclass(frozen=True)
class Linear:
    """One linear layer: a matrix of ``outputs`` by ``inputs`` weights."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """Widths in elements, counts of parameters; ``intermediate`` is what one token activates (all chosen experts together)."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_size: int
    parameters: int
    largest_tensor: int
    linears: tuple[Linear, ...]
    tied: bool
    stored_bytes: int
    stored_as: str
    """The commonest type of the weights in their files, as safetensors names it (F32, BF16, F16)."""

    @property
    def linear_parameters(self) -> int:
        return sum(linear.weights for linear in self.linears)

    def adapted(self, lora: Lora) -> tuple[Linear, ...]:
        """The layers that carry an adapter."""
        if lora.target_modules == ["all-linear"]:
            return self.linears
        return tuple(linear for linear in self.linears if any(linear.name.endswith("." + target) for target in lora.target_modules))


def read_shape(folder: Path) -> ModelShape:
    """Raises ``ModelError`` when the config lacks a number that every known architecture has."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if isinstance(config.get("text_config"), dict):
        config = config["text_config"]
    headers = read_headers(folder)
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    heads = _first(config, "num_attention_heads", "n_head")
    wide = (
        config.get("moe_intermediate_size")
        or config.get("intermediate_size")
        or config.get("ffn_dim")
        or config.get("n_inner")
        or 4 * hidden
    )
    experts = config.get("num_experts_per_tok") or 1
    vocabulary = _first(config, "vocab_size")
    return ModelShape(
        hidden=hidden,
        intermediate=int(wide) * int(experts),
        layers=_first(config, "num_hidden_layers", "n_layer"),
        vocabulary=vocabulary,
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_size=int(config.get("head_dim") or hidden // heads),
        parameters=sum(header.elements for header in headers),
        largest_tensor=max(header.elements for header in headers),
        linears=tuple(_linear(header) for header in headers if _is_linear(header)),
        tied=not any(header.name.startswith("lm_head.") for header in headers),
        stored_bytes=sum(header.bytes for header in headers),
        stored_as=Counter(header.dtype for header in headers).most_common(1)[0][0],
    )


def _is_linear(header: TensorHeader) -> bool:
    """Matrices inside the layers; embeddings and the output head are neither adapted nor quantized."""
    outside = ("embed", "wte", "wpe", "lm_head", "norm")
    return len(header.shape) in (2, 3) and header.name.endswith("weight") and not any(word in header.name for word in outside)


def _linear(header: TensorHeader) -> Linear:
    outputs, inputs = header.shape[-2], header.shape[-1]
    copies = header.shape[0] if len(header.shape) == 3 else 1
    return Linear(header.name.removesuffix(".weight"), inputs, outputs * copies)


def _first(config: dict[str, Any], *names: str) -> int:
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise ModelError("ConfigIncomplete", f"baseModel: config.json has no {names[0]}", "Use a base model as its authors published it.")
