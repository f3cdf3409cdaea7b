"""``finetune verify`` on a copied folder finds whatever was changed, and names it; the table is the specification.

Each case changes one thing of a valid adapter, and says which words the answer must hold.
"""

import json
import shutil
from pathlib import Path

import pytest

from finetune_cli.main import main
from tests.unit.record import examples
from tests.unit.record.changes import (
    Change,
    document,
    edit_envelope,
    exchange,
    field,
    flip,
    flipped,
    items,
    link,
    of_another_adapter,
    other_record,
    other_type,
    pipe,
    rename,
    resealed,
    sign_anew,
    strip,
)
from tests.unit.record.published import Place, publish


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    shutil.copytree(template.root, tmp_path / "copy")
    return Place(tmp_path / "copy", template.hex)


CASES: dict[str, tuple[Change, str]] = {
    # every file, one byte
    "byte of the weights": (flip(lambda p: p.adapter / "adapter_model.safetensors"), "adapter_model.safetensors: was changed"),
    "last byte of the weights": (
        flip(lambda p: p.adapter / "adapter_model.safetensors", -1 + 4096),
        "adapter_model.safetensors: was changed",
    ),
    "byte of the configuration": (flip(lambda p: p.adapter / "adapter_config.json"), "adapter_config.json: was changed"),
    "byte of the facts": (flip(lambda p: p.adapter / "finetune.json"), "finetune.json: was changed"),
    "byte in an empty file": (lambda p: (p.adapter / "README.txt").write_bytes(b"x"), "README.txt: was changed"),
    "byte of the card": (flip(lambda p: p.meta / "README.md"), "README.md: was changed"),
    "byte of the data report": (flip(lambda p: p.meta / "data-report.json", 1), "data-report.json: was changed"),
    "byte of the spec": (flip(lambda p: p.meta / "run.json", 9), "run.json: was changed"),
    "byte of promotable": (flip(lambda p: p.meta / "promotable", 0), "promotable: was changed"),
    "byte of the model signature's payload": (flip(lambda p: p.meta / "model.sig", 60), "model.sig: "),
    "byte of the trainer's record": (document("record.json", '"runNumber": 2', '"runNumber": 3'), "record.json: runNumber"),
    "metric in the trainer's record": (
        document("record.json", '"tuned": "0.58"', '"tuned": "0.98"'),
        "record.json: evaluation.metrics[0].tuned",
    ),
    "file in the trainer's record": (document("record.json", "adapter_config.json", "adapter_confog.json"), "files[adapter_confog.json]"),
    "trainer's record is no JSON": (document("record.json", "{", "["), "record.json: is no JSON object"),
    # the folder
    "file missing": (lambda p: (p.adapter / "finetune.json").unlink(), "finetune.json: is missing"),
    "file added": (
        lambda p: (p.adapter / "pytorch_model.bin").write_bytes(b""),
        "pytorch_model.bin: is not in the record",
    ),
    "file added in a folder": (
        lambda p: ((p.adapter / "x").mkdir(), (p.adapter / "x" / "y").write_bytes(b"1")),
        "x/y: is not in the record",
    ),
    "empty folder added": (lambda p: (p.adapter / "x").mkdir(), "x: is an empty folder"),
    "file renamed": (
        lambda p: (p.adapter / "finetune.json").rename(p.adapter / "finetune2.json"),
        "finetune2.json: is not in the record",
    ),
    "symbolic link for a file": (link, "adapter_config.json: is a symbolic link"),
    "pipe for a file": (pipe, "finetune.json: is neither a file nor a folder"),
    "folders renamed": (rename, "was renamed, or is another adapter's"),
    "documents removed": (lambda p: shutil.rmtree(p.meta), ".meta: is not beside"),
    "record removed": (lambda p: p.record.unlink(), "record.dsse.json: is missing"),
    "record a link": (
        lambda p: (p.record.rename(p.root / "r"), p.record.symlink_to(p.root / "r")),
        "record.dsse.json: is missing, or is no file",
    ),
    "model signature removed": (lambda p: (p.meta / "model.sig").unlink(), "model.sig: is missing"),
    "trainer's record removed": (lambda p: (p.meta / "record.json").unlink(), "record.json: is missing"),
    "document added": (lambda p: (p.meta / "notes.txt").write_text("x"), "notes.txt: is not in the record"),
    # every section of the statement, encoded anew and not signed
    "submitter": (
        field("identity.submitter", "mallory"),
        "predicate.identity.submitter: is mallory, and in the chain's clinic-00000004 it is jane",
    ),
    "job": (field("identity.job", "letters"), "predicate.identity.job"),
    "generation of a policy": (field("policy.policies.0.generation", 5), "predicate.policy.policies[0].generation: is 5"),
    "decision": (field("policy.decision", "Deny"), "predicate.policy.decision"),
    "waived finding": (field("policy.findings.0.waived", False), "predicate.policy.findings[0].waived"),
    "digest of the data": (field("data.sources.0.digest", examples.digest("x")), "predicate.data.sources[0].digest"),
    "level of the data": (
        field("data.sources.0.classification.level", "public"),
        "predicate.data.sources[0].classification.level: is public",
    ),
    "hits of the scan": (field("data.reports.0.headlines.0.value", "9"), "predicate.data.reports[0].headlines[0].value"),
    "licence of the base": (field("base.licences.0.key", "MIT"), "predicate.base.licences[0].key"),
    "image": (field("code.trainerImage", "evil@sha256:" + "0" * 64), "predicate.code.trainerImage"),
    "node's labels": (field("environment.nodeLabels", {}), "predicate.environment.nodeLabels"),
    "egress": (field("environment.egress.result", "Open"), "predicate.environment.egress.result"),
    "tries of egress": (field("environment.egress.watchRounds", 22), "predicate.environment.egress.watchRounds"),
    "steps": (field("run.steps", 151), "predicate.run.steps: is 151"),
    "verdict": (field("evaluation.verdict", "Fail"), "predicate.evaluation.verdict"),
    "gate": (field("evaluation.gates.0.verdict", "Fail"), "predicate.evaluation.gates[0].verdict"),
    "approver": (field("approvals.0.approver", "mallory"), "predicate.approvals[0].approver"),
    "approval removed": (field("approvals", []), "predicate.approvals"),
    "waiver's end": (field("waivers.0.expiresAt", "2036-01-01T00:00:00Z"), "predicate.waivers[0].expiresAt"),
    "classification of the adapter": (field("outputs.classification.level", "public"), "predicate.outputs.classification.level"),
    "promotable": (field("outputs.promotable", False), "predicate.outputs.promotable"),
    "time of recording": (field("chain.recordedAt", "2020-01-01T00:00:00Z"), "predicate.chain.recordedAt"),
    "predecessor": (field("chain.prev", examples.digest("x")), "predicate.chain.prev"),
    "SLSA materials": (field("buildDefinition.resolvedDependencies", []), "predicate.buildDefinition.resolvedDependencies"),
    "SLSA start": (field("runDetails.metadata.startedOn", "2020-01-01T00:00:00Z"), "predicate.runDetails.metadata.startedOn"),
    "subject": (resealed(lambda s: s["subject"][1]["digest"].update(sha256="0" * 64)), "subject[1].digest.sha256"),
    "subject removed": (resealed(lambda s: s["subject"].pop()), "subject: the files do not make the digest"),
    "unknown field": (resealed(lambda s: s["predicate"].update(mood="good")), "predicate.mood"),
    "other predicate": (resealed(lambda s: s.update(predicateType="https://example.org/x")), "predicateType"),
    # the envelope
    "signature stripped": (strip, "signatures is empty"),
    "signature of another key": (sign_anew, "none of the given keys"),
    "other payload type": (other_type, "payloadType is 'text/plain'"),
    "byte of the signature": (
        lambda p: p.record.write_bytes(p.record.read_bytes().replace(b'"sig":"M', b'"sig":"N', 1)),
        "record.dsse.json: signatures[0]",
    ),
    "byte without meaning": (
        lambda p: p.record.write_bytes(p.record.read_bytes() + b"\n"),
        "bytes were changed that carry no meaning",
    ),
    "record of another adapter": (of_another_adapter, "was renamed, or is another adapter's"),
    "record of another place in the chain": (other_record, "clinic-00000001 is not in the chain"),
    # the chain
    "entry removed": (items(lambda entries: entries.pop(1)), "record 2 is missing before record 3"),
    "first entry removed": (items(lambda entries: entries.pop(0)), "record 1 is missing before record 2"),
    "this entry removed": (items(lambda entries: entries.pop(3)), "clinic-00000004 is not in the chain"),
    "end removed": (items(lambda entries: entries.pop()), "the chain ends at 5: its end was removed"),
    "everything removed": (items(lambda entries: entries.clear()), "the chain ends at 0"),
    "entries reordered": (items(lambda entries: entries.insert(0, entries.pop(2))), "their order was changed"),
    "entries exchanged": (items(lambda entries: exchange(entries, 0, 1)), "entries were exchanged or renamed"),
    "entry doubled": (items(lambda entries: entries.insert(2, entries[1])), "record 2 is there twice"),
    "entry edited": (
        items(lambda entries: edit_envelope(entries[1], lambda s: s["predicate"]["identity"].update(submitter="mallory"))),
        "clinic-00000002: signatures[0]: payload, payloadType or signature was changed",
    ),
    "chain is no JSON": (flip(lambda p: p.chain, 0), "chain.json is not JSON"),
    # the anchors
    "checkpoint edited": (
        items(
            lambda entries: entries[0]["data"].update(
                {"checkpoint.dsse.json": entries[1]["data"]["checkpoint.dsse.json"].replace("e", "f", 1)}
            ),
            "anchors",
        ),
        "clinic-checkpoint-4: ",
    ),
    "checkpoints removed": (items(lambda entries: entries.clear(), "anchors"), "tell nothing of namespace clinic"),
}


