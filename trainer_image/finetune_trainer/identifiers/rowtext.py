"""The text of a row as the recognizers read it: all of its words, wherever they stand, with digits of every script as 0 to 9.

What a row holds besides the texts that are learned (columns of numbers, names of columns, nested lists) is read too: an identifier in a
column that no format uses is still in the file. A name and its value stand on one line, so that a label is beside what it labels.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

MAX_CHARACTERS: Final = 4_000_000
"""Of one row; what goes beyond is not read, and the row counts as not scanned whole."""

_REMEMBERED: Final = 1 << 16
_SPACES: Final = frozenset({"Zs", "Zl", "Zp"})
_DASHES: Final = "Pd"
_MINUS: Final = "\u2212"


class _Folding(dict[int, str]):
    """Digits, spaces, dashes and full-width signs of all scripts as those of ASCII; what is invisible is left out. Filled on demand."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Nd":
            folded = str(unicodedata.decimal(character))
        elif category in _SPACES:
            folded = "\n" if category != "Zs" else " "
        elif category == _DASHES or character == _MINUS:
            folded = "-"
        elif category == "Cf":
            folded = ""
        elif 0xFF01 <= code <= 0xFF5E:
            folded = chr(code - 0xFEE0)
        else:
            folded = character
        if len(self) < _REMEMBERED:
            self[code] = folded
        return folded


_FOLDED = _Folding()
_BEYOND: Final = re.compile(r"[^\x00-\uffff]")


@cache
def _basic_plane() -> dict[int, str]:
    """All that is folded of the first 65,536 characters: a plain dictionary is read in two thirds of the time."""
    return {code: _FOLDED[code] for code in range(1 << 16)}


def row_text(value: Any) -> tuple[str, bool]:
    """One line per text or number of the row, folded; and whether that is all of it."""
    lines: list[str] = [""]
    room = MAX_CHARACTERS
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        name, found = pending.pop()
        line = name
        if isinstance(found, Mapping):
            pending.extend((f"{key}: ", inner) for key, inner in reversed(list(found.items())))
        elif isinstance(found, list | tuple):
            pending.extend(("" if isinstance(inner, Mapping | list | tuple) else name, inner) for inner in reversed(found))
        else:
            line += _plain(found)
        if not line:
            continue
        lines.append(line if len(line) <= room else line[:room])
        room -= len(line) + 1
        if room < 0:
            return _folded(lines), False
    return _folded(lines), True


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "ignore")
    return "" if value is None or isinstance(value, bool) else str(value)


def _folded(lines: list[str]) -> str:
    lines.append("")
    text = "\n".join(lines)  # begins and ends with a line break, so that no pattern needs to know where a text ends
    if text.isascii():
        return text
    return text.translate(_FOLDED if _BEYOND.search(text) else _basic_plane())
