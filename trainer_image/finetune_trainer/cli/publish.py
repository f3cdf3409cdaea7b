"""``finetune-trainer publish``: the artifact goes to its place. Small and quick: no torch, no data, no accelerator."""

from pathlib import Path

from finetune_trainer.artifact.publication import publish
from finetune_trainer.artifact.signed import read_signed
from finetune_trainer.contract import RECORD_MOUNT, Step, StepResult, Summary
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.sealing import seal_result


def execute(context: StepContext) -> StepResult:
    """Publish, seal the result and say where the artifact lies. A stop may come at any moment: every part of it can be repeated."""
    spec, workspace = context.spec, context.workspace
    destination = context.options.out or Path(spec.artifact.path)
    signed = read_signed(context.options.record or Path(RECORD_MOUNT))
    summary = publish(workspace, spec, destination=destination, attempt=context.attempt, signed=signed)
    result = seal_result(workspace, spec, Step.PUBLISH, Summary(publish=summary))
    context.events.emit("published", digest=summary.digest, bytes=summary.bytes, promotable=summary.promotable, signed=summary.signed)
    return result
