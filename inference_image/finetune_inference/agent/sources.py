"""Where the desired set comes from: a file here, a watch of the API server in `deployment_source`; the last good set outlives both."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from finetune_inference.artifact.sealing import write_sealed
from finetune_inference.contract import DesiredSet

_SIZE_LIMIT = 1 << 20


@dataclass(frozen=True)
class SourceAway:
    """The source cannot be reached, or what it gives is no desired set; ``message`` names the field and holds no value."""

    message: str


class DesiredSource(Protocol):
    """Yields what is wanted whenever it changes, and that the source is away when it is. Ends never by itself."""

    def changes(self) -> AsyncIterator[DesiredSet | SourceAway]: ...


class FileSource:
    """A file, looked at every ``seconds``. A mounted ConfigMap replaces it by another inode, which is a change too."""

    def __init__(self, path: Path, seconds: float = 0.5) -> None:
        self._path = path
        self._seconds = seconds

    async def changes(self) -> AsyncIterator[DesiredSet | SourceAway]:
        seen: tuple[int, ...] | str | None = None
        while True:
            found = self._signature()
            if found != seen:
                seen = found
                yield SourceAway(found) if isinstance(found, str) else self._read()
            await asyncio.sleep(self._seconds)

    def _signature(self) -> tuple[int, ...] | str:
        try:
            state = self._path.stat()
        except OSError as error:
            return f"{self._path.name}: {error.strerror}"
        return state.st_ino, state.st_mtime_ns, state.st_size

    def _read(self) -> DesiredSet | SourceAway:
        try:
            with self._path.open("rb") as file:
                content = file.read(_SIZE_LIMIT + 1)
        except OSError as error:
            return SourceAway(f"{self._path.name}: {error.strerror}")
        return parse(content) if len(content) <= _SIZE_LIMIT else SourceAway(f"{self._path.name} is larger than {_SIZE_LIMIT >> 20} MiB")


def parse(content: bytes) -> DesiredSet | SourceAway:
    """A desired set, or why the text is none."""
    try:
        return DesiredSet.from_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        return SourceAway(f"{where}: {first['msg']}"[:400])


class LastGood:
    """The desired set in force, kept on the pod's disk: what an agent that restarts works by until its source answers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> DesiredSet | None:
        """None before there was any, or if the copy is unreadable. Raises ``OSError`` when the disk refuses."""
        try:
            found = parse(self._path.read_bytes())
        except FileNotFoundError:
            return None
        return found if isinstance(found, DesiredSet) else None

    def write(self, desired: DesiredSet) -> None:
        """Raises ``OSError``."""
        write_sealed(self._path, desired.to_json())
