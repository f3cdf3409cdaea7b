"""A judge is asked once before a model trains: what a person has to correct is told then, and not hours later."""

# ruff: noqa: PLC0415 - torch comes late on purpose: what is wrong is told before it is imported

from finetune_trainer.contract import Metric
from finetune_trainer.evaluation import metrics_for
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import StorageError


def greet_judge(context: StepContext) -> None:
    """Raises ``ConfigurationError`` for a judge that refuses what it is asked; one that is away may be back after the training."""
    if Metric.JUDGE not in metrics_for(context.spec):
        return
    from finetune_trainer.evaluation.items import read_items
    from finetune_trainer.evaluation.judge import Judging

    items = read_items(context.workspace.evaluation_items, context.spec.evaluation.max_items)
    try:
        Judging.of(context.spec, lambda: context.stop.requested, tries=1).greet(items)
    except StorageError as error:
        context.events.emit("warning", reason=error.reason, message=error.message)
