"""The trainer's own documents held against the signed statement: two accounts of one run that must agree where both speak."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from finetune_record.difference import differences, shown
from finetune_record.layout import TRAINER_RECORD_FILE
from finetune_record.problems import Check, Problem
from finetune_record.statement import Statement
from finetune_trainer.contract import Digest, canonical_json, digest_of

RUN_FILE: Final = "run.json"
PROMOTABLE_FILE: Final = "promotable"

SAME: Final = {
    "artifactDigest": "outputs.digest",
    "promotable": "outputs.promotable",
    "jobUid": "identity.uid",
    "runKey": "identity.runKey",
    "runNumber": "identity.runNumber",
    "specDigest": "identity.specDigest",
    "baseUri": "base.uri",
    "baseDigest": "base.digest",
    "datasetDigest": "data.digest",
    "examples": "data.examples",
    "training.steps": "run.steps",
    "training.epoch": "run.epoch",
    "training.loss": "run.loss",
    "training.evaluationLoss": "run.evaluationLoss",
    "training.tokens": "run.tokens",
    "evaluation.verdict": "evaluation.verdict",
    "evaluation.items": "evaluation.items",
    "evaluation.metrics": "evaluation.metrics",
    "evaluationItemsDigest": "evaluation.itemsDigest",
    "versions": "code.versions",
}
"""Fields of the trainer's record, each with the field of the predicate that says the same."""


def read_object(text: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def disagreements(record: Mapping[str, Any], statement: Statement) -> Iterator[Problem]:
    """Fields of ``record.json`` that say something else than the statement."""
    predicate = json.loads(statement.to_payload())["predicate"]
    for ours, theirs in SAME.items():
        told, stated = _at(record, ours), _at(predicate, theirs)
        if told is None or stated is None or stated == {}:
            continue  # one of them does not speak of it: the operator sees no versions of libraries
        for field, one, other in differences(told, stated):
            below = f".{field}" if field and not field.startswith("[") else field
            yield _problem(f"{ours}{below}", one, f"predicate.{theirs}{below}", other)
    identity = statement.predicate.identity
    if record.get("job") not in (None, f"{identity.namespace}/{identity.job}"):
        yield _problem("job", shown(record["job"]), "predicate.identity.job", f"{identity.namespace}/{identity.job}")
    yield from _files(record, statement)


def documents_of(record: Mapping[str, Any]) -> dict[str, Digest]:
    """The documents that ``record.json`` vouches for, by name."""
    listed = record.get("documents")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(entry.get("name")): str(entry.get("digest")) for entry in entries}


def unlike_the_record(name: str, text: bytes, statement: Statement) -> Iterator[Problem]:
    """What the statement knows of a document that nobody has signed."""
    predicate = statement.predicate
    if name == RUN_FILE and predicate.identity.spec_digest is not None:
        spec = read_object(text)
        digest = digest_of(canonical_json(spec).encode()) if spec is not None else "not JSON"
        if digest != predicate.identity.spec_digest:
            yield Problem(Check.DOCUMENTS, name, f"is {digest}, and predicate.identity.specDigest is {predicate.identity.spec_digest}")
    if name == PROMOTABLE_FILE and predicate.outputs.promotable is not None:
        stated = str(predicate.outputs.promotable).lower()
        if text != f"{stated}\n".encode():
            yield Problem(Check.DOCUMENTS, name, f"does not say {stated}, which predicate.outputs.promotable is")


def _files(record: Mapping[str, Any], statement: Statement) -> Iterator[Problem]:
    listed = record.get("files")
    if not isinstance(listed, list) or not statement.files:
        return
    told = {str(entry.get("name")): entry.get("digest") for entry in listed if isinstance(entry, dict)}
    for field, one, other in differences(told, statement.files):
        yield _problem(f"files[{field}].digest", one, "subject", other)


def _problem(ours: str, one: str, theirs: str, other: str) -> Problem:
    return Problem(Check.DOCUMENTS, f"{TRAINER_RECORD_FILE}: {ours}", f"is {one}, and {theirs} of the signed record is {other}")


def _at(document: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document
