"""Where patterns are said to begin against the patterns alone, tried from every place of the text: they are the reference."""

import random
import re
from collections.abc import Iterator

import pytest

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.places import DIGITS, Places, without
from finetune_trainer.identifiers.recognizer import Needs, Recognizer, RowText
from finetune_trainer.identifiers.rowtext import row_text
from finetune_trainer.identifiers.scanner import MAX_CANDIDATES, RECOGNIZERS, scan
from tests.unit.trainer.identifiers import hostile, planted

BEGINNING = [known for known in RECOGNIZERS if known.begins is not None]
SIGNS = "  --..//()+:_=\n,xXaAbBeEfFvVzZoOkK\u212a\u0130\u00e9\uff11\u0661\u2010\u200b\U0001d7d8"
MAKERS = [maker for makers in (planted.CHECKED | planted.FORMED).values() for maker in makers] + list(planted.DECOYS.values())
NAMES = ("aadhaar ", "vin ", "nhs ", "imei ", "npi ", "version ", "release ", "DE", "-A", "2019", "0")
WORDS = [*hostile.PIECES.values(), *hostile.RUNS, *NAMES, "01:23:45:67:89:ab", "2a-00-5e-90-10-ff ", "2001:db8::1"]


def _shape(chance: random.Random) -> str:
    """Groups of digits with signs between them, mostly the same."""
    sign, groups = chance.choice(SIGNS), [planted.figures(chance, chance.choice((1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 9, 10, 12, 14, 16, 19)))]
    for _ in range(chance.randrange(6)):
        between = chance.choice((sign, sign, sign, sign, "", chance.choice(SIGNS) + chance.choice(SIGNS)))
        groups += [between, planted.figures(chance, chance.choice((1, 2, 2, 3, 4, 4, 4, 5, 6, 7)))]
    return "".join(groups)


def text(chance: random.Random, characters: int) -> str:
    """Items, what looks like items and what looks less and less like them."""
    parts: list[str] = []
    while sum(map(len, parts)) < characters:
        part = chance.choice((_shape, _shape, chance.choice(MAKERS), lambda c: c.choice(WORDS)))(chance)
        if chance.random() < 0.3:
            at = chance.randrange(len(part) + 1)
            part = part[:at] + chance.choice(SIGNS + DIGITS) + part[at + chance.randrange(2) :]
        if chance.random() < 0.1:
            part = part.swapcase()
        parts += [part, chance.choice((" ", " ", "", chance.choice(SIGNS)))]
    return "".join(parts)


def found(matches: Iterator[re.Match[str]]) -> list[tuple[tuple[int, int], tuple[str | None, ...]]]:
    return [(match.span(), match.groups()) for match in matches]


def alone(value: object) -> dict[Entity, bool]:
    """What the recognizers find that are all asked, each with its pattern on all of the text."""
    row = RowText.of(row_text(value)[0])
    verdicts: dict[Entity, bool] = {}
    for each in RECOGNIZERS:
        for match in each.pattern.finditer(row.lower if each.lower else row.text):
            if (verdict := each.judge(match, row)) is not None:
                verdicts[each.entity] = verdicts.get(each.entity, False) or verdict
    return verdicts


@pytest.mark.parametrize("each", BEGINNING, ids=lambda known: known.name)
def test_a_pattern_that_is_tried_only_where_it_can_begin_finds_what_it_finds_alone(each: Recognizer) -> None:
    assert each.begins is not None
    chance, hits = random.Random(each.name), 0
    for turn in range(60):
        piece = hostile.PIECES[each.name]
        row = RowText.of(row_text(text(chance, 3_000) + piece[turn % len(piece) :])[0])
        read = row.lower if each.lower else row.text
        wanted = found(each.pattern.finditer(read))
        for places in [Places(read)] + ([Places(row.text)] if row.text.isascii() else []):
            tried = (each.pattern.match(read, at) for at in places.each(each.begins(places)))
            assert found(match for match in tried if match) == wanted
        hits += len(wanted)
    assert hits >= 10


def test_a_crowded_row_is_scanned_as_by_its_patterns_alone() -> None:
    """Also that what a row must have to be looked at never keeps a pattern from finding something."""
    chance, crowded = random.Random(21), 0
    kinds: set[Entity] = set()
    for turn in range(150):
        row = text(chance, 5_000) if turn % 2 else text(chance, 60)
        wanted = alone(row)
        assert scan(row).entities == wanted
        crowded += RowText.of(row_text(row)[0]).places(lower=False) is not None
        kinds |= wanted.keys()
    assert crowded >= 50
    assert {entity for entity in Entity if entity in planted.CHECKED} <= kinds


@pytest.mark.parametrize("need", [need for need in Needs if need is not Needs.NOTHING], ids=str)
def test_what_a_crowded_row_must_have_is_what_a_short_one_must_have(need: Needs) -> None:
    """The long row says the same, with a thousand times a sign that no need is about."""
    chance, answers = random.Random(need.value), []
    for _ in range(300):
        short = "\n" + row_text(text(chance, 1) if chance.random() < 0.8 else chance.choice(SIGNS) * 9)[0][:40] + "\n"
        long = short + "Z\n" * 3_000
        assert RowText.of(long).places(lower=False) is not None
        answers.append(RowText.of(short).has(need))
        assert RowText.of(long).has(need) == answers[-1], short
    assert len(set(answers)) == 2


@pytest.mark.parametrize("each", BEGINNING, ids=lambda known: known.name)
def test_where_a_pattern_does_not_match_it_is_hardly_ever_tried(each: Recognizer) -> None:
    """So a row costs little more for what is in it: matches are bounded by number, and of other places it is tried from one in ten."""
    assert each.begins is not None
    for piece in (*hostile.PIECES.values(), *hostile.RUNS):
        row = RowText.of(row_text(hostile.row(piece, 20_000))[0])
        tried = each.begins(Places(row.text)).bit_count()
        matches = sum(1 for _ in each.pattern.finditer(row.lower if each.lower else row.text))
        assert matches <= tried <= matches + 20_000 / 10, piece


class TestPlaces:
    def test_of_kinds_of_characters_and_runs(self) -> None:
        places = Places("a12\u0661-3é456")
        assert list(places.each(places.of(DIGITS))) == [1, 2, 5, 7, 8, 9]
        assert list(places.each(places.of("a", "-"))) == [0, 4]
        assert list(places.each(places.run(DIGITS, 2))) == [1, 7, 8]
        assert list(places.each(without(places.of(DIGITS), places.of(DIGITS) >> 1))) == [1, 5, 7]
        assert list(places.each(places.of("+"))) == []

    def test_of_groups(self) -> None:
        places = Places("12-3456 12-345 1-3456 12 3456-7")
        assert list(places.each(places.groups("-", 2, 4))) == [0]
        assert list(places.each(places.groups("-", 2, 3))) == [0, 8]

    def test_the_places_of_a_text_without_any_are_none(self) -> None:
        assert list(Places("").each(Places("\n\n").of(DIGITS))) == []


def test_no_hint_holds_a_digit_since_long_rows_are_looked_through_without_them() -> None:
    assert not [hint for known in RECOGNIZERS for hint in known.hints if any(map(str.isdigit, hint))]


def test_as_many_candidates_are_judged_of_a_crowded_row() -> None:
    digits = "4111111111111112 " * MAX_CANDIDATES
    assert not scan(digits).whole
    assert scan(digits[17 * 2 :]).whole
