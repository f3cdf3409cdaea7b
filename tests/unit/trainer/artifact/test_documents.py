"""What describes an artifact is written when it is trained, named by one digest, and verified together with the signed record."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune_cli.main import main
from finetune_record import bundle, chain, envelope, keys
from finetune_record.agreement import Identity
from finetune_record.materials import BaseSection, DataSection, File
from finetune_record.outcome import EvaluationSection, OutputSection, RunSection
from finetune_record.sections import Sections
from finetune_record.statement import Predicate, Statement
from finetune_record.trainer_record import SAME
from finetune_trainer.artifact import inspect, publish
from finetune_trainer.artifact.documents import describe, described, vouching
from finetune_trainer.artifact.record import Record
from finetune_trainer.artifact.signed import Signed
from finetune_trainer.contract import PrepareSummary, Step, Summary, TrainSummary
from finetune_trainer.pod.sealing import seal_result, sealed_result
from tests.unit.record import examples
from tests.unit.trainer.artifact.conftest import Trained


@dataclass(frozen=True)
class Finished:
    """A train step whose documents are sealed with it."""

    trained: Trained
    prepared: PrepareSummary
    summary: TrainSummary


@pytest.fixture
def finished(trained: Callable[..., Trained]) -> Finished:
    it = trained()
    prepared, result = (sealed_result(it.workspace, it.spec, step) for step in (Step.PREPARE, Step.TRAIN))
    assert prepared is not None
    assert prepared.summary.prepare is not None
    assert result is not None
    assert result.summary.train is not None
    describe(it.workspace.out_meta, it.spec, it.artifact, prepared.summary.prepare, result.summary.train, promotable=True)
    summary = result.summary.train.model_copy(update={"documents": vouching(it.workspace.out_meta)})
    seal_result(it.workspace, it.spec, Step.TRAIN, Summary(train=summary))
    return Finished(it, prepared.summary.prepare, summary)


def signed(finished: Finished) -> Signed:
    """As the operator signs what it knows of the run between training and publishing."""
    it, train = finished.trained, finished.summary
    sections = Sections(
        identity=Identity(
            namespace=it.spec.run.job_namespace,
            job=it.spec.run.job_name,
            uid=it.spec.run.job_uid,
            generation=1,
            run_key=it.spec.run.key,
            run_number=it.spec.run.number,
            spec_digest=it.spec.content_digest(),
        ),
        data=DataSection(digest=finished.prepared.dataset.digest, examples=finished.prepared.dataset.examples),
        base=BaseSection(uri=it.spec.base_model.uri, digest=finished.prepared.base_digest),
        run=RunSection(steps=train.steps, epoch=train.epoch, loss=train.loss, tokens=train.tokens, seconds=train.seconds + 60),
        evaluation=EvaluationSection(verdict=train.evaluation.verdict.value, items=train.evaluation.items),
        outputs=OutputSection(
            uri=f"{it.spec.artifact.uri}/{it.artifact.hex}",
            digest=it.artifact.digest,
            promotable=True,
            documents=[File(name=part.name, digest=part.digest) for part in train.documents],
        ),
    )
    files = [File(name=file.name, digest=file.digest) for file in it.artifact.files]
    link = chain.next_link(it.spec.run.job_namespace, None, examples.NOW, keys.key_id(examples.KEY.public_key()))
    statement = Statement.of(sections, files, link)
    return Signed(
        envelope.seal(statement.to_payload(), examples.KEY).to_bytes().decode(),
        bundle.sign_files(it.artifact.hex, statement.files, examples.KEY).to_bytes().decode(),
    )


def test_what_is_published_and_signed_verifies_and_each_document_counts(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = finished.trained
    publish(it.workspace, it.spec, destination=it.destination, attempt=1, signed=signed(finished))
    adapter, meta = it.destination / it.artifact.hex, it.destination / f"{it.artifact.hex}.meta"
    (tmp_path / "public.pem").write_bytes(keys.public_pem(examples.KEY.public_key()))
    arguments = ["verify", str(adapter), "--key", str(tmp_path / "public.pem")]
    assert main(arguments) == 0
    assert "documents:" not in capsys.readouterr().out
    published = sorted([*adapter.iterdir(), *meta.iterdir()])
    assert {path.name for path in published} > {"README.md", "run.json", "evaluation-items.jsonl", "record.json", "resolved.json"}
    for path in published:
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert main(arguments) == 1, path.name
        assert path.name in capsys.readouterr().out
        path.write_bytes(whole)
        path.rename(path.with_name("other"))
        assert main(arguments) == 1, path.name
        assert path.name in capsys.readouterr().out
        path.with_name("other").rename(path)
    assert main(arguments) == 0


def test_publishing_keeps_the_documents_of_the_train_step(finished: Finished) -> None:
    it = finished.trained
    before = {path.name: path.read_bytes() for path in it.workspace.out_meta.iterdir() if path.suffix != ".safetensors"}
    publish(it.workspace, it.spec, destination=it.destination, attempt=1)
    meta = it.destination / f"{it.artifact.hex}.meta"
    assert {name: (meta / name).read_bytes() for name in before if (meta / name).exists()} == before
    assert described(meta, finished.summary.documents)
    assert inspect(it.destination / it.artifact.hex) == it.artifact


def test_documents_that_are_gone_are_written_again(finished: Finished) -> None:
    it = finished.trained
    (it.workspace.out_meta / "README.md").unlink()
    assert not described(it.workspace.out_meta, finished.summary.documents)
    publish(it.workspace, it.spec, destination=it.destination, attempt=1)
    meta = it.destination / f"{it.artifact.hex}.meta"
    assert described(meta, finished.summary.documents), "equal facts make equal bytes"
    assert not described(meta, [])


def test_the_record_does_not_hold_its_own_digest(finished: Finished) -> None:
    record = json.loads((finished.trained.workspace.out_meta / "record.json").read_text())
    assert record["training"]["documents"] == []
    assert "record.json" not in [document["name"] for document in record["documents"]]


def test_fields_that_are_compared_are_fields_of_both() -> None:
    ours, theirs = Record.model_json_schema(by_alias=True), Predicate.model_json_schema(by_alias=True)
    for one, other in SAME.items():
        assert _has(ours, one), one
        assert _has(theirs, other), other


def _has(schema: dict[str, object], path: str) -> bool:
    place: object = schema
    for name in path.split("."):
        place = _object(place, schema)["properties"]
        assert isinstance(place, dict)
        if name not in place:
            return False
        place = place[name]
    return True


def _object(part: object, schema: dict[str, object]) -> dict[str, object]:
    assert isinstance(part, dict)
    if "anyOf" in part:
        part = part["anyOf"][0]
    if "$ref" in part:
        definitions = schema["$defs"]
        assert isinstance(definitions, dict)
        return dict(definitions[str(part["$ref"]).rpartition("/")[2]])
    return dict(part)
