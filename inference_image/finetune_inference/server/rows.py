"""A linear layer whose rows may each have an adapter of their own.

PEFT's own mixed batches go through hooks that are attached and removed at every step, and index each layer's input with Python lists: for a
small model that costs more than the model. Here the rows of each adapter are found once per step, and each layer adds one pair of small
products per adapter. The mathematics is PEFT's, and tests hold it to PEFT's answers.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Group:
    """The rows of one adapter; None means all rows of the batch."""

    adapter: str
    rows: torch.Tensor | None


class RowPlan:
    """Which rows have which adapter in the current pass; all layers look here. Rows in no group have the base model."""

    def __init__(self) -> None:
        self.groups: tuple[Group, ...] = ()
        self._names: tuple[str | None, ...] = ()

    def assign(self, names: tuple[str | None, ...], device: torch.device) -> None:
        """One name per row, None for the base model."""
        if names == self._names:
            return
        self._names = names
        present = {name: None for name in names if name is not None}
        if len(present) == 1 and None not in names:
            self.groups = (Group(next(iter(present)), None),)
            return
        self.groups = tuple(
            Group(adapter, torch.tensor([row for row, name in enumerate(names) if name == adapter], device=device)) for adapter in present
        )


class Change(Protocol):
    """What one adapter does to one layer's output, in place. ``inputs`` are its rows, None for all."""

    def apply(self, inputs: torch.Tensor, result: torch.Tensor, rows: torch.Tensor | None, /) -> None: ...

    def to(self, device: torch.device, dtype: torch.dtype) -> "Change": ...


@dataclass(frozen=True)
class LowRank:
    """LoRA: ``down`` is (rank, in), ``up`` is (out, rank) and already scaled."""

    down: torch.Tensor
    up: torch.Tensor

    def apply(self, inputs: torch.Tensor, result: torch.Tensor, rows: torch.Tensor | None) -> None:
        if rows is None:
            flat = result.view(-1, result.shape[-1])
            flat.addmm_(functional.linear(inputs, self.down).view(-1, self.down.shape[0]), self.up.t())
        else:
            hidden = functional.linear(inputs.index_select(0, rows), self.down)
            result.index_add_(0, rows, functional.linear(hidden, self.up))

    def to(self, device: torch.device, dtype: torch.dtype) -> "LowRank":
        return LowRank(self.down.to(device, dtype).contiguous(), self.up.to(device, dtype).contiguous())


@dataclass(frozen=True)
class Magnitude:
    """DoRA: a low-rank change whose columns are then stretched to the learned lengths.

    ``stretch`` is magnitude over norm per output (https://arxiv.org/abs/2402.09353, section 4.3), computed once instead of at every step.
    """

    change: LowRank
    stretch: torch.Tensor
    bias: torch.Tensor | None

    def apply(self, inputs: torch.Tensor, result: torch.Tensor, rows: torch.Tensor | None) -> None:
        if rows is None:
            self._stretch(inputs, result)
        else:
            part = result.index_select(0, rows)
            self._stretch(inputs.index_select(0, rows), part)
            result.index_copy_(0, rows, part)

    def _stretch(self, inputs: torch.Tensor, result: torch.Tensor) -> None:
        if self.bias is not None:
            result.sub_(self.bias)
        self.change.apply(inputs, result, None)
        result.mul_(self.stretch)
        if self.bias is not None:
            result.add_(self.bias)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Magnitude":
        bias = None if self.bias is None else self.bias.to(device, dtype)
        return Magnitude(self.change.to(device, dtype), self.stretch.to(device, dtype), bias)


@dataclass(frozen=True)
class Rescale:
    """IA3: a factor per feature of the output, or of the input for feed-forward layers."""

    factor: torch.Tensor
    on_input: bool = False

    def apply(self, _: torch.Tensor, result: torch.Tensor, rows: torch.Tensor | None) -> None:
        if self.on_input:
            return
        if rows is None:
            result.mul_(self.factor)
        else:
            result.index_copy_(0, rows, result.index_select(0, rows) * self.factor)

    def before(self, inputs: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
        if rows is None:
            return inputs * self.factor
        return inputs.index_copy(0, rows, inputs.index_select(0, rows) * self.factor)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Rescale":
        return Rescale(self.factor.to(device, dtype), self.on_input)


class AdaptedLinear(nn.Module):  # type: ignore[misc]
    """Stands where the base model's layer stood, and asks it first."""

    def __init__(self, base: nn.Module, plan: RowPlan) -> None:
        super().__init__()
        self.base = base
        self._plan = plan
        self._changes: dict[str, Change] = {}
        self._scales_input = False

    def set(self, adapter: str, change: Change) -> None:
        self._changes[adapter] = change
        self._note_inputs()

    def drop(self, adapter: str) -> bool:
        """Forget an adapter; true when nobody is left."""
        self._changes.pop(adapter, None)
        self._note_inputs()
        return not self._changes

    def _note_inputs(self) -> None:
        self._scales_input = any(isinstance(change, Rescale) and change.on_input for change in self._changes.values())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        groups = self._plan.groups
        if not groups:
            return self.base(inputs)
        if self._scales_input:
            inputs = self._scaled(inputs, groups)
        result: torch.Tensor = self.base(inputs)
        for group in groups:
            change = self._changes.get(group.adapter)
            if change is not None:
                change.apply(inputs, result, group.rows)
        return result

    def _scaled(self, inputs: torch.Tensor, groups: tuple[Group, ...]) -> torch.Tensor:
        for group in groups:
            change = self._changes.get(group.adapter)
            if isinstance(change, Rescale) and change.on_input:
                inputs = change.before(inputs, group.rows)
        return inputs


class AdaptedModel:
    """The base model with such layers wherever an adapter needs one. Used from the engine's thread alone."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.plan = RowPlan()
        self._places: dict[str, set[str]] = {}

    def install(self, adapter: str, changes: dict[str, Change]) -> None:
        """``changes`` by the name of the layer in the base model."""
        for name, change in changes.items():
            layer = self.model.get_submodule(name)
            if not isinstance(layer, AdaptedLinear):
                layer = AdaptedLinear(layer, self.plan)
                self.model.set_submodule(name, layer)
            layer.set(adapter, change)
        self._places[adapter] = set(changes)

    def remove(self, adapter: str) -> None:
        """Take an adapter out; layers that no adapter needs any more are the base model's own again."""
        for name in self._places.pop(adapter, ()):
            layer = self.model.get_submodule(name)
            if isinstance(layer, AdaptedLinear) and layer.drop(adapter):
                self.model.set_submodule(name, layer.base)

    def base_layer(self, name: str) -> nn.Module:
        """The base model's own layer of this name."""
        layer = self.model.get_submodule(name)
        return layer.base if isinstance(layer, AdaptedLinear) else layer
