"""Rows in, counts out: how many rows hold an identifier of each kind, and in how many of them it is validated.

No clock bounds the work, so that equal rows make equal reports on every machine: patterns are linear, the length of a row is bounded
(`rowtext.MAX_CHARACTERS`), and so are the candidates that are judged. A row beyond a bound counts as not scanned whole, which the decision
of governance takes for a gap.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from finetune_trainer.contract.base import canonical_json, digest_of
from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.addresses import ADDRESSES
from finetune_trainer.identifiers.credentials import SECRETS
from finetune_trainer.identifiers.labelled import LABELLED
from finetune_trainer.identifiers.names import NameFinder
from finetune_trainer.identifiers.numbered import NUMBERS
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, RowText
from finetune_trainer.identifiers.rowtext import row_text

SCANNER_VERSION: Final = 1
"""Rises with every change of the code that judges or reads; what patterns and names say is in the digest already."""
RECOGNIZERS: Final[tuple[Recognizer, ...]] = (*NUMBERS, *ADDRESSES, *LABELLED, *SECRETS)
MAX_CANDIDATES: Final = 4_000
"""Of one recognizer in one row."""
FIRST_ROWS: Final = 20
_BY_NEED: Final = tuple((need, tuple(r for r in RECOGNIZERS if r.needs is need)) for need in Needs)


def pattern_digest() -> str:
    """What it can find: equal digests find the same in the same rows."""
    return digest_of(canonical_json([SCANNER_VERSION, *(recognizer.identity() for recognizer in RECOGNIZERS)]).encode())


@dataclass(frozen=True)
class Found:
    """Of one row: the kinds that are in it, each with whether it is validated; and whether the row was scanned whole."""

    entities: dict[Entity, bool]
    whole: bool = True


def scan(value: Any, recognizers: Sequence[tuple[Needs, Sequence[Recognizer]]] = _BY_NEED, names: NameFinder | None = None) -> Found:
    """What a row holds; ``value`` is a text, or anything that JSON, CSV or Parquet make of a row."""
    text, whole = row_text(value)
    row = RowText.of(text)
    entities: dict[Entity, bool] = {}
    for need, group in recognizers:
        if not row.has(need):
            continue
        for recognizer in group:
            known = entities.get(recognizer.entity)
            if known or (known is False and not recognizer.validates) or not _hinted(recognizer.hints, row.hinting):
                continue
            verdict, all_judged = _judged(recognizer, row)
            whole = whole and all_judged
            if verdict is not None:
                entities[recognizer.entity] = verdict or bool(known)
    if names is not None:
        named, all_read = names.find(text)
        entities |= dict.fromkeys(sorted(named), False)
        whole = whole and all_read
    return Found(entities, whole)


def _hinted(hints: tuple[str, ...], text: str) -> bool:
    for hint in hints:  # a loop, because a generator costs more than most of what it would save
        if hint in text:
            return True
    return not hints


def _judged(recognizer: Recognizer, row: RowText) -> tuple[bool | None, bool]:
    """The best verdict about any candidate, and whether all were judged that could better it."""
    best: bool | None = None
    for number, match in enumerate(recognizer.candidates(row), start=1):
        verdict = recognizer.judge(match, row)
        if verdict is not None:
            best = verdict
            if verdict or not recognizer.validates:
                return best, True
        if number == MAX_CANDIDATES:
            return best, False
    return best, True


@dataclass
class EntityCount:
    """``first`` are the numbers of the first rows: by them a steward finds the rows, and nobody else anything."""

    rows: int = 0
    validated_rows: int = 0
    first: list[int] = field(default_factory=list)


@dataclass
class Scanner:
    """Counts over the rows of one source, ``role`` as the data manifest names it; without ``names`` nobody looks for any."""

    role: str
    names: NameFinder | None = None
    rows: int = 0
    cut_rows: int = 0
    counts: dict[Entity, EntityCount] = field(default_factory=lambda: defaultdict(EntityCount))

    def look(self, number: int, value: Any) -> None:
        """Scan one row as it was read, whatever becomes of it later."""
        found = scan(value, names=self.names)
        self.rows += 1
        self.cut_rows += not found.whole
        for entity, validated in found.entities.items():
            count = self.counts[entity]
            count.rows += 1
            count.validated_rows += validated
            if len(count.first) < FIRST_ROWS:
                count.first.append(number)
