"""A checker for structural schemas: what an API server demands of a CustomResourceDefinition, without one."""

from collections.abc import Iterator
from typing import Any

_FORBIDDEN = {
    "$ref",
    "$defs",
    "const",
    "oneOf",
    "allOf",
    "not",
    "patternProperties",
    "prefixItems",
    "uniqueItems",
    "discriminator",
    "title",
    "nullable",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_FORMATS = {"int32", "int64", "date-time"}


def problems(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every place where the schema is not structural, or breaks a habit of this API: bounds, list types, no floats."""
    for key in sorted(_FORBIDDEN & schema.keys()):
        yield f"{path}: {key}"
    if schema.get("x-kubernetes-int-or-string"):
        if schema.get("anyOf") != _INT_OR_STRING or "type" in schema:
            yield f"{path}: integer-or-string is spelled otherwise"
    elif "anyOf" in schema or "type" not in schema:
        yield f"{path}: no single type"
    if schema.get("type") == "number":
        yield f"{path}: a float"
    if "format" in schema and schema["format"] not in _FORMATS:
        yield f"{path}: format {schema['format']}"
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if not isinstance(schema.get(bound, True), bool):
            yield f"{path}: {bound} is a number"
    yield from _bounds(schema, path)
    yield from _inside(schema, path)


def _bounds(schema: dict[str, Any], path: str) -> Iterator[str]:
    text = schema.get("type") == "string" or schema.get("x-kubernetes-int-or-string")
    if text and not {"maxLength", "enum"} & schema.keys() and schema.get("format") != "date-time":
        yield f"{path}: text without bound"
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield f"{path}: list without bound"
    if "additionalProperties" in schema:
        if "properties" in schema:
            yield f"{path}: properties and additionalProperties"
        if "maxProperties" not in schema:
            yield f"{path}: map without bound"


def _inside(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        if "description" not in child:
            yield f"{path}.{name}: no description"
        yield from problems(child, f"{path}.{name}")
    if schema.get("type") == "array":
        kind = schema.get("x-kubernetes-list-type")
        if kind not in ("map", "set", "atomic"):
            yield f"{path}: no list type"
        if kind == "map" and not set(schema["x-kubernetes-list-map-keys"]) <= set(schema["items"].get("required", [])):
            yield f"{path}: a key of the list that is not required"
        yield from problems(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from problems(schema["additionalProperties"], f"{path}{{}}")
