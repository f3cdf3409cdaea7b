"""What the operator has signed lies beside the artifact that it is about, whole or not at all."""

import base64
import json
from pathlib import Path

import pytest

from finetune_trainer.artifact import publish
from finetune_trainer.artifact.signed import Signed, read_signed
from finetune_trainer.contract import PublishSummary
from finetune_trainer.pod.errors import StorageError
from tests.unit.trainer.artifact.conftest import Trained
from tests.unit.trainer.artifact.test_publication import MakeTrained


def envelope(*digests: str, note: str = "") -> str:
    statement = {"subject": [{"name": "a", "digest": {"sha256": digest}} for digest in digests], "note": note}
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": []})


def run(it: Trained, signed: Signed | None, attempt: int = 1) -> PublishSummary:
    return publish(it.workspace, it.spec, destination=it.destination, attempt=attempt, signed=signed)


def test_record_and_signature_lie_beside_the_artifact_and_the_summary_says_so(trained: MakeTrained, tmp_path: Path) -> None:
    it, mounted = trained(), tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "record.dsse.json").write_text(envelope(it.artifact.hex))
    (mounted / "model.sig").write_text("{}")
    assert run(it, read_signed(mounted)).signed
    meta = it.destination / f"{it.artifact.hex}.meta"
    assert (meta / "record.dsse.json").read_text() == envelope(it.artifact.hex)
    assert (meta / "model.sig").read_text() == "{}"


def test_nothing_mounted_is_an_unsigned_run(trained: MakeTrained, tmp_path: Path) -> None:
    it = trained()
    assert read_signed(tmp_path / "absent") is None
    assert not run(it, None).signed
    assert not list(it.destination.rglob("record.dsse.json"))


def test_publishing_the_same_again_writes_nothing(trained: MakeTrained) -> None:
    it = trained()
    signed = Signed(envelope(it.artifact.hex))
    first = run(it, signed)
    before = {path: path.stat().st_mtime_ns for path in it.destination.rglob("*")}
    assert run(it, signed, attempt=2) == first
    assert {path: path.stat().st_mtime_ns for path in it.destination.rglob("*")} == before


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (envelope("0" * 64), "RecordMismatch"),
        (envelope(), "RecordMismatch"),
        ("{}", "RecordUnreadable"),
        ("no json", "RecordUnreadable"),
        ('{"payload": "%%"}', "RecordUnreadable"),
    ],
)
def test_a_record_about_something_else_publishes_nothing(trained: MakeTrained, record: str, reason: str) -> None:
    it = trained()
    with pytest.raises(StorageError) as refused:
        run(it, Signed(record))
    assert refused.value.reason == reason
    assert not list(it.destination.rglob("*"))
