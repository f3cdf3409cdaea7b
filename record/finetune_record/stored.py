"""Chains and checkpoints as people keep them: what ``kubectl get configmaps -o json`` prints, a folder of such files, or lines of a log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def read_checkpoints(path: Path) -> list[Stored]:
    """The checkpoints in a file, a folder or a log with one a line. Raises `StoredUnreadable`, ``OSError``."""
    return list(_read(path, CHECKPOINT_FILE))


def _read(path: Path, key: str) -> Iterator[Stored]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield from _read(file, key)
        return
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        documents = [_parsed(text)]
    except ValueError as error:
        documents = list(_lines(text))
        if not documents:
            raise StoredUnreadable(f"{path.name} is not JSON: {error}") from error
    for document in documents:
        yield from _of(document, key, path.name)


def _lines(text: str) -> Iterator[Any]:
    """The JSON objects that end lines of a log, whatever the log writes before them."""
    for line in text.splitlines():
        start = line.find("{")
        if start >= 0:
            try:
                yield _parsed(line[start:])
            except ValueError:
                continue


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
