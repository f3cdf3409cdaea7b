"""Phrases that several exports share."""

from collections.abc import Iterable
from datetime import datetime

from finetune_record.agreement import Classification
from finetune_record.statement import Statement
from finetune_trainer.contract import Digest, digest_of

NOT_RECORDED = "not in the record"


def record_digest(statement: Statement) -> Digest:
    """What the export is derived from."""
    return digest_of(statement.to_payload())


def title(statement: Statement) -> str:
    identity = statement.predicate.identity
    return f"{identity.namespace}/{identity.job}, run {identity.run_number}"


def moment(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at is not None else None


def classified(classification: Classification | None) -> str | None:
    """Level, regimes and places on one line; None where there is nothing."""
    if classification is None:
        return None
    words = ", ".join([classification.level.value, *classification.regimes])
    return words + (f"; must stay in {', '.join(classification.residencies)}" if classification.residencies else "")


def plain(text: str) -> str:
    """A stranger's text on one line that means nothing to Markdown."""
    line = "".join(character if character.isprintable() else " " for character in text)
    for character in "\\`*_[]<>|#":
        line = line.replace(character, "\\" + character)
    return line


def listed(entries: Iterable[str]) -> str | None:
    """One line of several entries; None for none."""
    return ", ".join(entries) or None
