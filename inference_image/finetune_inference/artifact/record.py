"""The record that lies beside an adapter: read from the same volume, held against keys and digest, and what follows for serving it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from finetune_inference.artifact.copying import file_in, opened
from finetune_inference.artifact.errors import IntakeError
from finetune_inference.artifact.place import place_of
from finetune_inference.contract import AdapterRecord, Finding, RecordedData, RequiredProof
from finetune_record.envelope import Envelope, EnvelopeError
from finetune_record.envelope import opened as verified
from finetune_record.keys import KeyUnusable, PublicKeys, public_keys
from finetune_record.layout import META_SUFFIX, RECORD_FILE, TRAINER_RECORD_FILE
from finetune_record.statement import Statement
from finetune_trainer.contract import Digest
from finetune_trainer.contract.governance import Classification
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.model import Licence

_LARGEST: Final = 1 << 20
_MOST: Final = 8
_PUBLISH: Final = "Publish the adapter again from its run."
_CLEARED: Final = "Serve it where it is cleared."


@dataclass(frozen=True)
class Examined:
    """What the record says, and in words why it proves nothing; empty where it does."""

    record: AdapterRecord
    why: str = ""


def examine(uri: str, digest: Digest, claims: Mapping[str, Path], pem: Sequence[str]) -> Examined:
    """Look for the record of the adapter at ``uri``, whose files have this digest, and hold it against public keys in PEM.

    Without a key nothing is proven. Raises ``IntakeError`` for a volume or a path that cannot be used, ``OSError``.
    """
    content = _read(uri, claims, RECORD_FILE)
    if content is None:
        return Examined(_unsigned(_read(uri, claims, TRAINER_RECORD_FILE)), f"there is no {RECORD_FILE} beside it")
    if not pem:
        return Examined(AdapterRecord(), "no public key is given here to verify its record with")
    try:
        return _signed(content, digest, public_keys("\n".join(pem).encode()))
    except KeyUnusable as error:
        return Examined(AdapterRecord(), f"a public key cannot be used: {error}")
    except EnvelopeError as error:
        return Examined(AdapterRecord(signature=Proof.INVALID, record=Proof.INVALID), str(error)[:300])


def refusal(examined: Examined, proof: RequiredProof) -> Finding | None:
    """Why files with this record may not reach an engine; None where nothing stands against it."""
    record = examined.record
    if record.signature is not Proof.VALID or record.record is not Proof.VALID:
        return Finding(field="record", reason="Unverified", message=examined.why[:512], way_out=_PUBLISH)
    found = record.classification
    if found is None:
        return Finding(field="record", reason="Unverified", message="its record says nothing of a classification", way_out=_PUBLISH)
    lacking = [f"level {found.level} (cleared to {proof.level})"] if found.level > proof.level else []
    lacking += [f"regime {regime}" for regime in sorted(found.regimes - set(proof.regimes))]
    if lacking:
        message = f"the namespace is not cleared for {', '.join(lacking)[:400]}"
        return Finding(field="record", reason="AdapterNotCleared", message=message, way_out=_CLEARED)
    return None


def _signed(content: bytes, digest: Digest, keys: PublicKeys) -> Examined:
    """Raises ``EnvelopeError``."""
    payload = verified(Envelope.read(content), keys)
    try:
        statement = Statement.from_json(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:80]
        return Examined(AdapterRecord(signature=Proof.VALID, record=Proof.INVALID), f"its record cannot be read: {place}: {first['msg']}")
    if statement.artifact != digest:
        why = f"its record is about {statement.artifact}, and the files have {digest}"
        return Examined(AdapterRecord(signature=Proof.VALID, record=Proof.INVALID), why)
    return Examined(_facts(statement))


def _facts(statement: Statement) -> AdapterRecord:
    said = statement.predicate
    effective = said.outputs.classification or (said.policy.classification if said.policy is not None else None)
    classification = (
        Classification(level=effective.level, regimes=frozenset(effective.regimes), residencies=frozenset(effective.residencies))
        if effective is not None
        else None
    )
    namespace = said.identity.namespace
    data = [RecordedData(namespace=namespace, name=each.dataset, uri=each.uri[:1024], digest=each.digest) for each in said.data.sources]
    licences = [Licence(key=each.key) for each in said.base.licences or ()]
    return AdapterRecord(signature=Proof.VALID, record=Proof.VALID, classification=classification, data=data[:_MOST], licences=licences[:4])


def _unsigned(content: bytes | None) -> AdapterRecord:
    """What anybody may have written: of it only what can take something away is heard, which are the data it was trained on."""
    try:
        found: Any = json.loads(content) if content is not None else None
    except (ValueError, RecursionError):
        found = None
    uri, job = (found.get("datasetUri"), found.get("job")) if isinstance(found, dict) else (None, None)
    if not isinstance(uri, str) or not isinstance(job, str):
        return AdapterRecord()
    namespace = job.partition("/")[0][:63] or None
    return AdapterRecord(data=[RecordedData(namespace=namespace, uri=uri[:1024])])


def _read(uri: str, claims: Mapping[str, Path], name: str) -> bytes | None:
    """A document of the folder beside the adapter; None where there is none."""
    try:
        with opened(place_of(f"{uri.rstrip('/')}{META_SUFFIX}", claims)) as folder, file_in(folder, name) as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except IntakeError as error:
        if error.finding.reason == "ArtifactMissing":
            return None
        raise
