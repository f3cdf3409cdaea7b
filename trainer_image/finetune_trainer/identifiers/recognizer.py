"""What a recognizer is: a pattern that finds candidates in linear time, a judgement of each, and what a row must have to be worth a look.

A pattern consumes one character and looks at a bounded number of others from there, or consumes what it matches without trying it a second
way (possessive repeats): work per character is bounded whatever the row holds, and candidates may overlap.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity


class Needs(StrEnum):
    """What a row must hold for a recognizer to be asked at all; each is found out once per row."""

    NOTHING = "nothing"
    DIGIT = "a digit"
    NUMBER = "seven digits in one number"
    YEAR = "a year"
    COLONS = "colons or dashes as addresses have them"


CONDITIONS: Final = {
    Needs.DIGIT: re.compile(r"[0-9]"),
    Needs.NUMBER: re.compile(r"[0-9](?:[ .\-/()]{0,2}[0-9]){6}"),
    Needs.YEAR: re.compile(r"(?:19|20)[0-9]{2}(?![0-9])"),
    Needs.COLONS: re.compile(r"::|:[0-9a-f]{1,4}:[0-9a-f]{1,4}:|-[0-9a-f]{2}-[0-9a-f]{2}-[0-9a-f]{2}-", re.IGNORECASE),
}


@dataclass(frozen=True, slots=True)
class RowText:
    """A row's text as it is and in lower case; both begin and end with a line break."""

    text: str
    lower: str
    _said: dict[re.Pattern[str], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "RowText":
        return cls(text, text.lower())

    def says(self, name: re.Pattern[str]) -> bool:
        """Whether the name stands anywhere in the row; looked for once, however many candidates ask."""
        if name not in self._said:
            self._said[name] = name.search(self.lower) is not None
        return self._said[name]


Judge = Callable[[re.Match[str], RowText], bool | None]
"""None: no identifier. False: it looks like one. True: it is one by its checksum, and where that is weak by what the row calls it."""


def _looks_like_one(_match: re.Match[str], _row: RowText) -> bool:
    return False


@dataclass(frozen=True)
class Recognizer:
    """``hints`` are words in lower case of which the row must hold one; none asks for none. ``lower``: which text the pattern reads."""

    entity: Entity
    name: str
    pattern: re.Pattern[str]
    validator: str = "pattern only"
    judge: Judge = field(default=_looks_like_one)
    validates: bool = False
    needs: Needs = Needs.NUMBER
    hints: tuple[str, ...] = ()
    lower: bool = False

    def identity(self) -> list[str]:
        """What makes it find what it finds, but for the code of its judgement."""
        return [self.entity.value, self.name, self.pattern.pattern, self.validator, self.needs.value, *self.hints]


def pattern(*parts: str) -> re.Pattern[str]:
    """The parts as one expression; digits and letters are those of ASCII, since texts are folded before."""
    return re.compile("".join(parts))
