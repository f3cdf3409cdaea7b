"""Do the answers that the model shall learn satisfy the schema it will be measured by? Most format failures start in the data."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from finetune_trainer.data.examples import DropReason
from finetune_trainer.pod.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TargetDefect:
    """Why a target is not acceptable; ``path`` is a JSON path, never a value."""

    reason: DropReason
    path: str


@dataclass
class TargetSchema:
    """A JSON Schema, compiled once; equal targets are checked once."""

    validator: Any
    _seen: dict[str, TargetDefect | None] = field(default_factory=dict)

    def defect(self, target: str) -> TargetDefect | None:
        """The first thing wrong with ``target`` as JSON of this schema, or None."""
        if target not in self._seen:
            if len(self._seen) > 50_000:
                self._seen.clear()
            self._seen[target] = self._check(target)
        return self._seen[target]

    def _check(self, target: str) -> TargetDefect | None:
        try:
            value = json.loads(target)
        except (ValueError, RecursionError):
            return TargetDefect(DropReason.TARGET_NOT_JSON, "$")
        try:
            error = best_match(self.validator.iter_errors(value))
        except Unresolvable as unresolvable:
            hint = "References must stay inside the schema (#/$defs/…): nothing is fetched."
            raise ConfigurationError("InvalidOutputSchema", "task.outputSchema refers to something outside itself", hint) from unresolvable
        if error is None:
            return None
        known = set(error.absolute_schema_path)  # names of the schema may be told, names that only the row has may not
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" if part in known else ".*" for part in error.absolute_path)
        return TargetDefect(
            DropReason.TARGET_VIOLATES_SCHEMA, f"${where} breaks {'/'.join(str(p) for p in error.absolute_schema_path)}"[:160]
        )


def read_schema(path: Path) -> TargetSchema:
    """Compile the schema file; raises ``ConfigurationError`` for one that is missing or no JSON Schema."""
    name = "task.outputSchema"
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError("OutputSchemaMissing", f"{name}: no file at {path}", "Check name and key of the ConfigMap.") from error
    except ValueError as error:
        raise ConfigurationError("InvalidOutputSchema", f"{name} is not JSON", "Write the schema as JSON.") from error
    if not isinstance(schema, dict):
        raise ConfigurationError("InvalidOutputSchema", f"{name} is not a JSON object", 'A schema such as {"type": "object", …} is needed.')
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        message = f"{name} is no valid JSON Schema: {error.message[:200]} at {error.json_path}"
        raise ConfigurationError("InvalidOutputSchema", message, "Check it with any JSON Schema validator.") from error
    return TargetSchema(kind(schema, registry=Registry()))
