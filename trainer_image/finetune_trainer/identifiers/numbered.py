"""Numbers that carry a checksum or a range: cards, accounts, people, vehicles, devices.

A checksum of one digit is right by chance once in ten (or eleven) times. It counts as validation where the number's form says what it is
besides (an issuer's prefix, the dashes of a social security number); elsewhere only in a row that names the identifier.
"""

import re
from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers import beginnings, checksums
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, RowText, pattern

_BEGINS: Final = r"(?<![0-9][0-9])(?<![0-9][\-.][0-9])"
"""After a first digit has been consumed: it is not inside another number, nor behind the point of a fraction."""
_ENDS: Final = r"(?![0-9]|[\-.][0-9])"
_NAMED_SSN: Final = ("ssn", "social security")
_NAMED_AADHAAR: Final = ("aadha", "uidai")
_NAMED_NHS: Final = ("nhs",)
_NAMED_NPI: Final = ("npi", "provider identifier")
_NAMED_IMEI: Final = ("imei",)
_NAMED_VIN: Final = ("vehicle", "chassis", re.compile(r"vin(?<![a-z]vin)(?![a-z])"))


def _digits(match: re.Match[str]) -> str:
    return (match[0] + match[1]).replace(" ", "").replace("-", "")


def _card(match: re.Match[str], _row: RowText) -> bool | None:
    return checksums.card(_digits(match)) or None


def _iban(match: re.Match[str], row: RowText) -> bool | None:
    """Compact, or in groups of four as on paper."""
    start = match.start() - 2
    length = checksums.IBAN_LENGTHS.get(row.lower[start : start + 2])
    if length is None:
        return None
    separator = match[1]
    shown = length + (length - 1) // 4 if separator else length
    written, after = row.lower[start : start + shown], row.lower[start + shown : start + shown + 1]
    compact = written.replace(separator, "") if separator else written
    if len(compact) != length or not (compact.isascii() and compact.isalnum()) or (after.isascii() and after.isalnum()):
        return None
    return checksums.iban(compact) or None


def _ssn(match: re.Match[str], row: RowText) -> bool | None:
    if not checksums.ssn(_digits(match)):
        return None
    return match[2] == "-" or row.says(*_NAMED_SSN)


def _labelled_ssn(match: re.Match[str], _row: RowText) -> bool | None:
    return checksums.ssn(match[1].replace(" ", "").replace("-", "")) or None


def _aadhaar(match: re.Match[str], row: RowText) -> bool | None:
    if not checksums.aadhaar(_digits(match)):
        return None
    return row.says(*_NAMED_AADHAAR) or (False if match[2] else None)


def _nhs(match: re.Match[str], row: RowText) -> bool | None:
    if not checksums.nhs(_digits(match)):
        return None
    return row.says(*_NAMED_NHS) or (False if match[2] == " " else None)


def _npi(match: re.Match[str], row: RowText) -> bool | None:
    return (row.says(*_NAMED_NPI) and checksums.npi(_digits(match))) or None


def _vin(match: re.Match[str], row: RowText) -> bool | None:
    if not checksums.vin(match[0] + match[1]):
        return None
    return row.says(*_NAMED_VIN)


def _imei(match: re.Match[str], row: RowText) -> bool | None:
    return (row.says(*_NAMED_IMEI) and checksums.imei(_digits(match))) or None


NUMBERS: Final = (
    Recognizer(
        Entity.CARD,
        "card",
        pattern(
            r"[2-68]",
            _BEGINS,
            r"(?=([0-9]{13,18}|[0-9]{3}([ -])(?:[0-9]{4}\2[0-9]{4}\2[0-9]{4}(?:\2?[0-9]{3})?|[0-9]{6}\2[0-9]{4,5}))",
            _ENDS,
            ")",
        ),
        "issuer's prefix and length, Luhn",
        _card,
        validates=True,
        begins=beginnings.card,
    ),
    Recognizer(
        Entity.IBAN,
        "iban",
        pattern(r"[0-9](?<=[^a-z0-9][a-z]{2}[0-9])(?=[0-9]([ -]?)[a-z0-9]{4}\1[a-z0-9]{4}\1[a-z0-9]{3})"),
        "length of the country, remainder by 97",
        _iban,
        validates=True,
        needs=Needs.DIGIT,
        lower=True,
        begins=beginnings.iban,
    ),
    Recognizer(
        Entity.SSN,
        "ssn",
        pattern(r"[0-9](?<![A-Za-z][0-9])", _BEGINS, r"(?=([0-9]{2}([ -])[0-9]{2}\2[0-9]{4})", _ENDS, ")"),
        "ranges given out, and dashes or its name in the row",
        _ssn,
        validates=True,
        begins=beginnings.ssn,
    ),
    Recognizer(
        Entity.SSN,
        "ssn-labelled",
        pattern(
            r"(?:ssn(?![a-z])|social[ _-]?security|taxpayer|itin(?<![a-z]itin)(?![a-z])|tin(?<![a-z]tin)(?![a-z]))",
            r"[^0-9\n]{0,24}+([0-9]{3}[ -]?[0-9]{2}[ -]?[0-9]{4})",
            _ENDS,
        ),
        "ranges given out, and its name before it",
        _labelled_ssn,
        validates=True,
        hints=("ssn", "social", "taxpayer", "tin"),
        lower=True,
    ),
    Recognizer(
        Entity.AADHAAR,
        "aadhaar",
        pattern(
            r"[2-9](?<![A-Za-z]-[0-9])",
            _BEGINS,
            r"(?=([0-9]{3}([ -])[0-9]{4}\2[0-9]{4}|[0-9]{11})(?![ -][0-9]{4}|-[A-Za-z])",
            _ENDS,
            ")",
        ),
        "Verhoeff, and its name in the row",
        _aadhaar,
        validates=True,
        begins=beginnings.aadhaar,
    ),
    Recognizer(
        Entity.NHS_NUMBER,
        "nhs-number",
        pattern(r"[0-9]", _BEGINS, r"(?=([0-9]{2}([ -])[0-9]{3}\2[0-9]{4}|[0-9]{9})", _ENDS, ")"),
        "remainder by 11, and its name in the row",
        _nhs,
        validates=True,
        begins=beginnings.nhs_number,
    ),
    Recognizer(
        Entity.NPI,
        "npi",
        pattern(r"[12]", _BEGINS, r"(?=([0-9]{9})", _ENDS, ")"),
        "Luhn with 80840, and its name in the row",
        _npi,
        validates=True,
        hints=_NAMED_NPI,
        begins=beginnings.npi,
    ),
    Recognizer(
        Entity.VEHICLE,
        "vin",
        pattern(
            r"[A-HJ-NPR-Z0-9](?<![A-Za-z0-9_\-/+][A-HJ-NPR-Z0-9])(?=([A-HJ-NPR-Z0-9]{16})(?![A-Za-z0-9_\-/+=]))",
        ),
        "check digit of North America, and its name in the row",
        _vin,
        validates=True,
        needs=Needs.DIGIT,
        begins=beginnings.vin,
    ),
    Recognizer(
        Entity.DEVICE,
        "imei",
        pattern(r"[0-9]", _BEGINS, r"(?=([0-9]{14}|[0-9]([ -])[0-9]{6}\2[0-9]{6}\2[0-9])", _ENDS, ")"),
        "Luhn, and its name in the row",
        _imei,
        validates=True,
        hints=_NAMED_IMEI,
        begins=beginnings.imei,
    ),
)
