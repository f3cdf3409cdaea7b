"""Locks between processes: for what is made once on a host, and for what the first of several changes and the last puts back."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(lock: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file; `on_wait` is called before waiting for another holder."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def held_beside(folder: Path) -> Iterator[None]:
    """Hold what decides about a folder that comes and goes; the lock file lies beside it and goes when the folder is gone."""
    lock = folder.with_name(f"{folder.name}.lock")
    while True:
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            if not _is_still(lock, stream.fileno()):
                continue  # the holder before removed it: others lock another file of this name
            try:
                yield
            finally:
                if not folder.exists():
                    lock.unlink()
            return


def _is_still(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False
