"""What a trusted key has signed and is wrong all the same: a statement that contradicts itself, or says less, or is somebody else's."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_cli.main import main
from finetune_record import bundle, chain, envelope
from finetune_trainer.contract import digest_of
from tests.unit.record import examples
from tests.unit.record.published import Place, items_of, publish, write_list

OTHER = {"sha256": "0" * 64}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    shutil.copytree(template.root, tmp_path / "copy")
    return Place(tmp_path / "copy", template.hex)


def told(place: Place, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    main(["verify", str(place.adapter), "--key", str(place.key), "--output", "json", *options])
    return "\n".join(f"{problem['where']}: {problem['message']}" for problem in json.loads(capsys.readouterr().out)["problems"])


def resign(place: Place, change: Callable[[dict[str, Any]], None], spell: Callable[[Any], bytes] = envelope.canonical) -> None:
    statement = json.loads(envelope.Envelope.read(place.record.read_bytes()).content)
    change(statement)
    place.record.write_bytes(envelope.seal(spell(statement), examples.KEY).to_bytes())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["predicate"]["outputs"].update(digest=examples.digest("x")), "predicate.outputs.digest: is"),
        (lambda s: s["predicate"]["chain"].update(namespace="other"), "predicate.chain.namespace: is other, and the job's is clinic"),
        (lambda s: s["predicate"]["chain"].update(keyId="0" * 64), "predicate.chain.keyId: is not the key that signed"),
        (lambda s: s["predicate"]["buildDefinition"]["externalParameters"].update(job="a/b"), "predicate.buildDefinition: does not say"),
        (lambda s: s["predicate"]["runDetails"]["metadata"].update(invocationId="x"), "predicate.runDetails: does not say"),
    ],
)
def test_a_statement_does_not_contradict_itself(
    place: Place, change: Callable[[dict[str, Any]], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    resign(place, change)
    assert said in told(place, capsys)


@pytest.mark.parametrize(("decided", "differs"), [(b"{}\n", False), (b"{} \n", True)])
def test_a_report_beside_the_adapter_is_the_one_that_was_decided_upon(
    place: Place, decided: bytes, differs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody who exchanges it between preparing and training has it signed with the adapter, and not told by the prepare step."""
    report = {"kind": "data", "digest": digest_of(decided), "file": "data-report.json"}
    resign(place, lambda statement: statement["predicate"]["data"]["reports"].append(report))
    assert ("data-report.json: is not the report that was decided upon" in told(place, capsys)) is differs


def test_a_statement_has_one_spelling(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    resign(place, lambda _statement: None, lambda statement: json.dumps(statement, indent=1).encode())
    assert told(place, capsys) == "record.dsse.json: payload: is not in canonical JSON (RFC 8785)"


def test_an_adapter_whose_files_are_not_named_is_known_by_its_digest(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    resign(place, lambda statement: statement.update(subject=statement["subject"][:1]))
    (place.meta / "model.sig").unlink()
    assert told(place, capsys) == ""
    (place.adapter / "finetune.json").write_bytes(b"{}")
    assert "its files make sha256:" in told(place, capsys)


def test_a_model_signature_of_other_files_is_none_of_these(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    other = bundle.sign_files("adapter", {"a": examples.digest("a")}, examples.KEY)
    (place.meta / "model.sig").write_bytes(other.to_bytes())
    assert "model.sig: is about other files" in told(place, capsys)


def test_a_model_signature_adds_up_and_has_one_spelling(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    whole = bundle.Bundle.read((place.meta / "model.sig").read_bytes())
    (place.meta / "model.sig").write_bytes(whole.to_bytes() + b"\n")
    assert "model.sig: not spelled as it was written" in told(place, capsys)
    statement = json.loads(base64.b64decode(whole.dsse_envelope.payload)) | {"subject": [{"name": "x", "digest": OTHER}]}
    sealed = envelope.seal(envelope.canonical(statement), examples.KEY)
    (place.meta / "model.sig").write_bytes(whole.model_copy(update={"dsse_envelope": sealed}).to_bytes())
    assert "model.sig: subject[0].digest is not that of the listed files" in told(place, capsys)


def test_records_of_another_namespace_are_no_part_of_the_chain(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    link = chain.next_link("other", None, examples.NOW, examples.statement().predicate.chain.key_id)
    foreign = examples.statement().model_copy(update={"predicate": examples.statement().predicate.model_copy(update={"chain": link})})
    entries = [(item["metadata"]["name"], item["data"]["record.dsse.json"]) for item in items_of(place.chain)]
    sealed = envelope.seal(foreign.to_payload(), examples.KEY).to_bytes().decode()
    write_list(place.chain, "record.dsse.json", [*entries, ("other-00000001", sealed)])
    assert told(place, capsys, "--chain", str(place.chain)) == "other-00000001: belongs to namespace other"


def test_what_is_chained_and_no_record_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [(item["metadata"]["name"], item["data"]["record.dsse.json"]) for item in items_of(place.chain)]
    strange = envelope.seal(b'{"predicate": {"chain": 1}}', examples.KEY).to_bytes().decode()
    write_list(place.chain, "record.dsse.json", [*entries, ("clinic-00000007", strange)])
    assert told(place, capsys, "--chain", str(place.chain)) == "clinic-00000007: is signed, and is no record with a place in a chain"


def test_a_whole_record_of_another_run_is_not_this_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Signed by the key, about this very adapter, and in no chain."""
    resign(place, lambda statement: statement["predicate"]["identity"].update(submitter="mallory"))
    assert "predicate.identity.submitter: is mallory, and in the chain's clinic-00000004 it is jane@example.org" in told(
        place, capsys, "--chain", str(place.chain)
    )
