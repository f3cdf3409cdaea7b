"""The arithmetic by which a number tells that it was not made up. Every function takes the digits or letters alone, without separators.

Sources: ISO/IEC 7812-1 (Luhn and issuer numbers) · ISO 13616 (IBAN) · SSA, "SSN Randomization" and IRS Publication 4757 (ranges) · CMS, NPI
check digit · NHS Data Dictionary, "NHS Number" · J. Verhoeff, Error Detecting Decimal Codes (1969) · 49 CFR 565.15 (VIN) · 3GPP TS 23.003
(IMEI).
"""

import re
from itertools import cycle
from operator import mul
from typing import Final

_ZERO: Final = ord("0")
_TWICE: Final = bytes.maketrans(b"0123456789", b"0246813579")
_LETTERS_AS_NUMBERS: Final = {ord(letter): str(number) for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=10)}
_CARD_ISSUERS: Final = re.compile(
    r"4[0-9]{15}(?:[0-9]{3})?"  # Visa
    r"|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|[689][0-9])[0-9]{11}"  # Diners Club
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?"  # Discover, RuPay
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}(?:[0-9]{3})?"  # JCB
    r"|(?:62|81)[0-9]{14}(?:[0-9]{1,3})?"  # UnionPay
    r"|220[0-4][0-9]{12}(?:[0-9]{1,3})?"  # Mir
    r"|(?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{12}(?:[0-9]{1,3})?"  # Maestro
)
IBAN_LENGTHS: Final = {
    code: length
    for length, codes in {
        15: "no",
        16: "be",
        18: "dk fi fk fo gl nl sd",
        19: "mk si",
        20: "at ba ee kz lt lu mn xk",
        21: "ch cr hr li lv",
        22: "bg bh de gb ge ie me rs va",
        23: "ae gi il iq om so tl",
        24: "ad cz es md pk ro sa se sk tn vg",
        25: "ly pt st",
        26: "is tr",
        27: "bi dj fr gr it mc mr sm",
        28: "al az by cy do gt hu lb ni pl sv",
        29: "br eg ps qa ua",
        30: "jo kw mu ye",
        31: "mt sc",
        32: "lc",
        33: "ru",
    }.items()
    for code in codes.split()
}
"""Letters and digits of an IBAN by country, in lower case; SWIFT's IBAN registry."""
_VIN_VALUES: Final = bytes.maketrans(b"0123456789ABCDEFGHJKLMNPRSTUVWXYZ", bytes(map(int, "012345678912345678123457923456789")))
_VIN_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_NOT_ISSUED: Final = frozenset({"078051120", "219099999"})
"""Printed on sample cards and in advertisements."""


def luhn(digits: str) -> bool:
    """Whether the sum of the digits, every second one from the right doubled and its digits added, is a multiple of ten."""
    values = digits.encode()
    return (sum(values[::-2]) + sum(values[-2::-2].translate(_TWICE)) - _ZERO * len(values)) % 10 == 0


def card(digits: str) -> bool:
    """A payment card: an issuer's prefix with a length that it uses, and Luhn's sum; not one digit over and over."""
    return _CARD_ISSUERS.fullmatch(digits) is not None and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616, in lower case: the length of its country, and 1 as the remainder by 97 with letters as 10 to 35."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int((text[4:] + text[:4]).translate(_LETTERS_AS_NUMBERS)) % 97 == 1


def ssn(digits: str) -> bool:
    """Nine digits in a range that is given out: as a social security number, or as a taxpayer's number (9xx)."""
    area, group, serial = int(digits[:3]), int(digits[3:5]), int(digits[5:])
    if area >= 900:
        return group in _TAXPAYER_GROUPS
    return area not in {0, 666} and group != 0 and serial != 0 and digits not in _NOT_ISSUED


_TAXPAYER_GROUPS = frozenset([*range(50, 66), *range(70, 89), *range(90, 93), *range(94, 100)])


def npi(digits: str) -> bool:
    """Ten digits, the first 1 or 2, Luhn's sum with 80840 before them."""
    return digits[0] in "12" and luhn("80840" + digits)


_NHS_WEIGHTS: Final = range(10, 0, -1)


def nhs(digits: str) -> bool:
    """Ten digits, weights 10 to 2, remainder by 11; ten times the same digit was given to nobody."""
    values = digits.encode()  # the check digit has weight 1; the weights' sum is a multiple of 11, so "0" need not be 0
    return sum(map(mul, _NHS_WEIGHTS, values)) % 11 == 0 and len(set(digits)) > 1


def _dihedral(left: int, right: int) -> int:
    """The group of the pentagon's symmetries, 0 to 4 its turns and 5 to 9 its reflections."""
    turn = (left + right) % 5 if left < 5 else (left - right) % 5
    return turn + 5 * ((left >= 5) != (right >= 5))


_SWAPS = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _SWAPS.append([_SWAPS[1][digit] for digit in _SWAPS[-1]])
_STEPS = [{_ZERO + digit: [_dihedral(check, swap[digit]) for check in range(10)] for digit in range(10)} for swap in _SWAPS]
"""By the place from the right and the digit: what becomes of the check so far."""


def verhoeff(digits: str) -> bool:
    """Whether the last digit is Verhoeff's check digit of the others."""
    check = 0
    for steps, digit in zip(cycle(_STEPS), digits.encode()[::-1], strict=False):
        check = steps[digit][check]
    return check == 0


def aadhaar(digits: str) -> bool:
    """Twelve digits, the first 2 to 9, Verhoeff's check digit."""
    return digits[0] in "23456789" and verhoeff(digits)


def vin(text: str) -> bool:
    """Seventeen capitals and digits with the check digit at place nine, as North America asks for it; letters and digits both occur."""
    total = sum(map(mul, _VIN_WEIGHTS, text.encode().translate(_VIN_VALUES))) % 11
    return text[8] == "0123456789X"[total] and not text.isdigit() and sum(map(str.isdigit, text)) >= 4


def imei(digits: str) -> bool:
    """Fifteen digits with Luhn's sum, not all the same."""
    return luhn(digits) and len(set(digits)) > 1
