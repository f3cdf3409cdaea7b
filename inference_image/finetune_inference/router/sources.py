"""Where route tables come from, behind a protocol: a file here, a watch of the API server in `namespace`.

A table that cannot be read changes nothing: the last good one goes on being served, also after a restart, and the reason is said.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from finetune_inference.contract import RouteTable

LOOK_SECONDS: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejected:
    """What the source has now is no table; the message names source, field and reason."""

    message: str


@dataclass(frozen=True)
class Incomplete:
    """A table to be applied that is not all the source should have: some of it is left out, or as it was before."""

    table: RouteTable
    message: str


class RouteSource(Protocol):
    """Gives what it has now, and then every change, forever; an equal table may come again."""

    def updates(self) -> AsyncIterator[RouteTable | Incomplete | Rejected]: ...


class FileSource:
    """A JSON file that its writer replaces as a whole, or a key of a mounted ConfigMap."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def updates(self) -> AsyncIterator[RouteTable | Incomplete | Rejected]:
        """Compares content, not times: a mounted volume may keep the old ones."""
        before: bytes | str | None = None
        while True:
            try:
                content: bytes | str = self._path.read_bytes()
            except OSError as error:
                content = error.strerror or "cannot be read"
            if content != before:
                before = content
                yield parsed(content, self._path) if isinstance(content, bytes) else Rejected(f"{self._path}: {content}")
            await asyncio.sleep(LOOK_SECONDS)


def parsed(content: bytes, path: Path) -> RouteTable | Rejected:
    """The table in a file's content, or the first thing that is wrong with it."""
    try:
        return RouteTable.from_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return Rejected(f"{path}: {place}: {first['msg']}{more}")


class LastGood:
    """The newest table that was accepted, on disk: what a start without its source serves."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last-good-table.json"

    def keep(self, table: RouteTable) -> None:
        """Replace the file as a whole; a folder that cannot be written is said and costs no traffic."""
        try:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(table.to_json(), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            log.warning("the last good table was not kept: %s: %s", self._path, error.strerror)

    def load(self) -> RouteTable | None:
        """None if there is no usable one."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the last good table cannot be read: %s: %s", self._path, error.strerror)
            return None
        found = parsed(content, self._path)
        if isinstance(found, Rejected):
            log.warning("the last good table is not usable: %s", found.message)
            return None
        return found
