"""An adapter on a disk as publishing leaves it, with its record, and the chain and checkpoints as people export them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_record import bundle, chain, envelope, keys
from finetune_record.layout import CHECKPOINT_FILE, MODEL_SIGNATURE_FILE, RECORD_FILE, TRAINER_RECORD_FILE
from finetune_record.materials import File
from finetune_record.sections import Sections
from finetune_record.statement import Statement
from finetune_trainer.artifact.record import FileFact, Record
from finetune_trainer.contract import EvaluationSummary, MetricResult, TrainSummary, canonical_json, digest_of
from tests.unit.record import examples

SPEC = {"stage": "SFT", "run": {"name": "letters"}}
DOCUMENTS = {
    "README.md": b"# letters\n",
    "data-report.json": b"{}\n",
    "promotable": b"true\n",
    "run.json": json.dumps(SPEC, indent=2).encode() + b"\n",
}


@dataclass(frozen=True)
class Place:
    """Where everything lies below one folder."""

    root: Path
    hex: str

    @property
    def adapter(self) -> Path:
        return self.root / self.hex

    @property
    def meta(self) -> Path:
        return self.root / f"{self.hex}.meta"

    @property
    def record(self) -> Path:
        return self.meta / RECORD_FILE

    @property
    def chain(self) -> Path:
        return self.root / "chain.json"

    @property
    def anchors(self) -> Path:
        return self.root / "anchors.json"

    @property
    def key(self) -> Path:
        return self.root / "public.pem"

    def arguments(self, *more: str) -> list[str]:
        return ["verify", str(self.adapter), "--key", str(self.key), "--chain", str(self.chain), "--anchor", str(self.anchors), *more]


def trainer_record(sections: Sections) -> bytes:
    """The trainer's own account of the same run."""
    identity, evaluation, outputs = sections.identity, sections.evaluation, sections.outputs
    assert evaluation is not None
    assert sections.base.digest is not None
    compared = EvaluationSummary(
        verdict=evaluation.verdict,
        items=evaluation.items,
        message=evaluation.message,
        metrics=[MetricResult(**metric.model_dump(exclude={"seed"})) for metric in evaluation.metrics],
    )
    record = Record(
        run_key=identity.run_key,
        run_number=identity.run_number,
        job=f"{identity.namespace}/{identity.job}",
        job_uid=identity.uid,
        labels={},
        spec_digest=identity.spec_digest or "",
        artifact_digest=outputs.digest,
        files=[FileFact(name=file.name, digest=file.digest, bytes=file.bytes or 0) for file in examples.files()],
        base_uri=sections.base.uri,
        base_digest=sections.base.digest,
        dataset_uri=sections.data.sources[0].uri,
        dataset_digest=sections.data.digest,
        examples=sections.data.examples,
        training=TrainSummary(
            steps=150, epoch="2.0", loss="0.71", tokens=960_000, seconds=1100, adapter_digest=outputs.digest, evaluation=compared
        ),
        evaluation=compared,
        promotable=True,
        versions=dict(sections.code.versions or {}),
    )
    return json.dumps(json.loads(record.to_json()), indent=2, sort_keys=True).encode() + b"\n"


def publish(root: Path, *, before: int = 3, after: int = 2, signs: bool = True, justification: str = "Shorter letters") -> Place:
    """A valid adapter whose record is in the middle of its chain. ``signs``: whether its documents are in the record by digest."""
    plain = examples.sections()
    spec = {"spec_digest": digest_of(canonical_json(SPEC).encode()), "justification": justification}
    plain = plain.model_copy(update={"identity": plain.identity.model_copy(update=spec)})
    record_json = trainer_record(plain)
    if signs:
        documents = [File(name=name, digest=digest_of(content)) for name, content in DOCUMENTS.items()]
        outputs = plain.outputs.model_copy(update={"documents": documents, "record_digest": digest_of(record_json)})
        plain = plain.model_copy(update={"outputs": outputs})
    place = Place(root, plain.outputs.digest.removeprefix("sha256:"))
    made = chain_of(before + 1 + after, plain)
    sealed = [envelope.seal(payload, examples.KEY).to_bytes() for _, payload in made]
    entries = [chain.Entry(statement.predicate.chain, digest_of(payload)) for statement, payload in made]
    write(place.adapter, examples.CONTENTS)
    signature = bundle.sign_files(place.hex, made[before][0].files, examples.KEY).to_bytes()
    write(place.meta, {**DOCUMENTS, TRAINER_RECORD_FILE: record_json, RECORD_FILE: sealed[before], MODEL_SIGNATURE_FILE: signature})
    place.key.write_bytes(keys.public_pem(examples.KEY.public_key()))
    write_list(place.chain, RECORD_FILE, [(config_name(entry), text.decode()) for entry, text in zip(entries, sealed, strict=True)])
    points = [chain.checkpoint(entry, examples.NOW, entry.link.key_id) for entry in (entries[before], entries[-1])]
    write_list(
        place.anchors,
        CHECKPOINT_FILE,
        [
            (f"clinic-checkpoint-{point.seq}", envelope.seal(point.to_payload(), examples.KEY, envelope.CHECKPOINT).to_bytes().decode())
            for point in points
        ],
    )
    return place


def chain_of(length: int, given: Sections) -> list[tuple[Statement, bytes]]:
    """Statements with what is signed of them."""
    made: list[tuple[Statement, bytes]] = []
    head = None
    for _ in range(length):
        statement = examples.statement(head, given)
        payload = statement.to_payload()
        made.append((statement, payload))
        head = chain.Entry(statement.predicate.chain, digest_of(payload))
    return made


def config_name(entry: chain.Entry) -> str:
    return chain.entry_name(entry.link.namespace, entry.link.seq)


def write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def write_list(path: Path, key: str, entries: list[tuple[str, str]]) -> None:
    """As ``kubectl get configmaps -o json`` prints them."""
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}} for name, text in entries]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))


def items_of(path: Path) -> list[Any]:
    items = json.loads(path.read_text())["items"]
    assert isinstance(items, list)
    return items


def rewrite_items(path: Path, items: list[Any]) -> None:
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
