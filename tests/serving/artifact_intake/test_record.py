"""The record beside an adapter: believed where a known key has signed it about these very files, and refused in every other case."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.record import Examined, examine, refusal
from finetune_inference.cli.main import main
from finetune_inference.contract import PreflightResult, RequiredProof
from finetune_record.layout import META_SUFFIX, RECORD_FILE, TRAINER_RECORD_FILE
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.vocabulary import Level
from tests.engines.artifacts import AdapterFiles, Published, publish
from tests.engines.records import PUBLIC, record
from tests.unit.record.examples import OTHER_KEY


@pytest.fixture
def adapter(tmp_path: Path) -> Published:
    return publish(AdapterFiles(seed=1), tmp_path)


def look(adapter: Published, tmp_path: Path, *pem: str) -> Examined:
    return examine(adapter.uri, adapter.digest, {"adapters": tmp_path}, pem or (PUBLIC,))


def proof(level: str = "internal", *regimes: str) -> RequiredProof:
    return RequiredProof(public_keys=[PUBLIC], level=Level(level), regimes=list(regimes))


def test_a_signed_record_says_what_the_adapter_was_made_of(adapter: Published, tmp_path: Path) -> None:
    record(adapter, level="confidential", regimes=("phi",))
    found = look(adapter, tmp_path)
    assert (found.record.signature, found.record.record, found.why) == (Proof.VALID, Proof.VALID, "")
    assert found.record.classification is not None
    assert found.record.classification.level is Level.CONFIDENTIAL
    assert [(each.namespace, each.name) for each in found.record.data] == [("support", "tickets")]
    assert refusal(found, proof("confidential", "phi")) is None


def first_byte(content: bytes) -> bytes:
    document = json.loads(content)
    document["payload"] = ("f" if document["payload"][0] == "e" else "e") + document["payload"][1:]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def stripped(content: bytes) -> bytes:
    return json.dumps({**json.loads(content), "signatures": []}, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "change", [first_byte, stripped, lambda content: content[:-1], lambda content: b"{}", lambda content: content + b"\n"]
)
def test_an_edited_record_proves_nothing(adapter: Published, tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    record(adapter, change=change)
    found = look(adapter, tmp_path)
    assert found.record.signature is Proof.INVALID
    assert found.record.classification is None
    refused = refusal(found, proof())
    assert refused is not None
    assert refused.reason == "Unverified"
    assert refused.message


def test_a_record_of_another_key_of_another_adapter_or_none_proves_nothing(adapter: Published, tmp_path: Path) -> None:
    other = publish(AdapterFiles(seed=2), tmp_path)
    cases: list[tuple[dict[str, Any], str]] = [({"key": OTHER_KEY}, "none of the given keys"), ({"of": other}, "its record is about")]
    for changes, words in cases:
        record(adapter, **changes)
        found = look(adapter, tmp_path)
        assert words in found.why
        assert refusal(found, proof()) is not None
    (adapter.folder.with_name(adapter.folder.name + META_SUFFIX) / RECORD_FILE).unlink()
    found = look(adapter, tmp_path)
    assert (found.record.signature, found.record.record) == (Proof.ABSENT, Proof.ABSENT)
    assert refusal(found, proof()) is not None


@pytest.mark.parametrize(("level", "regimes"), [("public", ("phi",)), ("internal", ())])
def test_what_is_above_the_clearance_is_refused(adapter: Published, tmp_path: Path, level: str, regimes: tuple[str, ...]) -> None:
    record(adapter, regimes=("phi",))
    refused = refusal(look(adapter, tmp_path), proof(level, *regimes))
    assert refused is not None
    assert refused.reason == "AdapterNotCleared"


def test_a_link_in_the_place_of_the_record_is_not_followed(adapter: Published, tmp_path: Path) -> None:
    record(adapter)
    there = adapter.folder.with_name(adapter.folder.name + META_SUFFIX) / RECORD_FILE
    there.rename(tmp_path / "elsewhere")
    there.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntakeError) as raised:
        look(adapter, tmp_path)
    assert raised.value.finding.reason == "SymlinkRefused"


def test_of_an_unsigned_record_only_the_data_are_heard(adapter: Published, tmp_path: Path) -> None:
    folder = adapter.folder.with_name(adapter.folder.name + META_SUFFIX)
    folder.mkdir()
    said = {"job": "support/train", "datasetUri": "pvc://data/tickets.jsonl", "labels": {"finetune.dev/level": "public"}}
    (folder / TRAINER_RECORD_FILE).write_text(json.dumps(said), encoding="utf-8")
    found = look(adapter, tmp_path).record
    assert (found.signature, found.classification) == (Proof.ABSENT, None)
    assert [(each.namespace, each.uri) for each in found.data] == [("support", "pvc://data/tickets.jsonl")]


def test_the_check_says_what_the_record_says_where_it_is_asked(adapter: Published, tmp_path: Path) -> None:
    record(adapter)
    asked = ["--uri", adapter.uri, "--digest", adapter.digest, "--claim", f"adapters={tmp_path}", "--result", str(tmp_path / "result")]
    main(["preflight", *asked, "--record", f"--record-key={PUBLIC}"])
    result = PreflightResult.from_json((tmp_path / "result").read_bytes())
    assert result.record is not None
    assert result.record.signature is Proof.VALID
    main(["preflight", *asked])
    assert PreflightResult.from_json((tmp_path / "result").read_bytes()).record is None
