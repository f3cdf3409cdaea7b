"""What an artifact may consist of, and the digest that names it.

The digest covers the sorted names and SHA-256 sums of the files and nothing else: no time, no run, no path. Equal content has equal names.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from finetune_trainer.contract import canonical_json, digest_of
from finetune_trainer.contract.runspec import (
    ARTIFACT_MOUNT,
    BASE_MOUNT,
    DATA_MOUNT,
    EVALUATION_MOUNT,
    OUT_MOUNT,
    VALIDATION_MOUNT,
    WORK_MOUNT,
)
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.sealing import file_digest

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})
"""Formats whose loading can run code. None is read, none is published."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
"""Taken byte for byte from the base model: what trained with it must be served with it."""

CONTRACT_FILE = "finetune.json"

_CONTAINER_PATHS = tuple(
    mount + "/"
    for mount in (BASE_MOUNT, DATA_MOUNT, VALIDATION_MOUNT, EVALUATION_MOUNT, WORK_MOUNT, OUT_MOUNT, ARTIFACT_MOUNT, "/tmp")  # noqa: S108
)


@dataclass(frozen=True)
class ArtifactFile:
    name: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class Artifact:
    """A folder's content; ``files`` is sorted by name."""

    files: tuple[ArtifactFile, ...]

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over ``[[name, digest], …]`` as canonical JSON."""
        return digest_of(canonical_json([[file.name, file.digest] for file in self.files]).encode())

    @property
    def hex(self) -> str:
        """The artifact's name on a volume."""
        return self.digest.removeprefix("sha256:")

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def inspect(folder: Path) -> Artifact:
    """Read a folder's content; a missing folder is an empty artifact. Raises ``OSError``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return Artifact(
        tuple(
            sorted(
                (ArtifactFile(path.relative_to(folder).as_posix(), file_digest(path), path.stat().st_size) for path in files),
                key=lambda file: file.name,
            )
        )
    )


def refuse_pickles(folder: Path) -> None:
    """Raise ``ModelError`` if any file below ``folder`` is of a format whose loading can run code."""
    if found := sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLE_SUFFIXES):
        raise ModelError(
            "PickleRefused", f"{', '.join(found[:4])}: loading this format can run code", "Only safetensors weights are read and published."
        )


def refuse_damaged_weights(folder: Path) -> None:
    """Raise ``ModelError`` unless there are weights and every safetensors file has a readable header with at least one tensor."""
    weights = sorted(folder.glob("*.safetensors"))
    for path in weights:
        try:
            with safe_open(str(path), framework="np") as file:
                tensors = len(list(file.keys()))
        except SafetensorError as error:
            raise ModelError("WeightsDamaged", f"{path.name} is not a whole safetensors file", "Let the train step run again.") from error
        if tensors == 0:
            raise ModelError("WeightsDamaged", f"{path.name} holds no tensor", "Let the train step run again.")
    if not weights:
        raise ModelError("WeightsMissing", "the train step saved no safetensors weights", "Let the train step run again.")


def refuse_container_paths(folder: Path, also: Path | None = None) -> None:
    """Raise ``ModelError`` if a JSON file says where something lay in a pod: such a path means nothing anywhere else."""
    forbidden = (*_CONTAINER_PATHS, *((f"{also}",) if also else ()))
    for path in sorted(folder.rglob("*.json")):
        for text in _strings(json.loads(path.read_text(encoding="utf-8"))) if path.name not in TOKENIZER_FILES else ():
            if text.startswith(forbidden):
                raise ModelError("ContainerPath", f"{path.name} names a path inside the pod", "This is a defect of the trainer: report it.")


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for entry in value.values() for text in _strings(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in _strings(entry)]
    return []
