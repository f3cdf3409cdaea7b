"""How fast are rows scanned for identifiers on one core, how much of what was planted is found, what is found by chance, what hurts?

    python -m tests.performance scan_rows [--full]

Chat rows of 528 characters from a seed (`tests/unit/trainer/identifiers/planted.py`), three in ten with one identifier, one in ten with a
decoy. Time is that of the processor; the bound is a ratio to a plain loop that counts the characters of the same rows in the same run.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice

from finetune_trainer.identifiers.recognizer import Recognizer, RowText
from finetune_trainer.identifiers.rowtext import row_text
from finetune_trainer.identifiers.scanner import MAX_CANDIDATES, RECOGNIZERS, scan
from tests.performance.report import Limit, Section
from tests.unit.trainer.identifiers import hostile, planted

MEGABYTE = 1_000_000
ROWS_PER_SECOND = 10_000
LOOPS = 3.5
"""So many times the time of the plain loop the scan may take; on an idle core that does 35,000 rows/s, this is 10,000 rows/s."""


def run(full: bool) -> Section:
    """5,000 planted items of each kind with ``full``, else 300."""
    each = 5_000 if full else 300
    rows = planted.rows(20_000 if full else 2_000)
    scanned, looped = _seconds(lambda: [scan(row.row) for row in rows]), _seconds(lambda: [_count(row.row) for row in rows])
    found, validated, checked = _recall(each)
    decoys = _by_chance(each)
    pattern, whole, turns = _hostile()
    cells = [
        ("rows/s", f"{len(rows) / scanned:,.0f} (plain loop {len(rows) / looped:,.0f})"),
        ("found", found),
        ("of these validated", validated),
    ]
    cells += [(f"decoys: {name}", told) for name, told in decoys.items()]
    cells += [("worst pattern on a megabyte built for it", pattern[1]), ("worst whole scan of such a megabyte", whole[1])]
    cells += [("whole scan of a megabyte that is built to hurt all patterns by turns", turns[1])]
    limits = [
        Limit("scan in times of the plain loop", scanned / looped, LOOPS),
        Limit("least share found of a kind with a checksum", checked, 0.99, at_most=False),
    ]
    if full:
        limits.append(Limit("rows/s on one core", len(rows) / scanned, ROWS_PER_SECOND, at_most=False))
        limits.append(Limit("ms of the worst pattern on a megabyte built for it", pattern[0], 100))
        limits.append(Limit("ms of the worst whole scan of a megabyte built for one pattern", whole[0], 100))
    flags = f"Rows of {planted.ROW_CHARACTERS} characters, {each:,} of each kind and decoy, one thread, processor time, least of three."
    return Section("Scanning rows for identifiers", flags, ("figure", "measured"), tuple(cells), tuple(limits))


def _count(row: object) -> int:
    """The plain loop."""
    counts: dict[str, int] = {}
    for character in json.dumps(row):
        counts[character] = counts.get(character, 0) + 1
    return len(counts)


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def _recall(each: int) -> tuple[str, str, float]:
    chance, found, validated = random.Random(11), {}, {}
    for entity, makers in (planted.CHECKED | planted.FORMED).items():
        hits = [scan(planted.chat_row(chance, makers[turn % len(makers)](chance))).entities.get(entity) for turn in range(each)]
        found[entity] = sum(hit is not None for hit in hits) / each
        validated[entity] = sum(hit is True for hit in hits) / each
    told = ", ".join(f"{entity.value} {share:.2%}" for entity, share in found.items())
    return told, ", ".join(f"{entity.value} {validated[entity]:.0%}" for entity in planted.CHECKED), min(found[e] for e in planted.CHECKED)


def _by_chance(each: int) -> dict[str, str]:
    chance, told = random.Random(12), {}
    for name, maker in planted.DECOYS.items():
        kinds: Counter[str] = Counter()
        for _ in range(each):
            kinds.update(entity.value for entity in scan(planted.chat_row(chance, maker(chance))).entities)
        told[name] = ", ".join(f"{kind} {count / each:.2%}" for kind, count in kinds.most_common()) or "nothing"
    return told


Time = tuple[float, str]


def _hostile() -> tuple[Time, Time, Time]:
    """Milliseconds of the worst pattern on its own row, of the worst row for the whole scan, and of the row that is built to hurt all."""
    own = []
    for each in RECOGNIZERS:
        text = row_text(hostile.row(hostile.PIECES[each.name], MEGABYTE))[0]

        def through(text: str = text, known: Recognizer = each) -> None:
            row = RowText.of(text)
            candidates = known.candidates(row)
            for match in islice(candidates, MAX_CANDIDATES):
                known.judge(match, row)
            for _ in candidates:
                pass

        own.append((_seconds(through) * 1000, each.name))
    whole = {name: _seconds(partial(scan, hostile.row(piece, MEGABYTE))) * 1000 for name, piece in hostile.ROWS.items()}
    turns = whole.pop(hostile.ALL_BY_TURNS), hostile.ALL_BY_TURNS
    worst = max(own), max((most, name) for name, most in whole.items()), turns
    return tuple((most, f"{most:.0f} ms ({name})") for most, name in worst)  # type: ignore[return-value]
