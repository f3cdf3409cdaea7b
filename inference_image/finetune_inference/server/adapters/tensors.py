"""An adapter's tensors: whole, finite, and exactly those that its configuration asks for."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from finetune_inference.server.adapters.files import CONFIG, WEIGHTS
from finetune_inference.server.adapters.refusals import AdapterRefused


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of the file.

    Raises:
        AdapterRefused: the file is damaged, or holds values that would turn every answer into noise.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_file(str(path))
    except SafetensorError as error:
        raise AdapterRefused(f"{WEIGHTS} is not a whole safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterRefused(f"{WEIGHTS}: {name} holds values that are no numbers; train again with a lower learning rate")
    return tensors


def refuse_unfit(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Raise ``AdapterRefused`` unless both have the same names and shapes; ``expected`` needs no content."""
    if not expected:
        raise AdapterRefused(f"{CONFIG} target_modules: the base model has none of these layers")
    if missing := sorted(set(expected) - set(found)):
        raise AdapterRefused(f"{WEIGHTS} lacks {missing[0]}, which {CONFIG} and the base model ask for")
    if extra := sorted(set(found) - set(expected)):
        raise AdapterRefused(f"{WEIGHTS} has {extra[0]}, for which {CONFIG} and the base model have no place")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise AdapterRefused(f"{WEIGHTS}: {name} is {tuple(found[name].shape)}, the base model takes {tuple(tensor.shape)}")
