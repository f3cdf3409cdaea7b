"""The statement: one spelling, bounded, nothing invented, and its SLSA core says what the sections say."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from finetune_record import bundle, envelope, keys
from finetune_record.folder import Content, Published, read_content
from finetune_record.materials import BaseSection, DataSection
from finetune_record.outcome import OutputSection
from finetune_record.sections import Sections
from finetune_record.statement import Statement, content_digest
from finetune_record.verification.record import read_record
from finetune_trainer.contract import digest_of
from tests.unit.record import examples


def test_a_statement_reads_back_as_it_was_written() -> None:
    statement = examples.statement()
    again = Statement.from_json(statement.to_payload())
    assert again == statement
    assert again.to_payload() == statement.to_payload()


def test_subjects_are_the_adapter_and_each_of_its_files() -> None:
    statement = examples.statement()
    assert statement.files == {file.name: file.digest for file in examples.files()}
    assert statement.artifact == content_digest(statement.files.items()) == statement.predicate.outputs.digest


def test_files_that_make_another_adapter_are_refused() -> None:
    with pytest.raises(ValueError, match=r"outputs\.digest"):
        Statement.of(examples.sections(), examples.files()[1:], examples.statement().predicate.chain)


def test_what_nobody_knows_is_absent() -> None:
    full = examples.sections()
    least = Sections(
        identity=full.identity.model_copy(update={"submitter": None, "operator": None}),
        data=DataSection(),
        base=BaseSection(uri="hf://a/b"),
        outputs=OutputSection(uri=full.outputs.uri, digest=full.outputs.digest),
    )
    payload = json.loads(examples.statement(given=least).to_payload())
    assert "null" not in json.dumps(payload)
    assert "submitter" not in payload["predicate"]["identity"]
    assert payload["predicate"]["data"] == {"reports": [], "sources": []}
    assert payload["predicate"]["approvals"] == []


def test_the_slsa_core_names_everything_that_is_known_by_digest() -> None:
    predicate = json.loads(examples.statement().to_payload())["predicate"]
    assert [entry["name"] for entry in predicate["buildDefinition"]["resolvedDependencies"]] == ["base", "spec.dataset", "image"]
    assert predicate["runDetails"]["metadata"]["startedOn"] == predicate["run"]["startedAt"] == "2026-11-26T12:00:00Z"


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", ".", ""])
def test_a_file_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValidationError):
        examples.File(name=name, digest=digest_of(b""))


def test_an_unknown_field_is_no_record_of_this_version() -> None:
    payload = json.loads(examples.statement().to_payload())
    payload["predicate"]["identity"]["mood"] = "good"
    with pytest.raises(ValidationError):
        Statement.from_json(json.dumps(payload))


GOLDEN = Path(__file__).parent / "golden"


def test_a_record_of_the_first_version_is_readable_for_ever() -> None:
    """Never write these files anew: if this fails, old records can no longer be read, or no longer verify."""
    sealed = envelope.Envelope.read((GOLDEN / "record.dsse.json").read_bytes())
    trusted = keys.public_keys((GOLDEN / "public.pem").read_bytes())
    statement = Statement.from_json(envelope.opened(sealed, trusted))
    assert statement.predicate.identity.submitter == "jane@example.org"
    signature = bundle.Bundle.read((GOLDEN / "model.sig").read_bytes())
    assert content_digest(bundle.signed_files(signature, trusted).items()) == statement.artifact
    published = Published(GOLDEN, Content(), GOLDEN, read_content(GOLDEN))
    claim, found = read_record(published, trusted)
    assert found.problems == ()
    assert claim is not None
    assert claim.digest == "sha256:24f937cc61f542152e39e8e4cee966e47b65c31e972f69c6905e9d28cc926a01"
