"""The artifact as anybody else will load it. What is measured and compared is this model, not the one that happened to be in memory."""

# ruff: noqa: PLC0415 - torch comes late on purpose: what is wrong is told before it is imported

from typing import TYPE_CHECKING

from finetune_trainer.contract import TunerType
from finetune_trainer.pod.context import StepContext

if TYPE_CHECKING:
    from finetune_trainer.evaluation import Candidate
    from finetune_trainer.stages.probe import LogitProbe


def load_artifact(context: StepContext) -> "Candidate":
    """``workspace.out`` with the base model it belongs to. Raises ``ModelError``."""
    from finetune_trainer.evaluation import AdapterCandidate, FullCandidate
    from finetune_trainer.stages.model import load_for_evaluation

    spec, workspace = context.spec, context.workspace
    base = workspace.base_model(spec)
    if spec.tuner.type is TunerType.FULL:
        return FullCandidate(load_for_evaluation(spec, workspace.out), lambda: load_for_evaluation(spec, base))
    return AdapterCandidate(load_for_evaluation(spec, base, adapter=workspace.out))


def compare(context: StepContext, candidate: "Candidate", probe: "LogitProbe") -> "LogitProbe":
    """Raise ``ModelError`` unless the artifact answers as the trained model did; keep and tell the difference."""
    from finetune_trainer.stages.probe import compare_with_probe

    with candidate.as_tuned() as model:
        compared = compare_with_probe(model, probe)
    context.events.emit("reloaded", difference=compared.difference, tolerance=compared.tolerance)
    return compared
