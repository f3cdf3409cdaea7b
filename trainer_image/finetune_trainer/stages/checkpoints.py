"""Checkpoints that are either whole and this run's own, or not there at all.

The library trusts any folder with the right name: without ``optimizer.pt`` it goes on with a fresh optimizer and says nothing. Here a
folder counts only through its ``MANIFEST.json``, written last: size and SHA-256 of every file, and the fingerprint of what was trained on
what with which versions. Writing happens under another name; the rename is the seal.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_trainer.contract import SealedCheckpoint, canonical_json, digest_of
from finetune_trainer.pod.sealing import file_digest, sync_folder, write_sealed

MANIFEST = "MANIFEST.json"
TRAINED = "trained"
"""The folder with the finished model: its seal means that training need not run again."""
_STEP_NAME = re.compile(r"^checkpoint-(\d+)$")
_BEST_NAME = re.compile(r"^best-(\d+)$")

Fingerprint = Mapping[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose manifest and files were verified."""

    path: Path
    step: int
    digest: str

    @property
    def sealed(self) -> SealedCheckpoint:
        return SealedCheckpoint(step=self.step, digest=self.digest)


@dataclass(frozen=True)
class Found:
    """The newest usable checkpoint, and why newer ones were not taken."""

    newest: Checkpoint | None
    skipped: list[str]


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, root: Path, fingerprint: Fingerprint, keep: int) -> None:
        self._root = root
        self._fingerprint = dict(fingerprint)
        self._keep = keep

    @property
    def root(self) -> Path:
        return self._root

    @property
    def fingerprint(self) -> Fingerprint:
        """What a checkpoint must share with this run."""
        return self._fingerprint

    def draft(self, name: str) -> Path:
        """Where the checkpoint ``name`` is written before it is sealed."""
        return self._root / f".{name}.draft"

    def begin(self, name: str) -> Path:
        """An empty folder to write the checkpoint ``name`` into."""
        draft = self.draft(name)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        return draft

    def seal(self, draft: Path, name: str, step: int) -> Checkpoint:
        """Flush every file of ``draft``, write its manifest, give it its name. Raises ``OSError`` when the volume refuses."""
        files = {}
        for path in sorted(p for p in draft.rglob("*") if p.is_file()):
            _flush(path)
            files[path.relative_to(draft).as_posix()] = {"size": path.stat().st_size, "sha256": file_digest(path)}
        manifest = canonical_json({"version": 1, "step": step, "fingerprint": self._fingerprint, "files": files})
        write_sealed(draft / MANIFEST, manifest)
        target = self._root / name
        if target.exists():
            _remove(target)
        draft.replace(target)
        sync_folder(self._root)
        return Checkpoint(target, step, digest_of(manifest.encode()))

    def newest(self) -> Found:
        """The newest checkpoint that is whole and matches; everything newer is named with the reason why not."""
        skipped: list[str] = []
        for _, path in sorted(self._steps(), reverse=True):
            found = self.verify(path)
            if isinstance(found, Checkpoint):
                return Found(found, skipped)
            skipped.append(f"{path.name}: {found}")
        return Found(None, skipped)

    def verify(self, path: Path, *, content: bool = True) -> Checkpoint | str:
        """The checkpoint at ``path``, or why it must not be loaded; without ``content`` files are measured, not read."""
        try:
            text = (path / MANIFEST).read_text(encoding="utf-8")
            manifest = json.loads(text)
            files, step, fingerprint = manifest["files"], int(manifest["step"]), dict(manifest["fingerprint"])
        except FileNotFoundError:
            return f"no {MANIFEST}: it was not written to its end"
        except NotADirectoryError:
            return "it is no folder"
        except (IsADirectoryError, ValueError, KeyError, TypeError):
            return f"{MANIFEST} is unreadable"
        return _foreign(fingerprint, self._fingerprint) or _torn(path, files, content) or Checkpoint(path, step, digest_of(text.encode()))

    def trained(self) -> Checkpoint | None:
        """The finished model, if it is sealed and this run's."""
        found = self.verify(self._root / TRAINED)
        return found if isinstance(found, Checkpoint) else None

    def prune(self, best_of: Callable[[Path], int | None], best: int | None) -> None:
        """Keep the newest ``keep`` usable checkpoints and the best models they refer to; the newest usable one always stays."""
        usable = [path for _, path in sorted(self._steps(), reverse=True) if isinstance(self.verify(path, content=False), Checkpoint)]
        kept = usable[: self._keep]
        for _, path in self._steps():
            if path not in kept:
                _remove(path)
        wanted = {best, *(best_of(path) for path in kept)}
        for path in self._root.iterdir():
            match = _BEST_NAME.match(path.name)
            if (match and int(match[1]) not in wanted) or path.name.endswith(".draft"):
                _remove(path)

    def _steps(self) -> list[tuple[int, Path]]:
        if not self._root.is_dir():
            return []
        return [(int(match[1]), path) for path in self._root.iterdir() if (match := _STEP_NAME.match(path.name))]


def _foreign(theirs: Mapping[str, Any], ours: Mapping[str, str]) -> str | None:
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            return f"made for another {name} ({_short(theirs.get(name))}, this run has {_short(ours.get(name))})"
    return None


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text.removeprefix("sha256:")[:16]


def _torn(folder: Path, files: Mapping[str, Any], content: bool) -> str | None:
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["size"]:
            return f"{name} has {path.stat().st_size} bytes instead of {expected['size']}"
        if content and file_digest(path) != expected["sha256"]:
            return f"{name} has other content than its manifest says"
    return None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
