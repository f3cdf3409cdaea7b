"""What a recognizer is: a pattern that finds candidates in linear time, a judgement of each, and what a row must have to be worth a look.

A pattern consumes one character and looks at a bounded number of others from there, or consumes what it matches without trying it a second
way (possessive repeats): work per character is bounded whatever the row holds, and candidates may overlap. It begins with what can be
looked for fast, a character or a few words; what must not stand before that is asked afterwards. In a long row in which digits are many,
patterns of numbers are tried only where they can begin (`beginnings`), which changes the time and nothing else.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers import beginnings
from finetune_trainer.identifiers.places import CAPITALS, DIGITS, Places


class Needs(StrEnum):
    """What a row must hold for a recognizer to be asked at all; each is found out once per row."""

    NOTHING = "nothing"
    DIGIT = "a digit"
    NUMBER = "seven digits in one number"
    YEAR = "a year"
    COLONS = "colons or dashes as addresses have them"


_HEX: Final = "[0-9A-Fa-f]"
_CONDITIONS: Final = {
    Needs.DIGIT: (re.compile(r"[0-9]"),),
    Needs.NUMBER: (re.compile(r"[0-9](?:[ .\-/()]{0,2}[0-9]){6}"),),
    Needs.YEAR: (re.compile(r"19[0-9]{2}(?![0-9])"), re.compile(r"20[0-9]{2}(?![0-9])")),
    Needs.COLONS: (re.compile(rf":(?::|{_HEX}{{1,4}}:{_HEX}{{1,4}}:)"), re.compile(rf"-{_HEX}{{2}}-{_HEX}{{2}}-{_HEX}{{2}}-")),
}
"""One of the patterns; each begins with what is looked for fast."""
_AT_ONCE: Final = {
    Needs.DIGIT: beginnings.digit,
    Needs.NUMBER: beginnings.number,
    Needs.YEAR: beginnings.year,
    Needs.COLONS: beginnings.colons,
}
_NO_DIGITS: Final = str.maketrans("", "", DIGITS)
_LONG: Final = 4_096
"""Characters of a text from which on it is asked whether it is crowded."""
_CROWDED: Final = 16
"""A text is where one character in so many begins a number or is a capital: then looking at all places at once is faster."""


@dataclass(frozen=True, slots=True)
class RowText:
    """A row's text as it is and in lower case; both begin and end with a line break. ``hinting`` is where hints are looked for."""

    text: str
    lower: str
    hinting: str
    _said: dict[tuple[str | re.Pattern[str], ...], bool] = field(default_factory=dict)
    _places: dict[bool, Places | None] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "RowText":
        lower = text.lower()
        without_digits = len(text) >= _LONG and lower.isascii()  # in a long row of digits there is then little to look through
        return cls(text, lower, lower.translate(_NO_DIGITS) if without_digits else lower)

    def says(self, *names: str | re.Pattern[str]) -> bool:
        """Whether one of the names stands anywhere in the row; looked for once, however many candidates ask."""
        if names not in self._said:
            self._said[names] = any(name in self.lower if isinstance(name, str) else name.search(self.lower) for name in names)
        return self._said[names]

    def has(self, need: Needs) -> bool:
        """The same either way: a crowded text is not looked through place by place."""
        if need is Needs.NOTHING:
            return True
        places = self.places(lower=False)
        if places is not None:
            return _AT_ONCE[need](places) != 0
        return any(condition.search(self.text) for condition in _CONDITIONS[need])

    def places(self, *, lower: bool) -> Places | None:
        """Of the text that a pattern reads, if it is crowded; in lower case ASCII keeps its places, and letters stay letters."""
        if len(self.text) < _LONG:
            return None
        lower = lower and not self.text.isascii()
        if lower not in self._places:
            places = Places(self.lower if lower else self.text)
            self._places[lower] = places if places.of(CAPITALS).bit_count() * _CROWDED >= len(self.text) else None
        return self._places[lower]


Judge = Callable[[re.Match[str], RowText], bool | None]
"""None: no identifier. False: it looks like one. True: it is one by its checksum, and where that is weak by what the row calls it."""


def _looks_like_one(_match: re.Match[str], _row: RowText) -> bool:
    return False


@dataclass(frozen=True)
class Recognizer:
    """``lower``: which text the pattern reads.

    ``hints`` are words in lower case, without digits, of which a row holds one wherever the pattern finds something; without them it is
    tried on every row. ``begins`` are the only places where it can match, and its matches there do not overlap; without them all are tried.
    """

    entity: Entity
    name: str
    pattern: re.Pattern[str]
    validator: str = "pattern only"
    judge: Judge = field(default=_looks_like_one)
    validates: bool = False
    needs: Needs = Needs.NUMBER
    hints: tuple[str, ...] = ()
    lower: bool = False
    begins: Callable[[Places], int] | None = None

    def identity(self) -> list[str]:
        """What makes it find what it finds, but for the code of its judgement."""
        return [self.entity.value, self.name, self.pattern.pattern, self.validator, self.needs.value, *self.hints]

    def candidates(self, row: RowText) -> Iterator[re.Match[str]]:
        """What ``pattern.finditer`` finds, in that order."""
        text = row.lower if self.lower else row.text
        places = row.places(lower=self.lower) if self.begins is not None else None
        if self.begins is None or places is None:
            return self.pattern.finditer(text)
        return filter(None, (self.pattern.match(text, at) for at in places.each(self.begins(places))))


def pattern(*parts: str) -> re.Pattern[str]:
    """The parts as one expression; digits and letters are those of ASCII, since texts are folded before."""
    return re.compile("".join(parts))
