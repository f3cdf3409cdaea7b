"""Where the patterns of numbers can begin, for all places of a text at once (`places`): the pattern itself is tried only there.

Each function says what its pattern says about the form, so that on a text that is built to be tried and to fail little is left to try. What
it lets through too much costs time and finds nothing; what it left out would be missed, so a test compares each with its pattern alone.
"""

from collections.abc import Iterable
from functools import reduce
from itertools import product
from operator import or_
from typing import Final

from finetune_trainer.identifiers.places import CAPITALS, DIGITS, LETTERS, Places, without

_HEX: Final = "0123456789ABCDEFabcdef"


def _any(found: Iterable[int]) -> int:
    return reduce(or_, found, 0)


def _ending(places: Places, lengths: Iterable[int]) -> int:
    """Numbers of so many digits, no digit behind them, nor a point or a dash and one."""
    digits = places.of(DIGITS)
    inside = digits | places.of("-", ".") & digits << 1
    return _any(without(places.run(DIGITS, length), inside << length) for length in lengths)


def _behind(places: Places, *signs: str) -> int:
    """What stands behind a digit, or behind a digit and one of the signs: inside of a number."""
    digits = places.of(DIGITS)
    return digits >> 1 | places.of(*signs) >> 1 & digits >> 2


def _grouped(places: Places, *sizes: int, by: str = " -") -> int:
    """Groups of these sizes with the same sign between all, that no number goes on behind."""
    *_, last = sizes
    at = sum(sizes) + len(sizes) - 1 - last
    return _any(places.groups(sign, *sizes) for sign in by) & _ending(places, [last]) << at


def card(places: Places) -> int:
    """Whether an issuer begins with the first digit is left to the pattern, but for 0 and 1."""
    grouped = _any(_grouped(places, *sizes) for sizes in ((4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 4, 4, 7), (4, 6, 4), (4, 6, 5)))
    return without(_ending(places, range(14, 20)) | grouped, _behind(places, "-", ".") | places.of("0", "1"))


def ssn(places: Places) -> int:
    return without(_grouped(places, 3, 2, 4), _behind(places, "-", ".") | places.of(LETTERS) >> 1)


def aadhaar(places: Places) -> int:
    dash, letters = places.of("-"), places.of(LETTERS)
    followed = places.of(" ", "-") & places.run(DIGITS, 4) << 1 | dash & letters << 1
    found = without(_ending(places, [12]), followed << 12) | without(_grouped(places, 4, 4, 4), followed << 14)
    return without(found, _behind(places, "-", ".") | places.of("0", "1") | dash >> 1 & letters >> 2)


def nhs_number(places: Places) -> int:
    return without(_ending(places, [10]) | _grouped(places, 3, 3, 4), _behind(places, "-", "."))


def npi(places: Places) -> int:
    return without(_ending(places, [10]), _behind(places, "-", ".")) & places.of("1", "2")


def imei(places: Places) -> int:
    return without(_ending(places, [15]) | _grouped(places, 2, 6, 6, 1), _behind(places, "-", "."))


def vin(places: Places) -> int:
    word = places.of(DIGITS, LETTERS, "_", "-", "/", "+")
    return without(places.run(CAPITALS, 17), word >> 1 | word << 17)


def iban(places: Places) -> int:
    word = places.of(DIGITS, LETTERS)
    two, three = word & word << 1, word & word << 1 & word << 2
    four = two & two << 2
    grouped = _any(places.of(by) & four << 1 & places.of(by) << 5 & four << 6 & places.of(by) << 10 & three << 11 for by in " -")
    plain = four & four << 4 & three << 8
    return without(places.run(DIGITS, 2) & places.run(LETTERS, 2) >> 2, word >> 3) & (grouped | plain) << 2


def phone_american(places: Places) -> int:
    digits = places.of(DIGITS)
    low = places.of("0", "1")
    behind = places.of(DIGITS, LETTERS, ".") >> 1 | places.of("-") >> 1 & digits >> 2 & digits >> 3
    return without(_grouped(places, 3, 3, 4, by="-. "), behind | low | low << 4)


