"""All checks, in order, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_record.folder import Published
from finetune_record.keys import PublicKeys
from finetune_record.problems import Problem
from finetune_record.statement import Statement
from finetune_record.stored import LogLine, Stored
from finetune_record.verification.contents import check_documents, check_files, check_model_signature
from finetune_record.verification.found import Found
from finetune_record.verification.history import check_anchors, check_chain
from finetune_record.verification.record import Claim, read_record
from finetune_trainer.contract import Digest

_NO_CHAIN = "chain: none was given, so that no record was taken out or exchanged is not shown (--chain)"
_NO_ANCHORS = "anchors: none were given, so that the chain was not cut off or written anew by whoever holds the key is not shown (--anchor)"


@dataclass(frozen=True)
class Evidence:
    """What there is to verify: the folder, the keys that are trusted, and what was exported of chain and anchors."""

    published: Published
    trusted: PublicKeys
    records: Sequence[Stored] | None = None
    anchors: Sequence[Stored | LogLine] | None = None


@dataclass(frozen=True)
class Verification:
    """``statement`` is what the record says, verified or not; None where it cannot be read. ``digest`` is its SHA-256."""

    published: Published
    statement: Statement | None
    digest: Digest | None
    found: Found

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.found.problems

    @property
    def verified(self) -> bool:
        return self.statement is not None and not self.problems


def verify(evidence: Evidence) -> Verification:
    """Everything that is wrong, each with file or field. Raises ``OSError`` where a disk refuses."""
    published = evidence.published
    claim, found = read_record(published, evidence.trusted)
    statement = claim.statement if claim else None
    if statement is not None:
        found += check_files(published, statement)
        found += check_model_signature(published, statement, evidence.trusted)
        found += check_documents(published, statement)
    if claim is not None:
        found += _history(evidence, claim)
    return Verification(published, statement, claim.digest if claim else None, found)


def _history(evidence: Evidence, claim: Claim) -> Found:
    if evidence.records is None:
        return Found(notes=(_NO_CHAIN,))
    entries, found = check_chain(evidence.records, claim, evidence.trusted)
    if evidence.anchors is None:
        return found + Found(notes=(_NO_ANCHORS,))
    namespace = claim.statement.predicate.chain.namespace if claim.statement else ""
    return found + check_anchors(evidence.anchors, entries, namespace, evidence.trusted)
