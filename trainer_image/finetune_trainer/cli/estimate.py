"""``finetune-trainer estimate``: memory, disk and time of a run, from its spec and the base model's files alone. Imports no torch."""

from finetune_trainer.contract import StepResult
from finetune_trainer.data.declared import check_declared
from finetune_trainer.estimate.plan import Lengths, plan_run
from finetune_trainer.estimate.shape import read_shape
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import ModelError
from finetune_trainer.pod.resources import cpu_count
from finetune_trainer.pod.weights import weight_files


def execute(context: StepContext) -> StepResult | None:
    """Print the estimate as JSON, for rows as long as ``maxSequenceLength``.

    Without ``maxSteps`` the number of steps depends on the data, and ``seconds`` is that of one step. Raises ``ModelError`` when the base
    model is not at hand.
    """
    spec = context.spec
    check_declared(spec)
    folder = context.workspace.base_model(spec)
    if not (folder / "config.json").is_file() or not weight_files(folder):
        hint = "Name a folder with config.json and safetensors in baseModel.path; a model of a hub is there after prepare."
        raise ModelError("BaseModelMissing", f"baseModel: no model in {folder}", hint)
    length = spec.training.max_sequence_length
    plan = plan_run(
        spec,
        read_shape(folder),
        Lengths(longest=length, mean=length),
        steps=spec.training.max_steps or 1,
        threads=cpu_count(),
        micro_batch_size=context.options.micro_batch_size,
    )
    print(plan.estimate.to_json())
    return None
