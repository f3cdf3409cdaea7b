"""``record.json``: the unsigned facts about one run, all in one place, so that somebody else can check where an artifact comes from."""

import json
from pathlib import Path

from pydantic import Field, ValidationError

from finetune_trainer.artifact.contents import Artifact
from finetune_trainer.contract import Digest, Document, EvaluationSummary, PrepareSummary, RunSpec, TrainSummary
from finetune_trainer.contract.base import Named
from finetune_trainer.contract.governance.licences import Obligation, obligations_of
from finetune_trainer.contract.model import Licence
from finetune_trainer.pod.sealing import file_digest

RECORD_FILE = "record.json"


class FileFact(Document):
    name: str
    digest: Digest
    bytes: int = Field(ge=0)


class Record(Named):
    """Digests are of bytes as published; ``evaluation_items_digest`` is of the per-item outcomes that the numbers were computed from."""

    kind: str = "RunRecord"
    run_key: str
    run_number: int
    job: str
    job_uid: str
    labels: dict[str, str]
    spec_digest: Digest
    artifact_digest: Digest
    files: list[FileFact]
    base_uri: str
    base_digest: Digest | None = None
    licence: str | None = None
    licences: list[Licence] = Field(default_factory=list, description="Of the base model, by its own files.")
    obligations: list[Obligation] = Field(default_factory=list, description="What these licences ask of whoever passes the artifact on.")
    dataset_uri: str
    dataset_digest: Digest | None = None
    examples: int | None = None
    training: TrainSummary
    evaluation: EvaluationSummary
    evaluation_items_digest: Digest | None = None
    promotable: bool
    versions: dict[str, str]
    documents: list[FileFact] = Field(default_factory=list, description="What lies beside it in the folder of documents.")

    @classmethod
    def of(
        cls, spec: RunSpec, artifact: Artifact, prepared: PrepareSummary | None, train: TrainSummary, meta: Path, *, promotable: bool
    ) -> "Record":
        """The record of a run whose other documents already lie in ``meta``."""
        items, versions = meta / "evaluation-items.jsonl", meta / "versions.json"
        return cls(
            run_key=spec.run.key,
            run_number=spec.run.number,
            job=f"{spec.run.job_namespace}/{spec.run.job_name}",
            job_uid=spec.run.job_uid,
            labels=spec.run.labels,
            spec_digest=spec.content_digest(),
            artifact_digest=artifact.digest,
            files=[FileFact(name=file.name, digest=file.digest, bytes=file.bytes) for file in artifact.files],
            base_uri=spec.base_model.uri,
            base_digest=prepared.base_digest if prepared else spec.base_model.digest,
            licence=prepared.licence if prepared else spec.base_model.licence,
            licences=list(prepared.base_model.licences) if prepared else [],
            obligations=list(obligations_of(prepared.base_model)) if prepared else [],
            dataset_uri=spec.dataset.uri,
            dataset_digest=prepared.dataset.digest if prepared else spec.dataset.digest,
            examples=prepared.dataset.examples if prepared else None,
            training=train,
            evaluation=train.evaluation,
            evaluation_items_digest=file_digest(items) if items.exists() else None,
            promotable=promotable,
            versions=json.loads(versions.read_text(encoding="utf-8")) if versions.exists() else {},
        )


def read_record(path: Path) -> Record | None:
    """The record at ``path``; None where there is none that can be read."""
    try:
        return Record.from_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
