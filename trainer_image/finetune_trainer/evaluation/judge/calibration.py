"""Pairs whose better answer is known beforehand: the reference of an item against that of another one, which answers something else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from finetune_trainer.evaluation.items import EvaluationItem
from finetune_trainer.evaluation.metrics import same_answer
from finetune_trainer.shares import wilson

MOST_PAIRS: Final = 32
_LEAST_SHARE: Final = 0.8
_CHANCE: Final = 0.5
_FEWEST_PAIRS: Final = 4
"""All of four right is the least that is more than half beyond chance."""
_TRIED_PARTNERS = 64


@dataclass(frozen=True)
class Pair:
    """Two answers to one request."""

    prompt: str | list[dict[str, Any]]
    first: str
    second: str


def known_pairs(items: Sequence[EvaluationItem], most: int = MOST_PAIRS) -> list[Pair]:
    """At most so many pairs, evenly over the items and always the same ones, the right answer first."""
    step = max(1, len(items) / most)
    chosen = [int(number * step) for number in range(min(most, len(items)))]
    found = ((items[place], _another(items, place)) for place in chosen)
    return [Pair(item.prompt, item.reference, wrong) for item, wrong in found if wrong is not None]


def _another(items: Sequence[EvaluationItem], place: int) -> str | None:
    """The reference of an item far away that says something else; None where none is found soon."""
    right = items[place].reference
    if not right.strip():
        return None
    start = place + len(items) // 2
    others = (items[(start + number) % len(items)].reference for number in range(min(len(items), _TRIED_PARTNERS)))
    return next((other for other in others if other.strip() and not same_answer(other, right)), None)


def doubts(right: int, pairs: int, unread: int) -> str:
    """Why a judge that was right about so many known pairs, in both orders, is not to be believed; empty where it is.

    Four of five must be right, and beyond chance more than half (Wilson's 95 % lower bound).
    """
    if pairs < _FEWEST_PAIRS:
        return f"the items make {pairs} pairs whose better answer is known, and {_FEWEST_PAIRS} are the least: hold out more items"
    if right >= _LEAST_SHARE * pairs and wilson(right, pairs).low > _CHANCE:
        return ""
    aside = f"; of {unread} a verdict could not be read" if unread else ""
    asked = f"{_LEAST_SHARE:.0%} are asked for, and more than half beyond chance"
    return f"of {pairs} pairs whose better answer is known {right} were judged right in both orders, {asked}{aside}"


def too_many_unread(unread: int, asked: int) -> str:
    """Why verdicts are not to be counted; empty where they are."""
    if asked - unread >= _LEAST_SHARE * asked:
        return ""
    return f"of {asked} pairs {unread} have a verdict that could not be read: their answers may be too long for the judge"
