"""How many examples a kind of task needs before fine-tuning tends to help: advice with numbers, given before a GPU is asked for.

The minima come from the customisation guides of the large model vendors and are rules of thumb: below the minimum a warning, below the
recommendation a remark. For classification both hold per label.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from finetune_trainer.contract import Finding, Severity, TaskType


@dataclass(frozen=True)
class Minimum:
    least: int
    recommended: tuple[int, int]


MINIMA = {
    TaskType.CLASSIFICATION: Minimum(50, (200, 500)),
    TaskType.STYLE: Minimum(100, (300, 500)),
    TaskType.FORMAT: Minimum(200, (500, 1_000)),
    TaskType.VOCABULARY: Minimum(500, (1_000, 3_000)),
    TaskType.INSTRUCTION: Minimum(1_000, (5_000, 20_000)),
}


def least_useful(task: TaskType, labels: Mapping[str, int]) -> int:
    """The fewest examples that tend to help; ``labels`` counts rows per label, each of which needs the minimum of a classification."""
    least = MINIMA[task].least
    return sum(max(count, least) for count in labels.values()) if task is TaskType.CLASSIFICATION and labels else least


def judge_size(task: TaskType, examples: int, labels: Mapping[str, int]) -> Finding | None:
    """What there is to say about the number of examples; ``labels`` counts rows per label of a classification."""
    minimum = MINIMA[task]
    per_label = task is TaskType.CLASSIFICATION and bool(labels)
    count = min(labels.values()) if per_label else examples
    what = f"the rarest of {len(labels)} labels has {count} examples" if per_label else f"{count} examples"
    advice = f"{minimum.recommended[0]:,} to {minimum.recommended[1]:,} are recommended for {task.value}"
    if count < minimum.least:
        return Finding(rule="TooFewExamples", severity=Severity.WARNING, message=f"{what}; the minimum is {minimum.least:,}, {advice}")
    if count < minimum.recommended[0]:
        return Finding(rule="FewExamples", severity=Severity.INFO, message=f"{what}; {advice}")
    return None