def phone_national(places: Places) -> int:
    by, zeros = places.of(" ", "-"), places.of("0")
    ends = _ending(places, [3, 4]) << 1
    rest = _ending(places, [6, 7, 8]) | _any(places.run(DIGITS, length) & (by & ends) << length for length in (3, 4))
    found = zeros & _any(places.run(DIGITS, length) & (by & rest << 1) << length for length in (3, 4, 5, 6))
    return without(found, places.of(DIGITS, LETTERS, ".", "-") >> 1 | zeros << 1)


def phone_international(places: Places) -> int:
    plus = without(places.of("+"), places.of(DIGITS, LETTERS, "+") >> 1)
    digits = places.of(DIGITS)
    whole = _spread(places, without(digits, digits << 1), range(6, 15)) if plus else 0
    return plus & without(whole, places.of("0")) << 1


def _spread(places: Places, last: int, further: range) -> int:
    """Digits with so many further ones behind them, up to two signs before each; ``last`` are those that can be the last one."""
    digits, one = places.of(DIGITS), places.of(" ", "()", ".", "-", "/") << 1
    two = one & one << 1
    found = 0
    for count in range(1, further.stop):
        last = digits & (last << 1 | one & last << 2 | two & last << 3)
        found |= last if count in further else 0
    return found


def ip_four(places: Places) -> int:
    word, dot = places.of(DIGITS, LETTERS), places.of(".")
    follows = word | places.of(".", "-") & places.of(DIGITS) << 1
    found = _any(without(places.run(DIGITS, length), follows << length) for length in (1, 2, 3))
    for _ in range(3):
        found = _any(places.run(DIGITS, length) & (dot & found << 1) << length for length in (1, 2, 3))
    return without(found, (word | places.of(".", "-")) >> 1)


def ip_six(places: Places) -> int:
    """Up to four figures before each of two colons, and no letter behind it all; what else it needs is left to the judgement."""
    colon, word = places.of(":"), places.of(DIGITS, LETTERS)
    written = places.of(_HEX, ":", ".")
    found = written << 1 & written << 2 & _after_figures(places, colon & _after_figures(places, colon) << 1)
    ends, run = without(written, (written | word) << 1), written
    for step in (1, 2, 4, 8, 16):
        ends |= run & ends << step
        run &= run << step
    return without(found & (ends | run), (word | colon | places.of(".", "_")) >> 1)


def _after_figures(places: Places, sign: int) -> int:
    """The sign, or up to four figures and the sign."""
    return sign | _any(places.run(_HEX, length) & sign << length for length in (1, 2, 3, 4))


def mac_address(places: Places) -> int:
    """The first colon or dash, with two figures before it and five times two behind it."""
    word = places.of(DIGITS, LETTERS, ":", "-")
    pair = places.run(_HEX, 2)
    found = 0
    for sign in ":-":
        by = places.of(sign)
        next_pair = by & pair << 1
        found |= next_pair & next_pair << 3 & next_pair << 6 & next_pair << 9 & next_pair << 12
    return without(found & pair >> 2, word >> 3 | word << 15)


def date_iso(places: Places) -> int:
    """Which digits it are is left to the pattern."""
    return without(_dated(places, (4,), (1, 2), (1, 2)), _behind(places, "-", ".", "/"))


def date_figures(places: Places) -> int:
    """Which digits it are is left to the pattern."""
    return without(_dated(places, (1, 2), (1, 2), (4,)), places.of(DIGITS, LETTERS, "-", ".", "/") >> 1)


def _dated(places: Places, *sizes: tuple[int, ...]) -> int:
    digits = places.of(DIGITS)
    found = (without(places.groups(sign, *chosen), digits << sum(chosen) + 2) for sign in "-/." for chosen in product(*sizes))
    return _any(found)


def digit(places: Places) -> int:
    return places.of(DIGITS)


def number(places: Places) -> int:
    """Seven digits, as they stand in telephone numbers."""
    return _spread(places, places.of(DIGITS), range(6, 7))


def year(places: Places) -> int:
    digits = places.of(DIGITS)
    century = places.of("1") & places.of("9") << 1 | places.of("2") & places.of("0") << 1
    return without(century & places.run(DIGITS, 4), digits << 4)


def colons(places: Places) -> int:
    """What addresses have: two colons with up to four figures between, or four dashes with two figures between."""
    colon, pair = places.of(":"), places.of("-") & places.run(_HEX, 2) << 1
    return colon & _after_figures(places, colon) << 1 | pair & pair << 3 & pair << 6 & places.of("-") << 9
