"""Reads from an adapter's and a base model's folder what compatibility is judged by: JSON, names and shapes, never a weight.

Both folders come from elsewhere, so every file is bounded, and what cannot be read is refused by name.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from finetune_inference.artifact.compatibility import AdapterFacts, BaseFacts
from finetune_inference.artifact.contents import ADAPTER_CONFIG, FACTS_FILE, TOKENIZER_FILES, WEIGHT_INDEX, digest_of_files
from finetune_inference.artifact.errors import IntakeError
from finetune_trainer.contract import Digest, digest_of

_JSON_LIMIT = 64 << 20
_WITH_CODE = (ADAPTER_CONFIG, "config.json", "tokenizer_config.json")
"""Where a loader looks for code that travels with the weights."""
_TEMPLATE_FILE = "chat_template.jinja"
_AGAIN = "Publish the artifact again: the file was cut off or changed on its way."


def adapter_facts(folder: Path) -> AdapterFacts:
    """What the artifact in ``folder`` says of itself. Raises ``IntakeError`` for unreadable files, ``OSError``."""
    files = tuple(sorted(path.name for path in folder.iterdir()))
    index = _json(folder / WEIGHT_INDEX) or {}
    shards = index.get("weight_map")
    named = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    if foreign := sorted(named - set(files)):
        raise IntakeError("WeightsMissing", WEIGHT_INDEX, f"names {foreign[0][:80]}, which is no file of the artifact", _AGAIN)
    tensors: dict[str, tuple[int, ...]] = {}
    for name in files:
        if name.endswith(".safetensors"):
            tensors.update(tensor_shapes(folder / name))
    return AdapterFacts(
        files=files,
        config=_json(folder / ADAPTER_CONFIG),
        facts=_json(folder / FACTS_FILE),
        tensors=tensors,
        runs_code=tuple(name for name in _WITH_CODE if (_json(folder / name) or {}).get("auto_map")),
    )


def base_facts(folder: Path | None, digest: Digest | None) -> BaseFacts:
    """What is known of the base model; without a folder only the digest that was declared. Raises ``IntakeError``, ``OSError``."""
    if folder is None:
        return BaseFacts(digest=digest)
    present = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    template = _template(folder)
    return BaseFacts(
        digest=digest,
        config=_json(folder / "config.json"),
        tokenizer_digest=digest_of_files((name, _linked_digest(folder / name)) for name in present) if present else None,
        template_digest=digest_of(template.encode()) if template else None,
        knows_template=bool(present),
    )


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a safetensors file, from its header alone. Raises ``IntakeError`` for a damaged one."""
    try:
        with safe_open(str(path), framework="np") as file:
            return {str(name): tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  not a mapping
    except SafetensorError as error:
        raise IntakeError("WeightsDamaged", path.name, "is not a whole safetensors file", _AGAIN) from error


def _template(folder: Path) -> str | None:
    """The chat template as the tokenizer would load it: a file of its own counts before the entry in the tokenizer's config."""
    if (folder / _TEMPLATE_FILE).is_file():
        return (folder / _TEMPLATE_FILE).read_text(encoding="utf-8")
    found = (_json(folder / "tokenizer_config.json") or {}).get("chat_template")
    return found if isinstance(found, str) else None


def _linked_digest(path: Path) -> Digest:
    """A base model's folder may hold links, as the hub's cache does; it is the server's own and trusted."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    if path.stat().st_size > _JSON_LIMIT:
        raise IntakeError("FileUnreadable", path.name, f"is larger than {_JSON_LIMIT >> 20} MiB", _AGAIN)
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IntakeError("FileUnreadable", path.name, "is not JSON", _AGAIN) from error
    return document if isinstance(document, dict) else None
