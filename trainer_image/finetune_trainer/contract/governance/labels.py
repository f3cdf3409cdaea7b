"""Labels as they stand on objects, read by the vocabulary: what they say, and what in them is no word of it.

A level that cannot be read counts as the highest, so that a typing error never opens anything.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.classification import Classification
from finetune_trainer.contract.governance.vocabulary import Level


@dataclass(frozen=True)
class Problem:
    """A label by its key, and what is wrong with it."""

    key: str
    why: str


@dataclass(frozen=True)
class Reading:
    """``classification`` is None where the labels say nothing of it."""

    classification: Classification | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Clearance:
    """What a Namespace or a model server may hold; without ``level`` nothing at all, since the label is no word of the vocabulary."""

    level: Level | None
    regimes: frozenset[str]

    def lacks(self, classification: Classification) -> Iterator[str]:
        """In words, what of the classification is not cleared."""
        if self.level is None:
            yield f"level {classification.level} (its clearance level is no level)"
        elif classification.level > self.level:
            yield f"level {classification.level} (cleared to {self.level})"
        for regime in sorted(classification.regimes - self.regimes):
            yield f"regime {regime}"


def read(labels: Mapping[str, str], regimes: frozenset[str], residencies: frozenset[str], *, required: bool) -> Reading:
    """Read level, regimes and residency; ``regimes`` and ``residencies`` are the legal ones, ``required`` asks for level and residency."""
    level, residency = labels.get(words.LABEL_LEVEL), labels.get(words.LABEL_RESIDENCY)
    declared = {key.removeprefix(words.REGIME_LABELS): value for key, value in labels.items() if key.startswith(words.REGIME_LABELS)}
    problems = [
        *_level_problems(level, required=required),
        *_residency_problems(residency, residencies, required=required),
        *(problem for name, value in sorted(declared.items()) for problem in _regime_problems(name, value, regimes)),
    ]
    if level is None and residency is None and not declared:
        return Reading(None, tuple(problems))
    classification = Classification.model_construct(
        level=Level.PUBLIC if level is None else (Level.read(level) or Level.RESTRICTED),
        regimes=frozenset(declared) & regimes,
        residencies=frozenset({residency}) & residencies if residency else frozenset(),
    )
    return Reading(classification, tuple(problems))


def clearance_of(labels: Mapping[str, str]) -> Clearance:
    """What the labels of a Namespace or a model server clear it for."""
    prefix = words.CLEARANCE_LABELS
    regimes = frozenset(key.removeprefix(prefix) for key, value in labels.items() if key.startswith(prefix) and value == words.YES)
    return Clearance(Level.read(labels.get(words.LABEL_CLEARANCE_LEVEL, Level.PUBLIC.value)), regimes)


def _level_problems(level: str | None, *, required: bool) -> Iterator[Problem]:
    if level is None:
        if required:
            yield Problem(words.LABEL_LEVEL, "is missing")
    elif Level.read(level) is None:
        yield Problem(words.LABEL_LEVEL, f"must be one of {', '.join(map(str, Level))}")


def _residency_problems(residency: str | None, legal: frozenset[str], *, required: bool) -> Iterator[Problem]:
    if residency is None:
        if required:
            yield Problem(words.LABEL_RESIDENCY, "is missing")
    elif residency != words.ANY and residency not in legal:
        yield Problem(words.LABEL_RESIDENCY, f"must be {words.ANY} or a place that this site knows")


def _regime_problems(name: str, value: str, legal: frozenset[str]) -> Iterator[Problem]:
    key = f"{words.REGIME_LABELS}{name}"
    if name not in legal:
        yield Problem(key, "names no regime that this site knows")
    elif value != words.YES:
        yield Problem(key, f'must be "{words.YES}"')
