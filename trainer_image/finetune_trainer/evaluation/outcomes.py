"""Per-item outcomes: what every statistic is computed from, and what is kept beside the artifact so that anyone can compute it again."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.contract import Metric
from finetune_trainer.pod.sealing import write_sealed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """What one model made of one item: scores of its answer, and the reference's likelihood (sum of nats, tokens) where asked for."""

    scores: dict[Metric, float] = field(default_factory=dict)
    nats: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class ItemOutcome:
    row: int
    base: Answered
    tuned: Answered


def scores_of(outcomes: Iterable[ItemOutcome], metric: Metric) -> tuple[Floats, Floats]:
    """``(base, tuned)``, each of shape (items,), paired by position."""
    pairs = [(outcome.base.scores[metric], outcome.tuned.scores[metric]) for outcome in outcomes]
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def nats_of(outcomes: Iterable[ItemOutcome]) -> tuple[Floats, Floats, Floats]:
    """``(base nats, tuned nats, reference tokens)``, each of shape (items,)."""
    rows = [(outcome.base.nats, outcome.tuned.nats, float(outcome.base.tokens)) for outcome in outcomes]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def write_outcomes(path: Path, outcomes: Iterable[ItemOutcome], metrics: tuple[Metric, ...]) -> None:
    """One JSON line per item: row number and scores of base and tuned, never a text."""
    write_sealed(path, "".join(json.dumps(_line(outcome, metrics), separators=(",", ":")) + "\n" for outcome in outcomes))


def _line(outcome: ItemOutcome, metrics: tuple[Metric, ...]) -> dict[str, object]:
    return {"row": outcome.row, "base": _side(outcome.base, metrics), "tuned": _side(outcome.tuned, metrics)}


def _side(answered: Answered, metrics: tuple[Metric, ...]) -> dict[str, object]:
    side: dict[str, object] = {metric.value: round(score, 6) for metric, score in answered.scores.items()}
    if Metric.PERPLEXITY in metrics:
        side |= {"nats": round(answered.nats, 6), "tokens": answered.tokens}
    return side
