import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_trainer.contract import Metric, RunSpec
from finetune_trainer.evaluation.metrics import AnswerScorer, metrics_for, read_output_schema, same_answer
from finetune_trainer.pod.errors import ConfigurationError, DataError
from finetune_trainer.pod.sealing import file_digest
from tests.unit.trainer.conftest import TICKET_SCHEMA

SpecMaker = Callable[..., RunSpec]
REFERENCE = '{"category": "billing", "priority": "low", "escalate": false}'


@pytest.fixture
def schema_path(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(TICKET_SCHEMA))
    return path


@pytest.mark.parametrize(
    ("answer", "valid", "complies", "complete", "exact"),
    [
        (REFERENCE, 1, 1, 1, 1),
        ('  {"escalate":false,"priority":"low","category":"billing"}\n', 1, 1, 1, 1),
        ('{"category": "billing", "priority": "urgent", "escalate": true}', 1, 1, 1, 0),
        ('{"category": "weather", "priority": "low", "escalate": false}', 1, 0, 1, 0),
        ('{"category": "billing", "priority": "low"}', 1, 0, 2 / 3, 0),
        ('{"category": "billing", "priority": "", "escalate": null}', 1, 0, 1 / 3, 0),
        ('{"category": "billing", "priority": "low", "escalate": false, "note": 1}', 1, 0, 1, 0),
        ("Sure! " + REFERENCE, 0, 0, 0, 0),
        ('{"category": "billing"', 0, 0, 0, 0),
        ("[]", 1, 0, 0, 0),
        ("NaN", 0, 0, 0, 0),
        ("[" * 100_000, 0, 0, 0, 0),
        ("", 0, 0, 0, 0),
    ],
)
def test_each_answer_gets_the_scores_it_deserves(
    schema_path: Path, answer: str, valid: float, complies: float, complete: float, exact: float
) -> None:
    metrics = (Metric.JSON_VALIDITY, Metric.SCHEMA_COMPLIANCE, Metric.FIELD_COMPLETENESS, Metric.EXACT_MATCH)
    scores = AnswerScorer(metrics, read_output_schema(str(schema_path))).score(answer, REFERENCE)
    assert list(scores.values()) == pytest.approx([valid, complies, complete, exact])


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ('{"a": 1}', '{"a": 1.0}', True),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', False),
        (" yes ", "yes", True),
        ("yes", '"yes"', False),
        ('"a\\u0062"', '"ab"', True),
    ],
)
def test_answers_are_compared_as_json_values_or_as_stripped_texts(answer: str, reference: str, same: bool) -> None:
    assert same_answer(answer, reference) is same


def test_without_a_schema_the_fields_of_the_reference_are_required() -> None:
    assert AnswerScorer((Metric.FIELD_COMPLETENESS,)).score('{"a": 1}', '{"a": 5, "b": 6}') == {Metric.FIELD_COMPLETENESS: 0.5}


def test_a_schema_that_points_elsewhere_is_refused_and_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"$ref": "http://127.0.0.1:1/other.json"}')
    scorer = AnswerScorer((Metric.SCHEMA_COMPLIANCE,), read_output_schema(str(tmp_path / "s.json")))
    with pytest.raises(ConfigurationError, match="OutputSchemaInvalid"):
        scorer.score("{}", "{}")


@pytest.mark.parametrize("text", ['{"type": "objekt"}', "not json"])
def test_a_broken_schema_is_a_configuration_error_that_says_where(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"spec\.task\.outputSchema"):
        read_output_schema(str(tmp_path / "s.json"))


def test_another_schema_than_was_agreed_to_judges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text("{}")
    assert read_output_schema(str(path), file_digest(path)) is not None
    with pytest.raises(DataError, match=r"DigestMismatch.*spec\.task\.outputSchema"):
        read_output_schema(str(path), "sha256:" + "0" * 64)


def test_the_metric_of_the_gate_is_measured_even_if_nothing_else_is(run_spec: SpecMaker) -> None:
    spec = run_spec(evaluation={"metrics": [], "improvement": {"metric": "ExactMatch"}})
    assert metrics_for(spec) == (Metric.EXACT_MATCH,)


def test_schema_compliance_without_a_schema_is_refused_with_a_remedy(run_spec: SpecMaker) -> None:
    with pytest.raises(ConfigurationError, match=r"spec\.task\.outputSchema is not set") as refused:
        metrics_for(run_spec(evaluation={"metrics": ["SchemaCompliance"]}))
    assert "ConfigMap" in refused.value.hint


def test_raw_text_has_no_answers_to_score(run_spec: SpecMaker) -> None:
    with pytest.raises(ConfigurationError, match="no questions to answer"):
        metrics_for(run_spec(stage="ContinuedPretraining", evaluation={"metrics": ["ExactMatch"]}))
