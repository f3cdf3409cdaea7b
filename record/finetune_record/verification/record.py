"""The record itself: the envelope's signature, and whether the statement in it is whole and says one thing only."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from finetune_record import envelope
from finetune_record.canonical import canonical
from finetune_record.folder import Published
from finetune_record.keys import PublicKeys
from finetune_record.layout import RECORD_FILE
from finetune_record.problems import Check, Problem
from finetune_record.provenance import build_definition, run_details
from finetune_record.statement import Statement, content_digest
from finetune_record.verification.found import Found, problem
from finetune_trainer.contract import Digest, digest_of

_NEWER = "written by hand, or by a newer version that knows more fields: take a newer finetune"


@dataclass(frozen=True)
class Claim:
    """What the envelope holds, be it signed or not."""

    payload: bytes
    statement: Statement | None = None

    @property
    def digest(self) -> Digest:
        return digest_of(self.payload)


def read_record(published: Published, trusted: PublicKeys) -> tuple[Claim | None, Found]:
    """The statement that the folder claims to be about, and what is wrong with it. Raises ``OSError``."""
    if published.documents is None:
        name = published.documents_path.name
        return None, problem(Check.FOLDER, name, f"is not beside {published.path.name}: there is no record to verify")
    text = published.document(RECORD_FILE)
    if text is None:
        return None, problem(Check.SIGNATURE, RECORD_FILE, "is missing, or is no file: nobody vouches for this adapter")
    try:
        sealed = envelope.Envelope.read(text)
        payload = sealed.content
    except envelope.EnvelopeError as error:
        return _claimed(text), problem(Check.SIGNATURE, RECORD_FILE, str(error))
    found = _signature(sealed, trusted)
    try:
        statement = Statement.from_json(payload)
    except ValidationError as error:
        return Claim(payload), found + problem(Check.STATEMENT, RECORD_FILE, f"{_first(error)}; {_NEWER}")
    wrong = tuple(Problem(Check.STATEMENT, f"{RECORD_FILE}: {field}", message) for field, message in _inconsistencies(statement, sealed))
    return Claim(payload, statement), found + Found(problems=wrong)


def _signature(sealed: envelope.Envelope, trusted: PublicKeys) -> Found:
    try:
        envelope.opened(sealed, trusted)
    except envelope.EnvelopeError as error:
        return problem(Check.SIGNATURE, RECORD_FILE, str(error))
    return Found(checked=("signature of the record",))


def _claimed(text: bytes) -> Claim | None:
    """What a damaged envelope may still be read as, so that the difference to the chain's copy can be told."""
    try:
        payload = envelope.Envelope.from_json(text).content
        return Claim(payload, Statement.from_json(payload))
    except ValueError:
        return None


def _inconsistencies(statement: Statement, sealed: envelope.Envelope) -> Iterator[tuple[str, str]]:
    predicate = statement.predicate
    if canonical(json.loads(sealed.content)) != sealed.content:
        yield "payload", "is not in canonical JSON (RFC 8785)"
    if predicate.outputs.digest != statement.artifact:
        yield "predicate.outputs.digest", f"is {predicate.outputs.digest}, and subject[0] is {statement.artifact}"
    if statement.files and content_digest(statement.files.items()) != statement.artifact:
        yield "subject", "the files do not make the digest of the adapter"
    if predicate.chain.namespace != predicate.identity.namespace:
        yield "predicate.chain.namespace", f"is {predicate.chain.namespace}, and the job's is {predicate.identity.namespace}"
    if predicate.chain.key_id not in {signature.keyid for signature in sealed.signatures}:
        yield "predicate.chain.keyId", "is not the key that signed"
    if predicate.build_definition != build_definition(predicate):
        yield "predicate.buildDefinition", "does not say what the sections say"
    if predicate.run_details != run_details(predicate):
        yield "predicate.runDetails", "does not say what the sections say"


def _first(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'payload'}: {first['msg']}"
