"""The pod's own copies of artifacts, each in a folder named by its digest.

A name appears only when the content is on the disk and its digest is right; it goes away by a rename. Whatever else lies in the store is
the rest of an interrupted step and is swept.
"""

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from finetune_inference.artifact.contents import Limits, folder_digest
from finetune_inference.artifact.copying import copy_artifact
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.place import place_of
from finetune_inference.artifact.record import Examined, examine
from finetune_inference.artifact.sealing import flush_folder
from finetune_trainer.contract import Digest

_HEX = re.compile(r"[0-9a-f]{64}")
_LEFT_OVER = re.compile(r"\.[0-9a-f]{64}\.(tmp|old)")


def digest_hex(digest: Digest) -> str:
    """The name of an artifact's folder."""
    return digest.removeprefix("sha256:")


class Store:
    """Everything here blocks: call it from a thread. Only one process uses a store."""

    def __init__(self, folder: Path, claims: Mapping[str, Path], limits: Limits | None = None) -> None:
        self.folder = folder
        self._claims = dict(claims)
        self._limits = limits or Limits()

    def open(self) -> None:
        """Make the folder and sweep what an interrupted step left. Raises ``OSError``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if _LEFT_OVER.fullmatch(path.name):
                _remove(path)

    def path(self, digest: Digest) -> Path:
        return self.folder / digest_hex(digest)

    def intact(self, digest: Digest, proceed: Callable[[], bool] = lambda: True) -> bool:
        """Hash what is there. Damaged content is removed, so that it is fetched again and no engine reads it. Raises ``OSError``."""
        path = self.path(digest)
        if not path.is_dir() or path.is_symlink():
            _remove(path)
            return False
        try:
            if folder_digest(path, proceed) == digest:
                return True
        except IntakeError:
            pass  # something other than plain files: as wrong as another digest
        self._drop(path)
        return False

    def fetch(self, uri: str, digest: Digest, proceed: Callable[[], bool] = lambda: True) -> Path:
        """Make sure that the artifact is here and whole, and return its folder.

        Raises ``IntakeError`` with the way out, ``OSError`` when a disk refuses, ``Interrupted`` when ``proceed`` says no.
        """
        target = self.path(digest)
        if self.intact(digest, proceed):
            return target
        place = place_of(uri, self._claims)
        staged = self.folder / f".{digest_hex(digest)}.tmp"
        _remove(staged)
        staged.mkdir(mode=0o755)
        try:
            found = copy_artifact(place, staged, self._limits, proceed)
            if found != digest:
                way_out = "Correct the digest, or publish the artifact again: its files are not those that were named."
                raise IntakeError("DigestMismatch", "digest", f"the files at the uri have digest {found}, wanted is {digest}", way_out)
            staged.rename(target)
        finally:
            _remove(staged)
        flush_folder(self.folder)
        return target

    def record(self, uri: str, digest: Digest, public_keys: Sequence[str]) -> Examined:
        """What the record beside the artifact says, before any of its files is taken. Raises ``IntakeError``, ``OSError``."""
        return examine(uri, digest, self._claims, public_keys)

    def collect(self, keep: Collection[Digest]) -> tuple[str, ...]:
        """Remove the artifacts that are not in ``keep`` and return their names. Raises ``OSError``."""
        wanted = {digest_hex(digest) for digest in keep}
        removed = sorted(path.name for path in self.folder.iterdir() if _HEX.fullmatch(path.name) and path.name not in wanted)
        for name in removed:
            self._drop(self.folder / name)
        return tuple(removed)

    def held(self) -> frozenset[Digest]:
        """The digests whose names are here, whole or not. Raises ``OSError``."""
        return frozenset(f"sha256:{path.name}" for path in self.folder.iterdir() if _HEX.fullmatch(path.name))

    def _drop(self, path: Path) -> None:
        """A half-removed artifact never carries its name."""
        old = self.folder / f".{path.name}.old"
        _remove(old)
        path.rename(old)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
