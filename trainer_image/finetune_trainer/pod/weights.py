"""The headers of safetensors files: names, shapes and types of a model's weights without loading one of them.

The format is eight bytes of little-endian length, a JSON header of that length, then the data
(https://github.com/huggingface/safetensors#format).
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from finetune_trainer.pod.errors import ModelError

_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1}
_LARGEST_HEADER = 100 << 20
_AGAIN = "Fetch the base model again: the file was cut off or changed on its way."


@dataclass(frozen=True)
class TensorHeader:
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * _BYTES.get(self.dtype, 4)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load from ``folder``; raises ``ModelError`` when one that an index names is missing."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"] if (folder / "model.safetensors").is_file() else []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError("WeightsDamaged", f"baseModel: {index.name} is no weight index", _AGAIN) from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError("WeightsMissing", f"baseModel: {index.name} names {name}, which is not there", _AGAIN)
    return [folder / name for name in names]


def read_headers(folder: Path) -> list[TensorHeader]:
    """All tensors of the model in ``folder``. Raises ``ModelError`` for a file whose size does not agree with its header."""
    return [header for file in weight_files(folder) for header in _read(file)]


def _read(file: Path) -> list[TensorHeader]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise ModelError("WeightsDamaged", f"baseModel: {file.name} is no safetensors file or ends in its header", _AGAIN)
        try:
            header = json.loads(stream.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
            tensors = [TensorHeader(name, tuple(entry["shape"]), entry["dtype"]) for name, entry in entries.items()]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError("WeightsDamaged", f"baseModel: {file.name} has an unreadable header", _AGAIN) from error
    if size != 8 + length + end:
        raise ModelError("WeightsDamaged", f"baseModel: {file.name} has {size} bytes where {8 + length + end} belong", _AGAIN)
    return tensors
