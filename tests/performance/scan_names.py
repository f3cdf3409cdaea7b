"""How fast are rows scanned for names beside identifiers on one core, and how many names does the tests' own small pipeline find?

    python -m tests.performance scan_names [--full]

The pipeline is learned here in seconds (`tests/process/names/site_model.py`): what it costs to run one is what this measures. A site's
model is another one, and what that finds is in its own reports.
"""

import random
import tempfile
import time
from pathlib import Path

from finetune_trainer.contract.governance.vocabulary import Entity
from finetune_trainer.identifiers.scanner import scan
from finetune_trainer.names import name_finder
from tests.performance.report import Limit, Section
from tests.process.names import site_model
from tests.unit.trainer.identifiers import planted


def run(full: bool) -> Section:
    chance, count = random.Random(21), 3_000 if full else 300
    with tempfile.TemporaryDirectory() as folder:
        finder = name_finder(site_model.write(Path(folder) / "names"))
    assert finder is not None
    rows = [planted.chat_row(chance, site_model.name("PERSON", chance)) for _ in range(count)]
    started = time.process_time()
    found = sum(Entity.PERSON in scan(row, names=finder).entities for row in rows)
    seconds = time.process_time() - started
    alarms = sum(Entity.PERSON in scan(planted.chat_row(chance), names=finder).entities for _ in range(count))
    own = ", ".join(f"{each.entity.value} {each.found} of {each.planted}" for each in finder.report.planted)
    cells = (
        ("rows/s, identifiers and names", f"{count / seconds:,.0f}"),
        ("rows with a planted person, found", f"{found / count:.0%}"),
        ("rows without one, flagged", f"{alarms / count:.0%}"),
        ("the trainer's own planted sentences", own),
    )
    flags = f"Rows of {planted.ROW_CHARACTERS} characters, one thread, processor time."
    limits = (Limit("share of planted people found", found / count, 0.6, at_most=False),)
    return Section("Scanning rows for names", flags, ("figure", "measured"), cells, limits)
