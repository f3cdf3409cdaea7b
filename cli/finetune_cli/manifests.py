"""Manifests read from files, as people and ``kubectl get -o yaml`` write them: several documents, Lists, YAML or JSON."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from finetune_cli.command import Mistake

Manifest = dict[str, Any]


def read_manifests(files: Iterable[Path]) -> list[Manifest]:
    """Every object of every file. Raises `Mistake` for what cannot be read or is no object."""
    return [manifest for file in files for manifest in _of(file)]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.get("kind") == kind]


def _of(file: Path) -> Iterator[Manifest]:
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise Mistake(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = f", line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) is not None else ""
        raise Mistake(f"{file}{where}: is no YAML") from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise Mistake(f"{file}: holds something that is no Kubernetes object")
        items = document.get("items")
        found = items if str(document.get("kind", "")).endswith("List") and isinstance(items, list) else [document]
        for item in found:
            if not isinstance(item, dict) or not isinstance(item.get("kind"), str) or not isinstance(item.get("metadata"), dict):
                raise Mistake(f"{file}: holds something without kind and metadata")
            yield item
