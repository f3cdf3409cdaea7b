"""Copies an artifact off a volume that others write to: every step by descriptor, so that a swapped link or folder is never followed."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from finetune_inference.artifact.contents import Limits, digest_of_files, refuse_kind, refuse_name
from finetune_inference.artifact.errors import IntakeError, Interrupted
from finetune_inference.artifact.place import Place
from finetune_inference.artifact.sealing import flush_folder
from finetune_trainer.contract import Digest

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def copy_artifact(place: Place, target: Path, limits: Limits, proceed: Callable[[], bool]) -> Digest:
    """Copy the flat folder at ``place`` into the empty ``target`` and return the digest of the bytes written there, flushed to disk.

    Raises ``IntakeError`` for anything that may not be part of an artifact, ``OSError`` when a volume refuses, ``Interrupted``.
    """
    with opened(place) as folder:
        names = _names(folder, limits)
        left, digests = limits.bytes, []
        for name in names:
            digest, size = _copy(name, folder, target / name, left, proceed)
            left -= size
            digests.append((name, digest))
    flush_folder(target)
    return digest_of_files(digests)


@contextmanager
def opened(place: Place) -> Iterator[int]:
    """A descriptor of the folder. Raises ``IntakeError``, ``OSError``."""
    descriptor = os.open(place.mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for depth, part in enumerate(place.parts):
            below = _step(descriptor, part, "/".join(place.parts[: depth + 1]))
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _step(folder: int, part: str, path: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError as error:
        way_out = "Check uri and digest: the folder is named by the digest."
        raise IntakeError("ArtifactMissing", "uri", f"no {path} on the volume", way_out, passing=True) from error
    except NotADirectoryError:
        refuse_kind(path, os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
        way_out = "Point uri at the artifact's folder."
        raise IntakeError("UriInvalid", "uri", f"{path} is a file", way_out) from None


def _names(folder: int, limits: Limits) -> list[str]:
    names = sorted(os.listdir(folder))
    if len(names) > limits.files:
        message = f"{len(names)} files, at most {limits.files} are taken"
        raise IntakeError("TooManyFiles", "uri", message, "Point uri at one artifact, not at the folder that holds several.")
    if not names:
        way_out = "Check uri, and let the publish step run again."
        raise IntakeError("ArtifactMissing", "uri", "the folder is empty", way_out, passing=True)
    size = 0
    for name in names:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        refuse_kind(name, state.st_mode)
        refuse_name(name)
        size += state.st_size
    _refuse_size(size, limits.bytes)
    return names


def _copy(name: str, folder: int, target: Path, left: int, proceed: Callable[[], bool]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with file_in(folder, name) as source, target.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            if not proceed():
                raise Interrupted
            size += len(chunk)
            _refuse_size(size, left)
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fchmod(copy.fileno(), 0o644)  # the engine's container may run as another user
        os.fsync(copy.fileno())
    return "sha256:" + digest.hexdigest(), size


@contextmanager
def file_in(folder: int, name: str) -> Iterator[BinaryIO]:
    """Open a file, and look at what was opened: a plain one. Raises ``IntakeError``, ``OSError``."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse_kind(name, stat.S_IFLNK)
        raise
    with os.fdopen(descriptor, "rb") as file:
        refuse_kind(name, os.fstat(descriptor).st_mode)
        yield file


def _refuse_size(size: int, limit: int) -> None:
    if size > limit:
        way_out = "Deploy an adapter of lower rank, or raise the agent's --max-artifact-bytes."
        raise IntakeError("TooLarge", "uri", f"more than {limit} bytes are left to take", way_out)