def test_a_valid_adapter_verifies(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(place.arguments()) == 0
    told = capsys.readouterr().out
    for said in (
        "verified",
        "pvc://letters/2026/train.jsonl",
        "phi at generation 4",
        "ada@example.org",
        "quality: Pass",
        "chain of 6 records",
    ):
        assert said in told
    assert "NOT VERIFIED" not in told
    assert "Not checked" not in told


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_found_and_named(name: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    change, said = CASES[name]
    change(place)
    assert main(place.arguments("--output", "json")) == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["verified"]
    told = [f"{problem['where']}: {problem['message']}" for problem in answer["problems"]]
    assert any(said in line for line in told), told
    assert main(place.arguments()) == 1
    assert "NOT VERIFIED" in capsys.readouterr().out


def test_the_table_is_long_enough_and_reaches_every_section() -> None:
    assert len(CASES) >= 60
    said = " ".join(words for _, words in CASES.values())
    sections = examples.statement().predicate.model_dump(by_alias=True, exclude_none=True)
    assert [section for section in sections if f"predicate.{section}" not in said] == []


def test_every_byte_of_the_signed_record_counts(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    whole = place.record.read_bytes()
    for position in range(0, len(whole), len(whole) // 24):
        place.record.write_bytes(flipped(whole, position))
        assert main(place.arguments()) == 1, position
    place.record.write_bytes(whole)
    signature = (place.meta / "model.sig").read_bytes()
    for position in range(0, len(signature), len(signature) // 24):
        (place.meta / "model.sig").write_bytes(flipped(signature, position))
        assert main(place.arguments()) == 1, position
