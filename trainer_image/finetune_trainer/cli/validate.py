"""``finetune-trainer validate``: is this run spec one that the trainer can run? Answers without importing torch."""

from finetune_trainer.contract import StepResult
from finetune_trainer.data.declared import check_declared
from finetune_trainer.pod.context import StepContext
from finetune_trainer.stages.extra_arguments import check_extra_arguments


def execute(context: StepContext) -> StepResult | None:
    """Check what the spec alone decides; raises ``ConfigurationError``. Reading it already checked every field by itself."""
    check_declared(context.spec)
    check_extra_arguments(context.spec)
    spec = context.spec
    print(f"valid: {spec.stage.value} with {spec.tuner.type.value} for run {spec.run.name} ({spec.content_digest()})")
    return None
