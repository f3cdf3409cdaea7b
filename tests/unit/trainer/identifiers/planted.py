"""Chat rows with identifiers planted in them, from a seed: valid ones in the spellings that people use, and decoys that are none.

The check digits are computed here a second time and in another way (trying all of them against the definition), so that a mistake in the
recognizers' arithmetic is not repeated.
"""

import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finetune_trainer.contract.governance.vocabulary import Entity

ROW_CHARACTERS = 528
_TEXT = (
    "please the order arrived late and box was open could you tell me when a replacement will be sent our team looked into this for you "
    "thank waiting we have checked with courier who says that parcel left depot yesterday evening it should reach you in two days if not "
    "reply here i am sorry about trouble heating display shows nothing after restart try holding both buttons until light turns green "
    "invoice customer support happy help again account settings page screen printer cable battery warranty refund"
)
_WORDS = _TEXT.split()
Maker = Callable[[random.Random], str]


def _completed(body: str, valid: Callable[[str], bool], digits: str = string.digits) -> str | None:
    """The body with the one last character that makes it valid."""
    return next((body + digit for digit in digits if valid(body + digit)), None)


def _luhn(number: str) -> bool:
    doubled = [int(digit) * (2 if (len(number) - place) % 2 == 0 else 1) for place, digit in enumerate(number)]
    return sum(sum(map(int, str(value))) for value in doubled) % 10 == 0


def figures(chance: random.Random, count: int) -> str:
    return "".join(chance.choices(string.digits, k=count))


def _grouped(number: str, *sizes: int, by: str = " ") -> str:
    parts, rest = [], number
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    return by.join(part for part in (*parts, rest) if part)


def _card(chance: random.Random) -> str:
    prefix = chance.choice(["4", "51", "55", "2221", "2720", "34", "37", "6011", "65", "3528", "36", "305", "62"])
    length = {"34": 15, "37": 15, "36": 14, "305": 14}.get(prefix, 19 if prefix == "4" and chance.random() < 0.2 else 16)
    number = _completed(prefix + figures(chance, length - len(prefix) - 1), _luhn)
    assert number
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(length, (4, 4, 4, 4))
    return chance.choice([number, number, _grouped(number, *sizes), _grouped(number, *sizes, by="-")])


_COUNTRIES = {"DE": 22, "GB": 22, "FR": 27, "NL": 18, "ES": 24, "IT": 27, "CH": 21, "AT": 20, "BE": 16, "NO": 15, "PL": 28, "MT": 31}


def _iban(chance: random.Random) -> str:
    country, length = chance.choice(list(_COUNTRIES.items()))
    bank = "".join(chance.choices(string.ascii_uppercase, k=4)) if country in {"GB", "NL", "MT"} else ""
    account = bank + figures(chance, length - 4 - len(bank))
    spelled = "".join(str(ord(character) - 55) if character.isalpha() else character for character in f"{account}{country}00")
    number = f"{country}{98 - int(spelled) % 97:02d}{account}"
    return chance.choice([number, _grouped(number, *[4] * 8), number.lower()])


def _ssn(chance: random.Random) -> str:
    area = chance.choice([number for number in range(1, 900) if number != 666])
    text = f"{area:03d}-{chance.randint(1, 99):02d}-{chance.randint(1, 9999):04d}"
    return chance.choice([text, f"SSN {text.replace('-', '')}", f"social security number: {text.replace('-', ' ')}"])


def _table(rows: str) -> list[list[int]]:
    return [[int(digit) for digit in row] for row in rows.split()]


def _aadhaar(chance: random.Random) -> str:
    multiply = _table("0123456789 1234067895 2340178956 3401289567 4012395678 5987604321 6598710432 7659821043 8765932104 9876543210")
    permute = _table("0123456789 1576283094 5803796142 8916043527 9453126870 4286573901 2793806415 7046913258")

    def valid(number: str) -> bool:
        check = 0
        for place, digit in enumerate(reversed(number)):
            check = multiply[check][permute[place % 8][int(digit)]]
        return check == 0

    number = _completed(chance.choice("23456789") + figures(chance, 10), valid)
    assert number
    return chance.choice([f"Aadhaar {number}", f"aadhaar no. {_grouped(number, 4, 4)}", _grouped(number, 4, 4)])


