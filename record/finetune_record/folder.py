"""An adapter as it lies on a disk: each file hashed as it is read, and nothing followed that could lead elsewhere."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from finetune_record.layout import META_SUFFIX
from finetune_record.problems import Check, Problem
from finetune_trainer.contract import Digest

LARGEST_DOCUMENT = 16 << 20
"""Documents about an adapter are read whole up to here; a larger one is hashed only."""
_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Content:
    """Regular files below a folder by their paths; ``others`` are what is no regular file, each with what it is."""

    digests: dict[str, Digest] = field(default_factory=dict)
    bytes: int = 0
    others: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The folder of an adapter and the one with its documents. ``documents`` is None where there is none."""

    path: Path
    files: Content
    documents_path: Path
    documents: Content | None

    def document(self, name: str) -> bytes | None:
        """A document's bytes as they are now; None if it is not there, is no regular file, or is too large. Raises ``OSError``."""
        if self.documents is None or name not in self.documents.digests:
            return None
        with os.fdopen(os.open(self.documents_path / name, _READ), "rb") as file:
            text = file.read(LARGEST_DOCUMENT + 1)
        return text if len(text) <= LARGEST_DOCUMENT else None


def read_published(path: Path) -> Published:
    """What lies at ``path``: an adapter's folder, or a folder that holds one with its documents. Raises ``OSError``."""
    folder = path.resolve(strict=True)
    inner = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.with_name(entry.name + META_SUFFIX).is_dir()]
    if len(inner) == 1 and not folder.with_name(folder.name + META_SUFFIX).exists():
        folder = inner[0]
    meta = folder.with_name(folder.name + META_SUFFIX)
    described = meta.is_dir() and not meta.is_symlink()
    return Published(folder, read_content(folder), meta, read_content(meta) if described else None)


def read_content(folder: Path) -> Content:
    """Everything below a folder. Raises ``OSError``."""
    digests: dict[str, Digest] = {}
    others: dict[str, str] = {}
    total = 0
    for name, mode in _entries(folder, ""):
        if stat.S_ISREG(mode):
            digests[name], size = _hashed(folder / name)
            total += size
        else:
            others[name] = _kind(mode)
    return Content(digests, total, others)


def other_kinds(content: Content, name: str, check: Check) -> list[Problem]:
    """What is no file, with the name of the folder it lies in."""
    return [Problem(check, f"{name}/{entry}", f"is {kind}, where the record knows files only") for entry, kind in content.others.items()]


def _entries(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Every entry with its mode; a folder stands for itself only if it is empty."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name, mode = prefix + entry.name, entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and any(os.scandir(folder / entry.name)):
            yield from _entries(folder / entry.name, f"{name}/")
        else:
            yield name, mode


def _hashed(path: Path) -> tuple[Digest, int]:
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, _READ), "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return "sha256:" + digest.hexdigest(), size


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return "an empty folder" if stat.S_ISDIR(mode) else "neither a file nor a folder"
