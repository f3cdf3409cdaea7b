"""The reference page of a record's fields, written from the models so that the two cannot disagree."""

from collections.abc import Iterator
from typing import Any

from finetune_record.chain import Checkpoint
from finetune_record.statement import PREDICATE_TYPE, Predicate

_TYPES = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "names with values"}
_FORMATS = {"date-time": "time in UTC"}


def record_page() -> str:
    """Every field of the predicate, and of a checkpoint: path, type, whether it is always there, meaning."""
    lines = [
        "<!-- Generated from the models by hack/manifests.sh; do not edit. -->\n",
        "# Fields of a record\n",
        f"The predicate `{PREDICATE_TYPE}` of the signed in-toto statement. What is absent was not known. How to verify one:",
        "[governance/record.md](../governance/record.md).\n",
    ]
    schema = Predicate.model_json_schema(by_alias=True)
    for section, part in schema["properties"].items():
        lines += [f"## {section}\n", f"{_meaning(part, schema)}\n", *_table(part, schema, section), ""]
    lines += ["## Checkpoint\n", f"{Checkpoint.__doc__}\n", *_table(Checkpoint.model_json_schema(by_alias=True), {}, ""), ""]
    return "\n".join(lines)


def _table(part: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
    rows = [f"| `{path}` | {kind} | {always} | {meaning} |" for path, kind, always, meaning in _fields(part, schema, path)]
    return ["| Field | Type | Always | Meaning |", "|---|---|---|---|", *rows]


def _fields(part: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    found, path = _inside(part, schema, path)
    required = found.get("required", [])
    for name, field in found.get("properties", {}).items():
        inner, below = _inside(field, schema, f"{path}.{name}" if path else name)
        if "properties" in inner:
            yield below, "list" if below.endswith("[]") else "group", _always(name in required), _meaning(field, schema)
            yield from _fields(field, schema, f"{path}.{name}" if path else name)
        else:
            yield below, _type(inner), _always(name in required), _meaning(field, schema)


def _inside(part: dict[str, Any], schema: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """What a reference, an optional field or a list leads to; the path of a list's entries ends in ``[]``."""
    while True:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        elif "anyOf" in part:
            part = next(choice for choice in part["anyOf"] if choice.get("type") != "null")
        elif part.get("type") == "array":
            part, path = part["items"], f"{path}[]"
        else:
            return part, path


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    pattern = field.get("pattern", "")
    if pattern.startswith("^sha256:"):
        return "digest"
    if pattern.startswith("^-?[0-9]"):
        return "number as text"
    return _FORMATS.get(field.get("format", ""), _TYPES[field["type"]])


def _always(required: bool) -> str:
    return "yes" if required else ""


def _meaning(field: dict[str, Any], schema: dict[str, Any]) -> str:
    """The field's own description, else that of what it holds; a field whose words are its model's has the latter only."""
    told = field.get("description") or _inside(field, schema, "")[0].get("description", "")
    return " ".join(str(told).split()).replace("|", "\\|")