def _nhs(chance: random.Random) -> str:
    number = None
    while number is None:
        number = _completed(figures(chance, 9), lambda text: sum((10 - place) * int(digit) for place, digit in enumerate(text)) % 11 == 0)
    # the weights 10 to 2 and 1 for the check digit itself sum to a multiple of 11
    return chance.choice([f"NHS number {number}", f"NHS {_grouped(number, 3, 3)}", _grouped(number, 3, 3)])


def _npi(chance: random.Random) -> str:
    number = _completed(chance.choice("12") + figures(chance, 8), lambda text: _luhn("80840" + text))
    return f"NPI {number}"


def _vin(chance: random.Random) -> str:
    values = dict(zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", map(int, "012345678912345678123457923456789"), strict=True))
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
    body = [*chance.choices(letters, k=11), *chance.choices(string.digits, k=6)]
    body[0] = chance.choice("ABCDEFGH")
    for check in "0123456789X":
        body[8] = check
        weighted = sum(values[letter] * weight for letter, weight in zip(body, weights, strict=True))
        if weighted % 11 == (10 if check == "X" else int(check)):
            break
    return f"VIN {''.join(body)}"


def _imei(chance: random.Random) -> str:
    number = _completed("35" + figures(chance, 12), _luhn)
    return f"IMEI {number}"


def _random_token(chance: random.Random, alphabet: str, count: int) -> str:
    return "".join(chance.choices(alphabet, k=count))


def _secret(chance: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    return chance.choice(
        [
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
            "AKIA" + _random_token(chance, string.ascii_uppercase + "234567", 16),
            "ghp_" + _random_token(chance, letters, 36),
            "glpat-" + _random_token(chance, letters, 20),
            "AIza" + _random_token(chance, letters, 35),
            "hf_" + _random_token(chance, string.ascii_letters, 34),
            "sk_" + "live_" + _random_token(chance, letters, 24),
            "xoxb-" + _random_token(chance, string.digits, 12),
        ]
    )


CHECKED: dict[Entity, tuple[Maker, ...]] = {
    Entity.CARD: (_card,),
    Entity.IBAN: (_iban,),
    Entity.SSN: (_ssn,),
    Entity.AADHAAR: (_aadhaar,),
    Entity.NHS_NUMBER: (_nhs,),
    Entity.NPI: (_npi,),
    Entity.VEHICLE: (_vin,),
    Entity.DEVICE: (_imei,),
}
"""Identifiers with a checksum or a range of their own."""

FORMED: dict[Entity, tuple[Maker, ...]] = {
    Entity.EMAIL: (lambda c: f"{c.choice(_WORDS)}.{c.choice(_WORDS)}{c.randint(1, 99)}@mail{c.randint(1, 9)}.example.org",),
    Entity.PHONE: (
        lambda c: f"+{c.randint(1, 98)} {figures(c, 3)} {figures(c, 6)}",
        lambda c: f"({c.randint(200, 999)}) {c.randint(200, 999)}-{figures(c, 4)}",
        lambda c: f"{c.randint(200, 999)}-{c.randint(200, 999)}-{figures(c, 4)}",
        lambda c: f"phone: {figures(c, 8)}",
    ),
    Entity.IP_ADDRESS: (
        lambda c: ".".join(str(c.randint(11, 126)) for _ in range(4)),
        lambda c: ":".join(f"{part:x}" for part in (c.randint(0x2000, 0x3FFF), *(c.randint(1, 0xFFFF) for _ in range(7)))),
    ),
    Entity.MEDICAL_RECORD: (
        lambda c: f"MRN {figures(c, 8)}",
        lambda c: f"medical record number: {figures(c, 7)}",
        lambda c: f"patient ID #{figures(c, 6)}",
    ),
    Entity.HEALTH_PLAN: (lambda c: f"member id: W{figures(c, 9)}", lambda c: f"policy number {figures(c, 10)}"),
    Entity.ACCOUNT: (lambda c: f"account number {figures(c, 10)}", lambda c: f"acct no. {figures(c, 8)}"),
    Entity.LICENCE: (
        lambda c: f"passport number {c.choice('CFGHJK')}{figures(c, 8)}",
        lambda c: f"driver's license no. D{figures(c, 7)}",
    ),
    Entity.BIRTH_DATE: (
        lambda c: f"DOB {c.randint(1, 12):02d}/{c.randint(1, 28):02d}/{c.randint(1930, 2015)}",
        lambda c: f"born on {c.randint(1, 28)} May {c.randint(1930, 2015)}",
    ),
    Entity.DATE: (
        lambda c: f"{c.randint(1990, 2030)}-{c.randint(1, 12):02d}-{c.randint(1, 28):02d}",
        lambda c: f"{c.randint(1, 28)}.{c.randint(1, 12)}.{c.randint(1990, 2030)}",
        lambda c: f"October {c.randint(1, 28)}, {c.randint(1990, 2030)}",
    ),
    Entity.URL: (lambda c: f"https://{c.choice(_WORDS)}.example.com/{figures(c, 4)}", lambda c: f"www.{c.choice(_WORDS)}.example"),
    Entity.SECRET: (_secret,),
}
"""Identifiers that are known by form, by a label or by a beginning."""

DECOYS: dict[str, Maker] = {
    "16 random digits": lambda c: figures(c, 16),
    "order number": lambda c: f"order {c.randint(10**7, 10**10)}",
    "article number": lambda c: f"article {figures(c, 13)}",
    "version": lambda c: f"version {c.randint(0, 20)}.{c.randint(0, 30)}.{c.randint(0, 99)}",
    "time in seconds": lambda c: f"at {c.randint(10**9, 2 * 10**9 - 1)}",
    "time in milliseconds": lambda c: f"at {c.randint(10**12, 2 * 10**12 - 1)}",
    "fraction": lambda c: f"score 0.{figures(c, 16)}",
    "digest": lambda c: f"commit {c.getrandbits(160):040x}",
    "identifier": lambda c: str(uuid.UUID(int=c.getrandbits(128), version=4)),
    "amount": lambda c: f"{c.randint(1, 999)},{figures(c, 3)}.{figures(c, 2)} euros",
    "ticket": lambda c: f"ticket #{c.randint(1000, 999999)}",
}


@dataclass(frozen=True)
class Planted:
    row: dict[str, Any]
    entity: Entity | None = None
    decoy: str = ""


def chat_row(chance: random.Random, item: str = "") -> dict[str, Any]:
    """A question and an answer of 528 characters together, with the item somewhere in it."""
    words: list[str] = []
    room = ROW_CHARACTERS - len(item) - 2
    while room > 0:
        words.append(chance.choice(_WORDS))
        room -= len(words[-1]) + 1
    if item:
        words.insert(chance.randrange(len(words)), item)
    text = " ".join(words)
    cut = text.find(" ", len(text) // 2)
    cut = cut if not item or not text.find(item) <= cut < text.find(item) + len(item) else text.find(item) - 1
    messages = [{"role": "user", "content": text[:cut] + "?"}, {"role": "assistant", "content": text[cut + 1 :] + "."}]
    return {"messages": messages}


def rows(count: int, seed: int = 5) -> list[Planted]:
    """Three rows in ten hold one identifier, one in ten a decoy; every kind comes as often as the others."""
    chance = random.Random(seed)
    kinds = [(entity, makers) for entity, makers in (CHECKED | FORMED).items()]
    planted = []
    for number in range(count):
        if number % 10 < 3:
            entity, makers = kinds[(number // 10 * 3 + number % 10) % len(kinds)]
            planted.append(Planted(chat_row(chance, chance.choice(makers)(chance)), entity))
        elif number % 10 == 3:
            decoy = list(DECOYS)[number // 10 % len(DECOYS)]
            planted.append(Planted(chat_row(chance, DECOYS[decoy](chance)), decoy=decoy))
        else:
            planted.append(Planted(chat_row(chance)))
    return planted
