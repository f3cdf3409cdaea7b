"""Exports: valid for those who read them, the same bytes each time, honest about what a record does not have, and never of a wrong one."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft202012Validator, FormatChecker

from finetune_cli.main import main
from finetune_record.exports import FORMATS
from finetune_record.exports.dossier import OWN_WORDS
from finetune_record.materials import BaseSection, DataSection
from finetune_record.outcome import OutputSection
from finetune_record.sections import Sections
from finetune_record.statement import Statement
from tests.unit.record import examples
from tests.unit.record.published import Place, publish


def least() -> Statement:
    full = examples.sections()
    return examples.statement(
        given=Sections(
            identity=full.identity.model_copy(update={"submitter": None, "operator": None, "justification": None}),
            data=DataSection(),
            base=BaseSection(uri="hf://org/model@main"),
            outputs=OutputSection(uri=full.outputs.uri, digest=full.outputs.digest),
        )
    )


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_record_makes_the_same_bytes(name: str) -> None:
    statement = examples.statement()
    again = Statement.from_json(statement.to_payload())
    assert FORMATS[name](statement) == FORMATS[name](again)


@pytest.mark.parametrize("name", FORMATS)
def test_every_export_names_its_record(name: str) -> None:
    statement = examples.statement()
    assert examples.digest_of(statement.to_payload()) in FORMATS[name](statement)


@pytest.mark.parametrize("statement", [examples.statement(), least()], ids=["full", "least"])
def test_the_bill_of_materials_is_valid_cyclonedx(statement: Statement) -> None:
    text = FORMATS["cyclonedx"](statement)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"SHA-256"', '"SHA-255"')) is not None


def test_the_bill_of_materials_names_data_base_image_libraries_and_files() -> None:
    bill = json.loads(FORMATS["cyclonedx"](examples.statement()))
    assert [component["bom-ref"] for component in bill["components"]] == ["base", "data:0", "image", "pypi:peft", "pypi:torch"]
    assert [file["name"] for file in bill["metadata"]["component"]["components"]] == sorted(examples.CONTENTS)


RUN_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "eventTime": {"type": "string", "format": "date-time"},
        "producer": {"type": "string", "format": "uri"},
        "schemaURL": {"type": "string", "format": "uri"},
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": {"$ref": "#/$defs/facets"}},
        },
        "job": {"$ref": "#/$defs/named"},
        "inputs": {"type": "array", "items": {"$ref": "#/$defs/named"}},
        "outputs": {"type": "array", "items": {"$ref": "#/$defs/named"}},
    },
    "$defs": {
        "named": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"namespace": {"type": "string"}, "name": {"type": "string"}, "facets": {"$ref": "#/$defs/facets"}},
        },
        "facets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["_producer", "_schemaURL"],
                "properties": {"_producer": {"type": "string", "format": "uri"}, "_schemaURL": {"type": "string", "format": "uri"}},
            },
        },
    },
}
"""What OpenLineage 2-0-2 demands of a run event, facets and all; its own schema is on no package's disk."""


@pytest.mark.parametrize("statement", [examples.statement(), least()], ids=["full", "least"])
def test_lineage_events_are_those_of_one_run(statement: Statement) -> None:
    events = [json.loads(line) for line in FORMATS["openlineage"](statement).splitlines()]
    for event in events:
        Draft202012Validator(RUN_EVENT, format_checker=FormatChecker()).validate(event)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in events}) == 1
    assert events[1]["outputs"][0]["facets"]["version"]["datasetVersion"] == statement.artifact


def test_gates_are_tests_of_the_run() -> None:
    complete = json.loads(FORMATS["openlineage"](examples.statement()).splitlines()[1])
    assert [(test["name"], test["status"]) for test in complete["run"]["facets"]["testRun"]["tests"]] == [
        ("quality", "pass"),
        ("ExactMatch", "pass"),
    ]


def test_the_dossier_has_every_heading_of_annex_iv_and_says_what_is_missing() -> None:
    text = FORMATS["dossier"](examples.statement())
    headings = re.findall(r"^## (\d)", text, re.MULTILINE)
    assert sorted(set(headings)) == [str(number) for number in range(1, 10)]
    for said in ("phi at generation 4", "ada@example.org", "pvc://letters/2026/train.jsonl", "exact McNemar", "1,200"):
        assert said in text
    for part in ("Risk management", "declaration of conformity"):
        section = text.split(part)[1].split("## ")[0]
        assert OWN_WORDS in section
    poor = FORMATS["dossier"](least())
    assert "- Submitted by: not in the record" in poor
    assert "- Evaluation: not in the record" in poor


def test_a_strangers_text_is_no_markdown() -> None:
    full = examples.sections()
    evil = full.model_copy(update={"identity": full.identity.model_copy(update={"justification": "x\n# Approved\n<script> [a](b)"})})
    for name in ("dossier", "model-card"):
        text = FORMATS[name](examples.statement(given=evil))
        assert "\n# Approved" not in text
        assert "<script>" not in text


def test_the_front_matter_is_yaml_that_a_hub_reads() -> None:
    head = yaml.safe_load(FORMATS["model-card"](least()).split("---\n")[1])
    assert head == {"base_model": "org/model", "library_name": "peft"}
    head = yaml.safe_load(FORMATS["model-card"](examples.statement()).split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["model-index"][0]["results"][0]["metrics"] == [{"type": "ExactMatch", "value": 0.58, "name": "ExactMatch"}]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return publish(tmp_path)


def test_nothing_is_derived_from_a_record_that_does_not_verify(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(place.adapter), "--key", str(place.key), "--format", "dossier", "--to", str(tmp_path / "dossier.md")]
    assert main(arguments) == 0
    assert (tmp_path / "dossier.md").read_text().startswith("# Technical documentation: clinic/discharge-letters, run 2")
    (tmp_path / "dossier.md").unlink()
    shutil.copy(place.meta / "README.md", place.adapter / "finetune.json")
    assert main(arguments) == 1
    assert "finetune.json: was changed" in capsys.readouterr().err
    assert not (tmp_path / "dossier.md").exists()
