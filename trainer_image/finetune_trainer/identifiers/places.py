"""Where in a text characters of a kind stand: a whole number with one bit for each character, the first character's the highest.

A step on such a number looks at all places at once, in the same time whatever the text holds: ``digits & digits << 1`` are the places where
two digits begin. A megabyte takes 2 ms for each kind of character and 0.02 ms for each step, where a pattern that is tried from every digit
takes 20 to 50 ms.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final

DIGITS: Final = "0123456789"
CAPITALS: Final = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
"""And digits; but I, O and Q, which numbers of vehicles do without."""
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@cache
def _table(characters: str) -> bytes:
    kind = frozenset(characters.encode("ascii"))
    return bytes(ord("1") if code in kind else ord("0") for code in range(256))


def without(places: int, others: int) -> int:
    return places ^ places & others


class Places:
    """Of one text. What is not ASCII is of no kind; ``<< n`` asks for the character ``n`` further on, ``>> n`` for the one ``n`` before."""

    def __init__(self, text: str) -> None:
        self._text = text.encode("ascii", "replace")  # one byte for each character, "?" for others: no kind holds it
        self._kinds: dict[str, int] = {}
        self._runs: dict[tuple[str, int], int] = {}

    def of(self, *kinds: str) -> int:
        """Where a character stands that is of one of the kinds; each kind is some characters."""
        found = 0
        for kind in kinds:
            if kind not in self._kinds:
                self._kinds[kind] = self._looked_for(kind)
            found |= self._kinds[kind]
        return found

    def _looked_for(self, kind: str) -> int:
        if len(kind) <= 2 and not any(character.encode("ascii") in self._text for character in kind):
            return 0  # most signs are in few texts
        return int(self._text.translate(_table(kind)), 2)

    def run(self, kind: str, length: int) -> int:
        """Where so many characters of the kind begin, or more."""
        if length == 1:
            return self.of(kind)
        known = self._runs.get((kind, length))
        if known is None:
            known = self._runs[kind, length] = self.run(kind, length - 1) & self.of(kind) << length - 1
        return known

    def groups(self, separator: str, *sizes: int) -> int:
        """Where groups of so many digits begin, with the separator between them; more digits may follow the last."""
        found, at = self.run(DIGITS, sizes[0]), sizes[0]
        for size in sizes[1:]:
            found &= self.of(separator) << at & self.run(DIGITS, size) << at + 1
            at += 1 + size
        return found

    def each(self, places: int) -> Iterator[int]:
        """The places one by one, as positions in the text."""
        bits = f"{places:b}"
        skipped = len(self._text) - len(bits)
        at = bits.find("1")
        while at >= 0:
            yield skipped + at
            at = bits.find("1", at + 1)
