"""The operator's signed record and the trainer's own of the same run agree in every field that both have, as the two really write them."""

import json
from pathlib import Path

from finetune_record.trainer_record import SAME, disagreements, read_object
from finetune_trainer.artifact.contents import Artifact, ArtifactFile
from finetune_trainer.artifact.documents import describe
from finetune_trainer.contract import RunSpec
from tests.unit.domain.registry import Registry
from tests.unit.domain.samples import FILES, summary_of
from tests.unit.domain.test_records import governed, statement, trained


def test_what_operator_and_trainer_say_of_a_run_is_the_same(tmp_path: Path) -> None:
    registry = Registry()
    world = trained(governed(registry))
    (given,) = world.documents.values()  # what the operator gave the trainer
    (stored,) = registry.records
    signed = statement(stored)
    told = RunSpec.model_validate(given)
    prepared, train = summary_of("prepare").prepare, summary_of("train").train
    assert prepared is not None
    assert train is not None
    artifact = Artifact(tuple(ArtifactFile(name, digest, 1) for name, digest in sorted(FILES.items())))
    describe(tmp_path, told, artifact, prepared, train, promotable=True)
    record = read_object((tmp_path / "record.json").read_bytes())
    assert record is not None
    assert list(disagreements(record, signed)) == []
    payload = json.loads(signed.to_payload())["predicate"]
    compared = [theirs for ours, theirs in SAME.items() if has(record, ours) and has(payload, theirs)]
    assert {"base.digest", "data.digest", "identity.runKey", "run.loss", "run.epoch", "evaluation.metrics", "outputs.digest"} <= set(
        compared
    )
    assert len(compared) >= 14
    changed = json.loads((tmp_path / "record.json").read_text().replace('"tuned": "0.98"', '"tuned": "0.99"'))
    assert [problem.where for problem in disagreements(changed, signed)] == ["record.json: evaluation.metrics[0].tuned"]


def has(document: object, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True
