"""Each kind of identifier by published examples: valid, one digit changed, inside other text, in digits of other scripts, in groups."""

import json
import random

import pytest

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.names import NAMES
from finetune_trainer.identifiers.scanner import RECOGNIZERS, scan
from tests.unit.trainer.identifiers import planted

E = Entity
NUMBERS: tuple[tuple[Entity, str, str], ...] = (
    (E.CARD, "", "4111111111111111"),
    (E.CARD, "", "5555555555554444"),
    (E.CARD, "", "2223003122003222"),
    (E.CARD, "", "378282246310005"),
    (E.CARD, "", "6011111111111117"),
    (E.CARD, "", "3530111333300000"),
    (E.CARD, "", "30569309025904"),
    (E.CARD, "", "6200000000000005"),
    (E.IBAN, "", "DE89370400440532013000"),
    (E.IBAN, "", "GB82WEST12345698765432"),
    (E.IBAN, "", "NO9386011117947"),
    (E.IBAN, "", "MT84MALT011000012345MTLCAST001S"),
    (E.IBAN, "", "FR1420041010050500013M02606"),
    (E.AADHAAR, "Aadhaar: ", "234123412346"),
    (E.NHS_NUMBER, "NHS number ", "9434765919"),
    (E.NPI, "NPI ", "1234567893"),
    (E.VEHICLE, "VIN ", "1HGCM82633A004352"),
    (E.VEHICLE, "vehicle ", "1M8GDM9AXKP042788"),
    (E.DEVICE, "IMEI ", "490154203237518"),
)
"""Numbers that their issuers publish as examples: kind, what the row says before it, the number."""
GROUPS = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4), 12: (4, 4, 4), 10: (3, 3, 4)}
IDS = [f"{entity.value}-{number[:6]}" for entity, _, number in NUMBERS]


def verdict(text: object, entity: Entity) -> bool | None:
    return scan(text).entities.get(entity)


def spelled(entity: Entity, number: str, by: str) -> str:
    sizes = (4,) * 9 if entity is E.IBAN else GROUPS.get(len(number), ())
    parts, rest = [], number
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    return by.join(part for part in (*parts, rest) if part)


@pytest.mark.parametrize(("entity", "label", "number"), NUMBERS, ids=IDS)
class TestNumbersWithAChecksum:
    def test_a_right_one_is_validated(self, entity: Entity, label: str, number: str) -> None:
        assert verdict(f"{label}{number}", entity) is True

    def test_any_one_digit_changed_makes_it_none(self, entity: Entity, label: str, number: str) -> None:
        for place, digit in enumerate(number):
            if digit.isdigit():
                for other in "0123456789".replace(digit, ""):
                    assert verdict(f"{label}{number[:place]}{other}{number[place + 1 :]}", entity) is None, (place, other)

    def test_it_is_found_inside_other_text(self, entity: Entity, label: str, number: str) -> None:
        for before, after in (
            ("(", ")"),
            ('{"value":"', '"}'),
            ("it is ", ". Then"),
            ("12 ", " 99"),
            ("卡号", "吗"),
            ("=", "&next=1"),
            ("\t", "\t"),
            ("«", "»"),
        ):
            assert verdict(f"{label}{before}{number}{after}", entity) is True, (before, after)

    def test_as_a_part_of_a_longer_number_it_is_none(self, entity: Entity, label: str, number: str) -> None:
        for before, after in (("7", ""), ("0.", ""), ("", ".5")) if number.isdigit() else (("X", ""), ("", "X")):
            assert verdict(f"{label}{before}{number}{after}", entity) is not True, (before, after)

    def test_digits_of_other_scripts_and_invisible_signs_do_not_hide_it(self, entity: Entity, label: str, number: str) -> None:
        for zero in (0xFF10, 0x0660, 0x0966):
            assert verdict(label + "".join(chr(zero + int(c)) if c.isdigit() else c for c in number), entity) is True, hex(zero)
        assert verdict(label + "\u200b".join(number), entity) is True
        assert verdict(label + number[:5] + "\u00ad" + number[5:], entity) is True

    def test_it_may_be_spelled_in_groups(self, entity: Entity, label: str, number: str) -> None:
        if entity in {E.VEHICLE, E.DEVICE, E.NPI}:
            return
        for by in (" ", "-", "\u00a0", "\u2011", "\u2013"):
            assert verdict(label + spelled(entity, number, by), entity) is True, by

    def test_as_a_value_beside_its_name_it_is_found_in_a_column(self, entity: Entity, label: str, number: str) -> None:
        row = {"messages": [{"role": "user", "content": "hello"}], label.strip(" :") or "x": int(number) if number.isdigit() else number}
        assert verdict(row, entity) is True


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("123-45-6789", True),
        ("SSN 123456789", True),
        ("social security number: 123 45 6789", True),
        ({"patient_ssn": "123456789"}, True),
        ("123 45 6789", False),
        ("987-49-4321", None),
        ("912-70-1234", True),
        ("000-12-3456", None),
        ("666-12-3456", None),
        ("123-00-4567", None),
        ("123-45-0000", None),
        ("078-05-1120", None),
        ("123456789", None),
        ("123-456-7890", None),
        ("9123-45-6789", None),
        ("123-45-67890", None),
    ],
)
def test_social_security_numbers_by_their_ranges(text: object, wanted: bool | None) -> None:
    assert verdict(text, E.SSN) is wanted


