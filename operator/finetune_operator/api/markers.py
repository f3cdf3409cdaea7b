"""What a field tells the API server beyond its type: list semantics, CEL rules, integer-or-string.

Each marker goes into ``Annotated[...]``; pydantic hands it the field's JSON schema and the marker adds the Kubernetes extension to it.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

RULES_KEY = "x-kubernetes-validations"
UNSTORED_KEY = "x-unstored-default"


@dataclass(frozen=True)
class Rule:
    """A CEL rule with the message a user reads: it names the field and the remedy.

    ``message_expression`` is CEL that yields the message, for messages that quote the value; ``message`` stands in should it fail.
    ``field_path`` points the error at a field below the object that carries the rule; ``reason`` is the API server's word for the
    refusal, of those that it knows for rules.
    """

    rule: str
    message: str
    message_expression: str | None = None
    field_path: str | None = None
    reason: str | None = None

    def to_schema(self) -> dict[str, str]:
        entry = {"rule": self.rule, "message": self.message}
        if self.message_expression is not None:
            entry["messageExpression"] = self.message_expression
        if self.field_path is not None:
            entry["fieldPath"] = self.field_path
        if self.reason is not None:
            entry["reason"] = self.reason
        return entry

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _extended(schema, handler, rules=(self,))


@dataclass(frozen=True)
class ListMap:
    """A list of objects whose entries are told apart by ``keys``; server-side apply merges it entry by entry."""

    keys: tuple[str, ...]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        extra = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}
        return _extended(schema, handler, extra)


@dataclass(frozen=True)
class ListSet:
    """A list of distinct scalars; the API server refuses duplicates."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _extended(schema, handler, {"x-kubernetes-list-type": "set"})


@dataclass(frozen=True)
class ListAtomic:
    """A list that is replaced as a whole."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _extended(schema, handler, {"x-kubernetes-list-type": "atomic"})


@dataclass(frozen=True)
class MapAtomic:
    """A map that is replaced as a whole."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _extended(schema, handler, {"x-kubernetes-map-type": "atomic"})


@dataclass(frozen=True)
class UnstoredDefault:
    """The default is filled in when an object is read and never stored.

    For objects of which one of several fields must be set: a stored default belongs to nobody, so it would stay beside the other field
    when the user sets that later, and no apply could take it away.
    """

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _extended(schema, handler, {UNSTORED_KEY: True})


@dataclass(frozen=True)
class Embedded:
    """A document of another contract, stored as it is: its own readers check it, and its fields are no part of this API's schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True)
class IntOrString:
    """Text that may also be typed as an integer, like a quantity."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        document = _extended(schema, handler, {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]})
        document.pop("type", None)
        return document


def _extended(
    schema: CoreSchema, handler: GetJsonSchemaHandler, extra: dict[str, Any] | None = None, rules: tuple[Rule, ...] = ()
) -> dict[str, Any]:
    document = dict(handler.resolve_ref_schema(handler(schema)))
    document.update(extra or {})
    if rules:
        document[RULES_KEY] = [*document.get(RULES_KEY, []), *(rule.to_schema() for rule in rules)]
    return document
