"""From pydantic models to structural schemas, the dialect of OpenAPI v3 that a CustomResourceDefinition accepts.

What pydantic writes and the API server refuses or misreads, and what becomes of it here:

==============================  =======================================================================
``$defs`` and ``$ref``          inlined; recursion is an error
``anyOf: [X, null]``            X, not required, without ``default: null``
``const``                       ``enum`` of one value
``exclusiveMinimum: n``         ``minimum: n`` and ``exclusiveMinimum: true``
``additionalProperties: false`` dropped: the API server prunes, and reports under strict validation
``patternProperties``, tuples   an error: no field of this API may need them
default of a nested model       written in full, because rules see a default before its own defaults apply;
                                left out where ``UnstoredDefault`` says so
``title``, class docstrings     dropped
==============================  =======================================================================
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema, to_jsonable_python

from finetune_operator.api.base import ApiModel
from finetune_operator.api.markers import RULES_KEY, UNSTORED_KEY

JsonSchema = dict[str, Any]

_FORBIDDEN = frozenset({"$defs", "oneOf", "allOf", "not", "patternProperties", "prefixItems", "uniqueItems", "discriminator", "nullable"})
_FIRST = ("type", "description", "default", "enum", "format", "pattern", "required")


class StructuralSchema(GenerateJsonSchema):
    """Pydantic's generator with the differences that need the model rather than the text."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """An optional field is one that may be absent; ``null`` is no value of this API."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Defaults as they would be typed by a user; a nested model's in full, unset fields left out."""
        inner = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if default is None:
            return inner
        if inner.pop(UNSTORED_KEY, False):
            return inner
        return {**inner, "default": to_jsonable_python(default, by_alias=True, exclude_none=True)}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """An object with its rules and without its docstring, which speaks to developers."""
        document = super().model_schema(schema)
        document.pop("description", None)
        model = schema["cls"]
        if issubclass(model, ApiModel) and model.RULES:
            document[RULES_KEY] = [rule.to_schema() for rule in model.RULES]
        return document

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """Whole numbers are 64 bits wide, as everywhere in Kubernetes."""
        return {**super().int_schema(schema), "format": "int64"}


def structural_schema(model: type[BaseModel]) -> JsonSchema:
    """The model's structural schema; raises ``ValueError`` for what cannot be expressed."""
    document = model.model_json_schema(by_alias=True, schema_generator=StructuralSchema, mode="validation")
    definitions = document.pop("$defs", {})
    return _inlined(document, definitions, ())


def without_defaults(schema: JsonSchema) -> JsonSchema:
    """The schema of a status: the operator writes it whole, so the API server adds nothing, and only keys of list entries are demanded."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: without_defaults(child) for name, child in result["properties"].items()}
    if "items" in result:
        result["items"] = without_defaults(result["items"])
    return result


def _inlined(node: JsonSchema, definitions: dict[str, JsonSchema], path: tuple[str, ...]) -> JsonSchema:
    reference = node.get("$ref")
    if reference is not None:
        name = reference.rpartition("/")[2]
        if name in path:
            msg = f"{name} contains itself, which a structural schema cannot express"
            raise ValueError(msg)
        siblings = {key: value for key, value in node.items() if key != "$ref"}
        return _inlined({**definitions[name], **siblings}, definitions, (*path, name))
    forbidden = _FORBIDDEN & node.keys()
    if forbidden:
        msg = f"{', '.join(sorted(forbidden))} cannot be part of a structural schema"
        raise ValueError(msg)
    result = {key: value for key, value in node.items() if key != "title"}
    _spell_for_kubernetes(result)
    if "properties" in result:
        result["properties"] = {name: _inlined(child, definitions, path) for name, child in result["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _inlined(result[key], definitions, path)
    return {key: result[key] for key in sorted(result, key=_reading_order)}


def _reading_order(key: str) -> int:
    """What a field is first, then its bounds, then what is inside it."""
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def _spell_for_kubernetes(node: JsonSchema) -> None:
    if "const" in node:
        node["enum"] = [node.pop("const")]
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            node[bound], node[exclusive] = node[exclusive], True
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        msg = "anyOf cannot be part of a structural schema: use one optional object per variant and a rule"
        raise ValueError(msg)
