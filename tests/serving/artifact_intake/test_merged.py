"""A merged model is served only where its files, its record and what is wanted agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_inference.artifact.errors import IntakeError, Interrupted
from finetune_inference.artifact.merged import MergedFolder, verify_merged
from finetune_inference.contract import DesiredVersion, MergedWeights
from tests.cluster.merged_site import merge
from tests.engines.artifacts import BASE_DIGEST

ADAPTER = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32


class Made:
    """A merged model in its place, and the version that wants it."""

    def __init__(self, out: Path) -> None:
        self.summary = merge(ADAPTER, out)
        self.place = MergedFolder(out / self.summary.digest[7:], "bot--a1a1a1a1a1a1")
        weights = MergedWeights(uri=self.summary.uri, digest=self.summary.digest)
        self.version = DesiredVersion(name="bot--a1a1a1a1a1a1", uri="pvc://adapters/a", digest=ADAPTER, merged=weights)

    def verify(self, base: str | None = BASE_DIGEST) -> float:
        return verify_merged(self.place, self.version, base, lambda: True)

    def record(self, **changes: Any) -> None:
        path = self.place.meta / "record.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def refusal(self, base: str | None = BASE_DIGEST) -> tuple[str, str]:
        with pytest.raises(IntakeError) as refused:
            self.verify(base)
        assert refused.value.finding.way_out
        return refused.value.finding.reason, refused.value.finding.field


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_the_model_that_was_made_is_taken_with_the_effect_that_was_measured(made: Made):
    assert made.verify() == 0.5


def test_a_changed_file_is_another_model(made: Made):
    (made.place.folder / "config.json").write_text("{}")
    assert made.refusal() == ("DigestMismatch", "merged.digest")


def test_a_file_more_is_another_model_and_one_that_can_run_code_is_named(made: Made):
    (made.place.folder / "model-2.safetensors").write_bytes(b"x")
    assert made.refusal() == ("DigestMismatch", "merged.digest")
    (made.place.folder / "modeling.py").write_text("")
    assert made.refusal() == ("FileUnexpected", "modeling.py")
    (made.place.folder / "modeling.py").unlink()
    (made.place.folder / "model.bin").write_bytes(b"")
    assert made.refusal() == ("PickleRefused", "model.bin")


def test_a_model_of_another_base_or_adapter_is_refused(made: Made):
    assert made.refusal(base=OTHER) == ("RecordMismatch", "record.json:merge.baseDigest")
    made.version = made.version.model_copy(update={"digest": OTHER})
    assert made.refusal() == ("RecordMismatch", "record.json:merge.adapterDigest")


def test_without_its_own_record_it_is_nobodys_model(made: Made):
    made.record(kind="ArtifactRecord")
    assert made.refusal() == ("RecordMismatch", "record.json")
    made.record(kind="MergeRecord", artifactDigest=OTHER)
    assert made.refusal() == ("RecordMismatch", "record.json")
    (made.place.meta / "record.json").write_text("no json")
    assert made.refusal() == ("FileUnreadable", "record.json")
    (made.place.meta / "record.json").unlink()
    assert made.refusal() == ("RecordMismatch", "record.json")


def test_a_version_that_was_not_merged_is_not_served_here(made: Made):
    made.version = made.version.model_copy(update={"merged": None})
    assert made.refusal() == ("RecordMismatch", "merged")


def test_an_adapter_in_its_place_is_no_model(made: Made):
    (made.place.folder / "finetune.json").write_text('{"weights": "Adapter"}')
    assert made.refusal() == ("RecordMismatch", "finetune.json:weights")


def test_who_is_told_to_stop_stops_hashing(made: Made):
    with pytest.raises(Interrupted):
        verify_merged(made.place, made.version, BASE_DIGEST, lambda: False)
