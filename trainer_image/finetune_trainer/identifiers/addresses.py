"""Where somebody or something can be reached, and when: mail, telephone, network, pages, days. No checksum says that one is real."""

import ipaddress
import re
from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers import beginnings
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, RowText, pattern

_MONTHS: Final = "|".join(
    f"{month}(?<![a-z]{month}){rest}"
    for months, rest in {
        "jan": "(?:uary)?",
        "feb": "(?:ruary)?",
        "mar": "(?:ch)?",
        "apr": "(?:il)?",
        "may": "",
        "jun": "e?",
        "jul": "y?",
        "aug": "(?:ust)?",
        "sep": "t?(?:ember)?",
        "oct": "(?:ober)?",
        "nov dec": "(?:ember)?",
    }.items()
    for month in months.split()
)
"""No letter before it."""
_DAY_BEFORE: Final = re.compile(r"[^0-9][0-3]?[0-9](?:st|nd|rd|th)?\.?(?: of)?[ -]\Z")
_PHONE: Final = r"\+?\(?[0-9](?:[ ().\-/]{0,2}[0-9]){6,14}(?![0-9])"


def _ip_four(match: re.Match[str], _row: RowText) -> bool | None:
    """A text that is an address, and not one that every machine has."""
    try:
        address = ipaddress.IPv4Address(match[0] + match[1])
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified or address.is_multicast else False


def _ip_six(match: re.Match[str], _row: RowText) -> bool | None:
    """An address of the ranges that machines have (2000::/3, fc00::/7, fe80::/10): programs write others, as in ``rows[100::2]``."""
    text = match[0].rstrip(".")
    if text.count("::") > 1 or ("::" not in text and text.count(":") not in {6, 7}):
        return None  # most of what looks like one: an error costs more
    try:
        first = ipaddress.IPv6Address(text).packed[0]
    except ValueError:
        return None
    return False if first >> 5 == 1 or 0xFC <= first <= 0xFE else None


def _device(match: re.Match[str], _row: RowText) -> bool | None:
    return None if set(match[2]) <= {"0", ":", "-"} or set(match[2]) <= {"f", ":", "-"} else False


def _day(match: re.Match[str], _row: RowText) -> bool | None:
    """Day and month in either order."""
    first, second = int(match[0] + match[1]), int(match[3])
    return False if 1 <= min(first, second) <= 12 and max(first, second) <= 31 else None


def _month(match: re.Match[str], row: RowText) -> bool | None:
    """A month and a year are a date where a day stands between or before them."""
    if match[1]:
        return False
    return False if _DAY_BEFORE.search(row.lower[max(0, match.start() - 12) : match.start()]) else None


