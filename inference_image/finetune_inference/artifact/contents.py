"""What an artifact may consist of, and the digest that names it: SHA-256 over the sorted names and sums of its files, as at publishing."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from finetune_inference.artifact.errors import IntakeError, Interrupted
from finetune_trainer.contract import Digest, canonical_json, digest_of

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})
"""Formats whose loading can run code."""

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
ADAPTER_CONFIG = "adapter_config.json"
FACTS_FILE = "finetune.json"
WEIGHT_INDEX = "model.safetensors.index.json"
_KNOWN = frozenset({*TOKENIZER_FILES, ADAPTER_CONFIG, FACTS_FILE, WEIGHT_INDEX, "config.json", "generation_config.json"})
_PROSE = frozenset({"README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"})
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much of an artifact is taken at most."""

    bytes: int = 8 << 30
    files: int = 64


def refuse_name(name: str) -> None:
    """Raise ``IntakeError`` unless a file of this name may be part of an artifact."""
    suffix = Path(name).suffix.lower()
    if suffix in PICKLE_SUFFIXES:
        way_out = "Save the adapter again with save_pretrained(…, safe_serialization=True) and publish that folder."
        raise IntakeError("PickleRefused", name, "loading this format can run code", way_out)
    if name not in _KNOWN | _PROSE and suffix != ".safetensors":
        way_out = "Publish adapter_config.json, finetune.json, *.safetensors and the tokenizer's files, and nothing else."
        raise IntakeError("FileUnexpected", name, "is no part of an adapter", way_out)


def refuse_kind(name: str, mode: int) -> None:
    """Raise ``IntakeError`` unless ``mode`` is that of a regular file: anything else can change its meaning between look and read."""
    if stat.S_ISLNK(mode):
        raise IntakeError(
            "SymlinkRefused", name, "is a symbolic link", "Publish the file itself: cp -L, or an artifact as the publish step writes it."
        )
    if stat.S_ISDIR(mode):
        raise IntakeError("FileUnexpected", name, "is a folder", "An artifact is one flat folder: publish only its files.")
    if not stat.S_ISREG(mode):
        raise IntakeError("SpecialFileRefused", name, "is neither a file nor a folder", "Remove it and publish the artifact again.")


def digest_of_files(files: Iterable[tuple[str, str]]) -> Digest:
    """The artifact digest of ``(name, sha256:<hex>)`` pairs."""
    return digest_of(canonical_json(sorted([name, digest] for name, digest in files)).encode())


def file_digest(path: Path) -> Digest:
    """``sha256:<hex>`` of a regular file's bytes. Raises ``OSError``, also for a symbolic link."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return "sha256:" + digest.hexdigest()


def folder_digest(folder: Path, proceed: Callable[[], bool] = lambda: True) -> Digest:
    """Hash what lies in a flat folder. Raises ``IntakeError`` for what is no plain file, ``OSError``, ``Interrupted``."""
    found = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not proceed():
                raise Interrupted
            refuse_kind(entry.name, entry.stat(follow_symlinks=False).st_mode)
            found.append((entry.name, file_digest(folder / entry.name)))
    return digest_of_files(found)
