"""Which rows are held out: decided by what a row says, never by where it stands, so that sorting a file moves no row across the line."""

from collections.abc import Sequence
from dataclasses import dataclass

from finetune_trainer.data.examples import Example


@dataclass(frozen=True)
class Split:
    train: list[Example]
    held_out: list[Example]


def hold_out(examples: Sequence[Example], percent: int | None) -> Split:
    """Hold out ``percent`` of the rows, at least one if there are two different ones. Equal rows always fall on the same side."""
    hashes = [example.content_hash() for example in examples]
    distinct = sorted(set(hashes))
    if percent is None or len(distinct) < 2:
        return Split(list(examples), [])
    share = min(len(distinct) - 1, max(1, round(len(distinct) * percent / 100)))
    chosen = set(distinct[:share])
    train = [example for example, name in zip(examples, hashes, strict=True) if name not in chosen]
    return Split(train, [example for example, name in zip(examples, hashes, strict=True) if name in chosen])


def sample(examples: Sequence[Example], count: int) -> list[Example]:
    """``count`` rows, chosen by content and in the order of their numbers."""
    if len(examples) <= count:
        return list(examples)
    chosen = sorted(examples, key=lambda example: (example.content_hash(), example.row))[:count]
    return sorted(chosen, key=lambda example: example.row)