def test_one_check_digit_alone_validates_nothing_that_the_row_does_not_name() -> None:
    assert verdict("943 476 5919", E.NHS_NUMBER) is False
    assert verdict("9434765919", E.NHS_NUMBER) is None
    assert verdict("2341 2341 2346", E.AADHAAR) is False
    assert verdict("234123412346", E.AADHAAR) is None
    assert verdict("1HGCM82633A004352", E.VEHICLE) is False
    assert verdict("1234567893", E.NPI) is None
    assert verdict("490154203237518", E.DEVICE) is None


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        (E.EMAIL, "write to ann.lee+news@mail.example.co.uk, please"),
        (E.EMAIL, "josé@exämple.org"),
        (E.PHONE, "+49 30 901820"),
        (E.PHONE, "call (212) 555-0123"),
        (E.PHONE, "1-800-555-0199"),
        (E.PHONE, "212.555.0123"),
        (E.PHONE, "07700 900123"),
        (E.PHONE, "020 7946 0958"),
        (E.PHONE, "Fax: 5550123"),
        (E.PHONE, {"mobile": 5550123456}),
        (E.IP_ADDRESS, "from 203.0.113.9 to us"),
        (E.IP_ADDRESS, "2001:db8::8a2e:370:7334"),
        (E.IP_ADDRESS, "at fe80::1."),
        (E.IP_ADDRESS, "[fd00::12:ab]:8080"),
        (E.DEVICE, "00:1B:44:11:3A:B7"),
        (E.DEVICE, "00-1b-44-11-3a-b7"),
        (E.DEVICE, "serial number: SN-12345678"),
        (E.URL, "see https://clinic.example/p/1"),
        (E.URL, "www.clinic.example"),
        (E.DATE, "on 2024-05-03T10:00:00Z"),
        (E.DATE, "5/3/2024"),
        (E.DATE, "31.12.1999"),
        (E.DATE, "May 3, 2024"),
        (E.DATE, "3rd of March 2024"),
        (E.BIRTH_DATE, "DOB: 1980-05-03"),
        (E.BIRTH_DATE, "date of birth 3 May 1980"),
        (E.BIRTH_DATE, {"birthDate": "05/03/80"}),
        (E.MEDICAL_RECORD, "MRN: 00123456"),
        (E.MEDICAL_RECORD, {"patient_id": "A-12345"}),
        (E.MEDICAL_RECORD, {"medicalRecordNumber": 1234567}),
        (E.HEALTH_PLAN, "Member ID: W123456789"),
        (E.HEALTH_PLAN, "Medicare 1EG4-TE5-MK73"),
        (E.ACCOUNT, "account number is 00123456"),
        (E.LICENCE, "passport no. C01X00T47"),
        (E.LICENCE, "Driver's license: D1234567"),
        (E.SECRET, "-----BEGIN OPENSSH PRIVATE KEY-----"),
        (E.SECRET, "postgres://app:" + "hunter2hunter2@db.example/x"),
        (E.SECRET, "DefaultEndpointsProtocol=https;AccountKey=" + "A" * 86 + "=="),
        (E.SECRET, "token eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"),
        (E.SECRET, "sk-" + "proj-" + "a1B2" * 12),
        (E.SECRET, "github_pat_" + "1" * 22 + "_" + "a" * 59),
    ],
)
def test_what_has_a_form_or_a_name_is_found_and_never_validated(entity: Entity, text: object) -> None:
    assert verdict(text, entity) is False


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112 and 1234567890123456",
        "score 0.4111111111111111, -0.1234567890123456e-3",
        "version 1.22.333, v10.0.19041.1, version 4.8.1.0",
        "at 1732270000 or 1732270000123 or 1732270000123456789",
        "12:30:45 on the 3rd, 24/7, 1/2 of 3/4, ratio 16:9:1",
        "127.0.0.1 and ::1 and 0.0.0.0 and 256.1.1.1",
        "std::vector<int> a::b::c",
        "rows[100::2], rows[::-1], rows[::10], 10::20:30, 1:2:3:4:5:6:7:8",
        "00:00:00:00:00:00 ff:ff:ff:ff:ff:ff",
        "commit 356a192b7913b04c54574d18c28d46e6395428ab",
        "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "@channel ping @ann, a@b, 5 @ 3.00",
        "may 2024 be better; march on; 99/99/2024; 2024-13-40",
        "medical records are kept; patient is 54; chart of 2024; policy of 2020",
        "my account not 1234567890 nor member idle 123456 nor patient node 54321",
        "my account is closed; the serial was good; born to run; driver problem",
        "sk-learn and hf_hub and npm_config and AKIA",
        "isbn 978-3-16-148410-0",
        "total 1,234,567.89 euros, 4 000 000 rows",
        "",
        None,
        {"n": None, "list": [], "deep": {}},
        [True, 1.5],
    ],
)
def test_what_only_looks_a_little_like_one_is_none(text: object) -> None:
    assert scan(text).entities == {}


@pytest.mark.parametrize("letter", ["\u00e9", "\u00aa", "\u2461", "\u00df"])
def test_an_iban_with_a_letter_that_none_has_is_none_and_ends_nothing(letter: str) -> None:
    assert scan(f"DE8937040044053201{letter}000").entities == {}
    assert scan(f"DE89 3704 0044 0532 01{letter}0 00").entities == {}


def test_every_kind_has_a_recognizer_whose_name_is_its_own() -> None:
    assert {recognizer.entity for recognizer in RECOGNIZERS} == set(Entity) - set(NAMES)
    names = [recognizer.name for recognizer in RECOGNIZERS]
    assert len(set(names)) == len(names)
    assert set(planted.CHECKED) | set(planted.FORMED) == set(Entity) - set(NAMES)


def test_a_row_as_a_text_and_as_an_object_finds_the_same() -> None:
    chance = random.Random(3)
    for makers in (planted.CHECKED | planted.FORMED).values():
        for maker in makers:
            row = planted.chat_row(chance, maker(chance))
            assert scan(row).entities.keys() == scan(json.dumps(row, ensure_ascii=False)).entities.keys()
