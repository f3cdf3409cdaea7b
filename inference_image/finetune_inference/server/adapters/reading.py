"""From an adapter's files to changes of single layers.

PEFT decides what a configuration means, on a copy of the base model without weights (device ``meta``): which layers it changes, with
which scale, under which names. The tensors of those names then come straight from the file, and the copy is thrown away. The served model
never has PEFT's wrappers, so loading costs the same however many adapters there are, and unloading leaves nothing behind.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from peft.tuners.ia3.layer import IA3Layer
from peft.tuners.ia3.layer import Linear as IA3Linear
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from peft.utils.save_and_load import get_peft_model_state_dict
from torch import nn

from finetune_inference.server.adapters.files import CONFIG, WEIGHTS, AdapterFiles
from finetune_inference.server.adapters.preambles import KINDS, preamble
from finetune_inference.server.adapters.refusals import AdapterRefused
from finetune_inference.server.adapters.settings import refuse_unserved
from finetune_inference.server.adapters.tensors import read_tensors, refuse_unfit
from finetune_inference.server.rows import Change, LowRank, Magnitude, Rescale
from finetune_inference.server.sequence import Preamble

_NAME = "default"
_PREFIX = "base_model.model."
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory, ready to be installed: ``changes`` by layer, or a preamble before every prompt."""

    kind: str
    rank: int
    changes: dict[str, Change] = field(default_factory=dict)
    preamble: Preamble | None = None


@dataclass(frozen=True)
class Reader:
    """``skeleton`` is the base model without weights, ``base_layer`` finds the real one's layers by name."""

    skeleton: Any
    base_layer: Callable[[str], nn.Module]
    device: torch.device
    dtype: torch.dtype
    max_rank: int
    max_virtual_tokens: int

    def read(self, files: AdapterFiles) -> Adapter:
        """Load and check an adapter; takes seconds, holds nothing of the engine.

        Raises:
            AdapterRefused: it cannot be served here, with the reason.
        """
        refuse_unserved(files.config, self.max_rank, self.max_virtual_tokens)
        tensors = read_tensors(files.weights)
        if files.config["peft_type"] in KINDS:
            text = self.skeleton.config.get_text_config()
            return Adapter(files.config["peft_type"], 0, preamble=preamble(files.config, tensors, text, self.device, self.dtype))
        config = _config(files)
        with torch.no_grad():
            peft = self._applied(config)
            refuse_unfit(get_peft_model_state_dict(peft, save_embedding_layers=False), self._without_base(tensors))
            return self._changes(peft.base_model.model, config, tensors)

    def _applied(self, config: Any) -> Any:
        """The skeleton with this configuration applied."""
        try:
            return get_peft_model(copy.deepcopy(self.skeleton), config, low_cpu_mem_usage=True)
        except (ValueError, KeyError, TypeError) as error:
            raise AdapterRefused(f"{CONFIG} does not fit the base model: {_one_line(error)}") from error

    def _without_base(self, tensors: Tensors) -> Tensors:
        """Without copies of base weights, which PEFT may add when the output layer is adapted; they must be the served ones."""
        own = {}
        for name, tensor in tensors.items():
            layer, is_base, parameter = name.removeprefix(_PREFIX).partition(".base_layer.")
            if not is_base:
                own[name] = tensor
                continue
            served = getattr(self.base_layer(layer), parameter)
            if served.shape != tensor.shape or not torch.equal(served.cpu(), tensor.to(served.dtype)):
                raise AdapterRefused(f"{WEIGHTS}: {name} differs from the base model's own; merge the adapter into the base model")
        return own

    def _changes(self, model: nn.Module, config: Any, tensors: Tensors) -> Adapter:
        changes: dict[str, Change] = {}
        rank = 0
        for name, layer in model.named_modules():
            if isinstance(layer, LoraLinear):
                changes[name] = self._low_rank(name, layer, tensors)
                rank = max(rank, int(layer.r[_NAME]))
            elif isinstance(layer, IA3Linear):
                factor = tensors[f"{_PREFIX}{name}.ia3_l"].flatten()
                changes[name] = Rescale(factor, on_input=layer.is_feedforward).to(self.device, self.dtype)
            elif isinstance(layer, LoraLayer | IA3Layer):
                raise AdapterRefused(f"{CONFIG} target_modules: {name} is no linear layer; merge the adapter into the base model")
            if name in changes and "expert" in name:
                raise AdapterRefused(f"{CONFIG} target_modules: {name} sees tokens of many rows at once; merge the adapter")
        if rank > self.max_rank:
            raise AdapterRefused(f"{CONFIG} r: rank {rank} is above this server's {self.max_rank}; raise --max-lora-rank")
        return Adapter(config.peft_type.value, rank, changes)

    def _low_rank(self, name: str, layer: Any, tensors: Tensors) -> Change:
        down, up = (tensors[f"{_PREFIX}{name}.lora_{side}.weight"].float() for side in "AB")
        change = LowRank(down, up * layer.scaling[_NAME])
        if _NAME not in layer.lora_variant:
            return change.to(self.device, self.dtype)
        if not layer.use_dora[_NAME] or layer.fan_in_fan_out:
            raise AdapterRefused(f"{CONFIG}: the LoRA variant of {name} is not served; merge the adapter into the base model")
        base = self.base_layer(name)
        weight: torch.Tensor = base.weight
        if not weight.is_floating_point() or tuple(weight.shape) != (up.shape[0], down.shape[1]):
            # Its norms need the weights as numbers, and a four-bit layer on a CPU gives wrong ones back once it has been used.
            raise AdapterRefused(f"{CONFIG} use_dora: not on a quantised base model; serve it on the full-precision one")
        weight = weight.float()
        norm = torch.linalg.norm(weight + (change.up @ change.down).to(weight.device), dim=1)
        stretch = tensors[f"{_PREFIX}{name}.lora_magnitude_vector"].float().to(norm.device) / norm
        bias = getattr(base, "bias", None)
        return Magnitude(change, stretch, None if bias is None else bias.detach()).to(self.device, self.dtype)


def _config(files: AdapterFiles) -> Any:
    try:
        config = PeftConfig.from_pretrained(str(files.folder))
    except (TypeError, ValueError) as error:
        raise AdapterRefused(f"{CONFIG} cannot be read: {_one_line(error)}") from error
    config.inference_mode = True
    config.init_lora_weights = False
    return config


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
