"""The effective classification: what the parts together are, by the strictest of each."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, PlainSerializer

from finetune_trainer.contract.base import Document
from finetune_trainer.contract.governance.vocabulary import LabelWord, Level

Words = Annotated[frozenset[LabelWord], Field(max_length=4096), PlainSerializer(sorted, return_type=list[str], when_used="json")]
"""A set that is written in order, so that equal sets have equal digests; wide enough for the union over all parts."""


class Classification(Document):
    """``residencies`` are the places where it all must lie: none means anywhere, and more than one can be satisfied nowhere."""

    level: Level = Level.PUBLIC
    regimes: Words = frozenset()
    residencies: Words = frozenset()

    def covers(self, other: "Classification") -> bool:
        """Whether nothing of the other is above this one."""
        return other.level <= self.level and other.regimes <= self.regimes and other.residencies <= self.residencies


def strictest(parts: Iterable[Classification]) -> Classification:
    """The least that covers all: highest level, union of regimes, union of places. Nothing at all is public."""
    level = Level.PUBLIC
    regimes: frozenset[str] = frozenset()
    residencies: frozenset[str] = frozenset()
    for part in parts:
        level = max(level, part.level)
        regimes |= part.regimes
        residencies |= part.residencies
    return Classification.model_construct(level=level, regimes=regimes, residencies=residencies)
