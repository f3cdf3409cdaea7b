"""The data of a governed tour: tickets with and without identifiers, too few of them, and one row that no scan reads to its end."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from examples import tickets

SSN = "536-90-{:04d}"
NEITHER_CARD = "4000 0000 0000 0001 "
"""Looks like a card and fails its checksum; of more than 4,000 in one row the rest is not judged."""
SEEN, UNSEEN = 4, 4

Row = dict[str, Any]


def write(folder: Path) -> None:
    plain = _plain()
    few = [said(row, f"My social security number is {SSN.format(1000 + number)}.") for number, row in enumerate(plain[:60])]
    _lines(folder / "clean.jsonl", plain)
    _lines(folder / "people.jsonl", people())
    _lines(folder / "few.jsonl", [*few, *few[:20]])
    _lines(folder / "asked.jsonl", [*few[:SEEN], *tickets.rows(UNSEEN, seed=12)])
    _lines(folder / "long.jsonl", [*plain, said(plain[0], NEITHER_CARD * 4_100)])


def people() -> list[Row]:
    """Each with a number of its own."""
    return [said(row, f"SSN {SSN.format(1000 + number)}.") for number, row in enumerate(_plain())]


def said(row: Row, more: str) -> Row:
    system, asked, answered = row["messages"]
    return {"messages": [system, {**asked, "content": f"{asked['content']} {more}"}, answered]}


def _plain() -> list[Row]:
    return tickets.rows(240, seed=11)


def _lines(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
