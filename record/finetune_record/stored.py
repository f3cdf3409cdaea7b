"""Chains and their anchors as people keep them: what ``kubectl get configmaps -o json`` prints, a folder of such files, or a log."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from finetune_record.chain import LoggedHead
from finetune_record.layout import CHECKPOINT_FILE, RECORD_FILE


class StoredUnreadable(ValueError):
    """Not a list of ConfigMaps, and no envelope either."""


@dataclass(frozen=True)
class Stored:
    """A signed text with the name it is stored under."""

    name: str
    text: bytes


def read_records(path: Path) -> list[Stored]:
    """The records in a file or folder, in the order in which they are stored. Raises `StoredUnreadable`, ``OSError``."""
    return list(_read(path, RECORD_FILE))


@dataclass(frozen=True)
class LogLine:
    """A head that a log tells, and the number of the line."""

    name: str
    told: LoggedHead


_TOLD: Final = re.compile(r"record ([1-9][0-9]{0,14}) of namespace ([-a-z0-9]{1,63}) is (sha256:[0-9a-f]{64})")
"""How the operator logs the head of a chain."""


def read_anchors(path: Path) -> list[Stored | LogLine]:
    """The checkpoints in a file or folder, or the heads that a log tells. Raises `StoredUnreadable`, ``OSError``."""
    if path.is_dir():
        return [anchor for file in sorted(path.iterdir()) for anchor in read_anchors(file)]
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    told = [(number, match) for number, line in enumerate(lines, start=1) if (match := _TOLD.search(line))]
    if told:
        return [LogLine(f"{path.name}:{number}", LoggedHead(match[2], int(match[1]), match[3])) for number, match in told]
    return list(_read(path, CHECKPOINT_FILE))


def _read(path: Path, key: str) -> Iterator[Stored]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield from _read(file, key)
        return
    try:
        document = _parsed(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ValueError as error:
        raise StoredUnreadable(f"{path.name} is not JSON: {error}") from error
    yield from _of(document, key, path.name)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _of(document: Any, key: str, source: str) -> Iterator[Stored]:
    """A List, a ConfigMap, or a bare envelope."""
    if not isinstance(document, dict):
        raise StoredUnreadable(f"{source} holds no ConfigMaps")
    if isinstance(document.get("items"), list):
        for position, item in enumerate(document["items"]):
            yield from _of(item, key, f"{source}: items[{position}]")
    elif "payload" in document and "signatures" in document:
        yield Stored(source.removesuffix(".json"), json.dumps(document, separators=(",", ":"), sort_keys=True).encode())
    else:
        yield _config_map(document, key, source)


def _config_map(document: dict[str, Any], key: str, source: str) -> Stored:
    data, metadata = document.get("data"), document.get("metadata")
    text = data.get(key) if isinstance(data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(text, str) or not isinstance(name, str):
        raise StoredUnreadable(f"{source} is no ConfigMap with a name and the key {key}")
    return Stored(name, text.encode("utf-8", errors="surrogateescape"))
