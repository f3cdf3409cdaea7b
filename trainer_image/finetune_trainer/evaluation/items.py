"""The held-out items as the prepare step sealed them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_trainer.pod.errors import DataError


@dataclass(frozen=True)
class EvaluationItem:
    """``row`` names the item everywhere outside this process; ``prompt`` is a text or a list of chat messages."""

    row: int
    prompt: str | list[dict[str, Any]]
    reference: str


def read_items(path: Path, limit: int) -> list[EvaluationItem]:
    """The first ``limit`` items; no file means that nothing was held out. Raises ``DataError`` with a line number."""
    if not path.exists():
        return []
    items: list[EvaluationItem] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if len(items) == limit:
                break
            if line.strip():
                items.append(_parse(number, line))
    return items


def _parse(number: int, line: str) -> EvaluationItem:
    try:
        raw = json.loads(line)
        item = EvaluationItem(row=int(raw["row"]), prompt=raw["prompt"], reference=raw["reference"])
    except (ValueError, KeyError, TypeError):
        # `from None`: the cause would quote the line
        raise DataError(
            "EvaluationItemUnreadable", f"evaluation item in line {number} is damaged", "Let the prepare step run again."
        ) from None
    if not isinstance(item.reference, str) or not isinstance(item.prompt, str | list):
        raise DataError("EvaluationItemUnreadable", f"evaluation item in line {number} has a wrong type", "Let the prepare step run again.")
    return item