ADDRESSES: Final = (
    Recognizer(
        Entity.EMAIL,
        "email",
        pattern(r"@(?<=[^\s@<>()\[\],;:\"']@)(?=(?:[\w\-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w\-]))"),
        needs=Needs.NOTHING,
        hints=("@",),
        lower=True,
    ),
    Recognizer(
        Entity.PHONE,
        "phone-international",
        pattern(r"\+(?<![0-9A-Za-z+]\+)(?=[1-9](?:[ ().\-/]{0,2}[0-9]){6,14}(?![0-9]))"),
        begins=beginnings.phone_international,
    ),
    Recognizer(Entity.PHONE, "phone-parentheses", pattern(r"\((?=[2-9][0-9]{2}\) ?[2-9][0-9]{2}[-. ][0-9]{4}(?![0-9]))")),
    Recognizer(
        Entity.PHONE,
        "phone-american",
        pattern(
            r"[2-9](?<![0-9A-Za-z.][0-9])(?<![0-9][0-9]-[0-9])(?=[0-9]{2}([-. ])[2-9][0-9]{2}\1[0-9]{4}(?![0-9]|[-.][0-9]))",
        ),
        begins=beginnings.phone_american,
    ),
    Recognizer(
        Entity.PHONE,
        "phone-national",
        pattern(r"0(?<![0-9A-Za-z.\-]0)(?=[1-9][0-9]{1,4}[ -][0-9]{3,4}[ -]?[0-9]{3,4}(?![0-9]|[-.][0-9]))"),
        begins=beginnings.phone_national,
    ),
    Recognizer(
        Entity.PHONE,
        "phone-labelled",
        pattern(r"(?:phone|mobile|whatsapp|fax|tel(?<![a-z]tel)(?![a-z])|cell(?<![a-z]cell)(?![a-z]))[^0-9+(\n]{0,16}+", _PHONE),
        hints=("phone", "mobile", "whatsapp", "fax", "tel", "cell"),
        lower=True,
    ),
    Recognizer(
        Entity.IP_ADDRESS,
        "ip-four",
        pattern(
            r"[0-9](?<![0-9A-Za-z.\-][0-9])(?<!version [0-9])(?<!release [0-9])",
            r"(?=([0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9A-Za-z]|[.\-][0-9]))",
        ),
        "a valid address, not every machine's own",
        _ip_four,
        needs=Needs.DIGIT,
        lower=True,
        begins=beginnings.ip_four,
    ),
    Recognizer(
        Entity.IP_ADDRESS,
        "ip-six",
        pattern(r"(?<![0-9a-z:._])(?=[0-9a-f]{0,4}:[0-9a-f]{0,4}:)[0-9a-f:.]{3,45}+(?![0-9a-z])"),
        "a valid address of a range that machines have",
        _ip_six,
        needs=Needs.COLONS,
        lower=True,
        begins=beginnings.ip_six,
    ),
    Recognizer(
        Entity.DEVICE,
        "mac-address",
        pattern(
            r"([:\-])(?<=[^0-9a-z:\-][0-9a-f]{2}[:\-])(?=([0-9a-f]{2}\1[0-9a-f]{2}\1[0-9a-f]{2}\1[0-9a-f]{2}\1[0-9a-f]{2})(?![0-9a-z:\-]))",
        ),
        "pattern only, neither empty nor the broadcast",
        _device,
        needs=Needs.COLONS,
        lower=True,
        begins=beginnings.mac_address,
    ),
    Recognizer(Entity.URL, "url", pattern(r"://(?<=[a-z0-9]://)(?=[\w\[])"), needs=Needs.NOTHING, hints=("://",), lower=True),
    Recognizer(
        Entity.URL,
        "url-www",
        pattern(r"www\.(?<![a-z0-9]www\.)(?=[\w\-]{1,63}\.[^\W\d_])"),
        needs=Needs.NOTHING,
        hints=("www.",),
        lower=True,
    ),
    Recognizer(
        Entity.DATE,
        "date-iso",
        pattern(
            r"[12](?<![0-9][0-9])(?<![0-9][\-./][0-9])",
            r"(?=(?:(?<=1)9|(?<=2)0)[0-9]{2}([-/.])(?:1[0-2]|0?[1-9])\1(?:3[01]|[12][0-9]|0?[1-9])(?![0-9]))",
        ),
        "a day of the calendar",
        needs=Needs.YEAR,
        begins=beginnings.date_iso,
    ),
    Recognizer(
        Entity.DATE,
        "date-figures",
        pattern(r"[0-9](?<![0-9A-Za-z./\-][0-9])(?=([0-9]?)([/.\-])([0-9]{1,2})\2(?:19|20)[0-9]{2}(?![0-9]))"),
        "a day of the calendar",
        _day,
        needs=Needs.YEAR,
        begins=beginnings.date_figures,
    ),
    Recognizer(
        Entity.DATE,
        "date-words",
        pattern(rf"(?:{_MONTHS})", r"(?:\.? |\.?-|,)([0-3]?[0-9](?:st|nd|rd|th)?,? )?(?:19|20)[0-9]{2}(?![0-9])"),
        "a day of the calendar",
        _month,
        needs=Needs.YEAR,
        lower=True,
    ),
)
