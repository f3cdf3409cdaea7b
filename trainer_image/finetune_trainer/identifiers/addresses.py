"""Where somebody or something can be reached, and when: mail, telephone, network, pages, days. No checksum says that one is real."""

import ipaddress
import re
from typing import Final

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, RowText, pattern

_MONTHS: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?"
    r"|dec(?:ember)?)"
)
_DAY_BEFORE: Final = re.compile(r"[^0-9][0-3]?[0-9](?:st|nd|rd|th)?\.?(?: of)?[ -]\Z")
_PHONE: Final = r"\+?\(?[0-9](?:[ ().\-/]{0,2}[0-9]){6,14}(?![0-9])"


def _ip_four(match: re.Match[str], _row: RowText) -> bool | None:
    """A text that is an address, and not one that every machine has."""
    address = _parsed(match[0] + match[1])
    return None if address is None or address.is_loopback or address.is_unspecified or address.is_multicast else False


def _ip_six(match: re.Match[str], _row: RowText) -> bool | None:
    """An address of the ranges that machines have (2000::/3, fc00::/7, fe80::/10): programs write others, as in ``rows[100::2]``."""
    address = _parsed(match[0].rstrip("."))
    return False if address is not None and (address.packed[0] >> 5 == 1 or 0xFC <= address.packed[0] <= 0xFE) else None


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


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
    Recognizer(Entity.PHONE, "phone-international", pattern(r"\+(?<![0-9A-Za-z+]\+)(?=[1-9](?:[ ().\-/]{0,2}[0-9]){6,14}(?![0-9]))")),
    Recognizer(Entity.PHONE, "phone-parentheses", pattern(r"\((?=[2-9][0-9]{2}\) ?[2-9][0-9]{2}[-. ][0-9]{4}(?![0-9]))")),
    Recognizer(
        Entity.PHONE,
        "phone-american",
        pattern(
            r"[2-9](?<![0-9A-Za-z.][0-9])(?<![0-9][0-9]-[0-9])(?=[0-9]{2}([-. ])[2-9][0-9]{2}\1[0-9]{4}(?![0-9]|[-.][0-9]))",
        ),
    ),
    Recognizer(
        Entity.PHONE,
        "phone-national",
        pattern(r"0(?<![0-9A-Za-z.\-]0)(?=[1-9][0-9]{1,4}[ -][0-9]{3,4}[ -]?[0-9]{3,4}(?![0-9]|[-.][0-9]))"),
    ),
    Recognizer(
        Entity.PHONE,
        "phone-labelled",
        pattern(r"(?:phone|mobile|whatsapp|fax|(?<![a-z])tel(?![a-z])|(?<![a-z])cell(?![a-z]))[^0-9+(\n]{0,16}+", _PHONE),
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
    ),
    Recognizer(
        Entity.IP_ADDRESS,
        "ip-six",
        pattern(r"(?<![0-9a-z:._])(?=[0-9a-f]{0,4}:[0-9a-f]{0,4}:)[0-9a-f:.]{3,45}+(?![0-9a-z])"),
        "a valid address of a range that machines have",
        _ip_six,
        needs=Needs.COLONS,
        lower=True,
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
    ),
    Recognizer(
        Entity.DATE,
        "date-figures",
        pattern(r"[0-9](?<![0-9A-Za-z./\-][0-9])(?=([0-9]?)([/.\-])([0-9]{1,2})\2(?:19|20)[0-9]{2}(?![0-9]))"),
        "a day of the calendar",
        _day,
        needs=Needs.YEAR,
    ),
    Recognizer(
        Entity.DATE,
        "date-words",
        pattern(r"(?<![a-z])", _MONTHS, r"(?:\.? |\.?-|,)([0-3]?[0-9](?:st|nd|rd|th)?,? )?(?:19|20)[0-9]{2}(?![0-9])"),
        "a day of the calendar",
        _month,
        needs=Needs.YEAR,
        lower=True,
    ),
)
