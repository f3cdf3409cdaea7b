"""What one answer is worth: pure functions of answer, reference and output schema, every score a share from 0 to 1.

A metric that does not fit the run (schema compliance without a schema) is a configuration error before training, never a silent zero.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from finetune_trainer.contract import Digest, Metric, RunSpec, Stage, canonical_json
from finetune_trainer.pod.datamanifest import verify_schema
from finetune_trainer.pod.errors import ConfigurationError

GENERATED = frozenset({Metric.JSON_VALIDITY, Metric.SCHEMA_COMPLIANCE, Metric.FIELD_COMPLETENESS, Metric.EXACT_MATCH, Metric.JUDGE})
"""Metrics that look at generated answers; the others look at the likelihood of the reference."""
_SCORED_ALONE = GENERATED - {Metric.JUDGE}
"""Those that need no more than one answer and its reference."""

BINARY = frozenset({Metric.JSON_VALIDITY, Metric.SCHEMA_COMPLIANCE, Metric.EXACT_MATCH})
"""Metrics whose score is 0 or 1 for each item."""

_UNPARSED = object()


def metrics_for(spec: RunSpec) -> tuple[Metric, ...]:
    """What this run measures, in a fixed order: the listed metrics and the gate's. A run spec is defaulted already: no metric means none.

    Raises ``ConfigurationError`` where a metric cannot be measured on this run.
    """
    wanted = set(spec.evaluation.metrics)
    if spec.evaluation.improvement:
        wanted.add(spec.evaluation.improvement.metric)
    _refuse_unmeasurable(wanted, spec)
    return tuple(metric for metric in Metric if metric in wanted)


def _refuse_unmeasurable(wanted: set[Metric], spec: RunSpec) -> None:
    if Metric.SCHEMA_COMPLIANCE in wanted and not spec.task.output_schema_path:
        raise ConfigurationError(
            "OutputSchemaMissing",
            "spec.evaluation asks for SchemaCompliance, but spec.task.outputSchema is not set",
            "Name a ConfigMap with a JSON Schema in spec.task.outputSchema, or measure JSONValidity instead.",
        )
    if Metric.JUDGE in wanted and spec.evaluation.judge is None:
        raise ConfigurationError(
            "JudgeMissing",
            "spec.evaluation asks for Judge, but spec.evaluation.judge is not set",
            "Name an OpenAI-compatible endpoint and a model in spec.evaluation.judge, or drop the metric.",
        )
    if spec.stage is Stage.CONTINUED_PRETRAINING and (answers := sorted(wanted & GENERATED)):
        raise ConfigurationError(
            "MetricNeedsAnswers",
            f"spec.evaluation asks for {', '.join(answers)}, but ContinuedPretraining has texts and no questions to answer",
            "Measure Perplexity, or evaluate on a dataset with prompts in a later SFT run.",
        )


def read_output_schema(path: str | None, sealed: Digest | None = None) -> Validator | None:
    """The output schema, ready to validate; None where the task has none. Raises ``ConfigurationError`` for one that is no JSON Schema.

    ``sealed`` is the digest that it must have, where one was agreed to; another raises ``DataError``. References are resolved within the
    schema only: nothing is fetched.
    """
    if path is None:
        return None
    hint = "Correct the ConfigMap that spec.task.outputSchema names."
    try:
        content = Path(path).read_bytes()  # once: what is judged by is what was hashed
        if sealed is not None:
            verify_schema(content, sealed)
        schema = json.loads(content)
        dialect = validator_for(schema, default=Draft202012Validator)
        dialect.check_schema(schema)
    except FileNotFoundError as error:
        raise ConfigurationError("OutputSchemaMissing", "spec.task.outputSchema: the key holds no file", hint) from error
    except ValueError as error:
        raise ConfigurationError("OutputSchemaInvalid", "spec.task.outputSchema is not JSON", hint) from error
    except SchemaError as error:
        raise ConfigurationError("OutputSchemaInvalid", f"spec.task.outputSchema is no JSON Schema: at {error.json_path}", hint) from error
    return dialect(schema, registry=Registry())


@dataclass(frozen=True)
class AnswerScorer:
    """Scores answers against one output schema."""

    metrics: tuple[Metric, ...]
    schema: Validator | None = None

    def score(self, answer: str, reference: str) -> dict[Metric, float]:
        """Scores of those among ``metrics`` that need only this answer and its reference."""
        parsed, expected = parse_json(answer), parse_json(reference)
        scores = {
            Metric.JSON_VALIDITY: lambda: float(parsed is not _UNPARSED),
            Metric.SCHEMA_COMPLIANCE: lambda: float(parsed is not _UNPARSED and self._complies(parsed)),
            Metric.FIELD_COMPLETENESS: lambda: self._completeness(parsed, expected),
            Metric.EXACT_MATCH: lambda: float(same_answer(answer, reference)),
        }
        return {metric: scores[metric]() for metric in self.metrics if metric in _SCORED_ALONE}

    def _complies(self, parsed: Any) -> bool:
        assert self.schema is not None, "metrics_for refuses SchemaCompliance without a schema"
        try:
            return self.schema.is_valid(parsed)
        except Unresolvable as error:
            raise ConfigurationError(
                "OutputSchemaInvalid",
                "spec.task.outputSchema refers to another document, and nothing is fetched",
                "Put the definitions into the schema itself, under $defs.",
            ) from error

    def _completeness(self, parsed: Any, expected: Any) -> float:
        """Share of the required fields that the answer has with a value. Required: the schema's, else the reference's."""
        schema = self.schema.schema if self.schema else {}
        required = schema.get("required", []) if isinstance(schema, dict) else []
        if not required and isinstance(expected, dict):
            required = list(expected)
        if not required:
            return float(isinstance(parsed, dict))
        if not isinstance(parsed, dict):
            return 0.0
        return sum(parsed.get(name) not in (None, "") for name in required) / len(required)


def same_answer(answer: str, reference: str) -> bool:
    """Equal as JSON values where both are JSON (spaces, key order and 1 = 1.0 do not matter), else equal as stripped texts."""
    left, right = parse_json(answer), parse_json(reference)
    if left is _UNPARSED or right is _UNPARSED:
        return answer.strip() == reference.strip()
    return canonical_json(_plain(left)) == canonical_json(_plain(right))


def parse_json(text: str) -> Any:
    """The JSON value, or a marker that equals nothing. NaN and Infinity are no JSON, whatever Python says, nor is bottomless nesting."""
    try:
        return json.loads(text.strip(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return _UNPARSED


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value


def needs_answers(evaluation_metrics: tuple[Metric, ...]) -> bool:
    return bool(GENERATED & set(evaluation_metrics))
