"""Items of which each has an answer of its own."""

from finetune_trainer.evaluation.items import EvaluationItem


def numbered(count: int) -> list[EvaluationItem]:
    return [
        EvaluationItem(
            number, [{"role": "user", "content": f"which shelf holds part {number}?"}], f"part {number} lies on shelf {number % 9}"
        )
        for number in range(count)
    ]
