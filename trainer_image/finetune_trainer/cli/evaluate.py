"""``finetune-trainer evaluate``: let base and tuned answer the sealed items once more, without training.

Needs what the prepare and train steps left in the work folder before it was tidied up: the held-out items and the assembled artifact.
That artifact must first answer as the trained model did, whose training this process had no part in.
"""

# ruff: noqa: PLC0415 - torch comes late on purpose: what is missing is told before it is imported

import json

from finetune_trainer.cli.reloading import compare, load_artifact
from finetune_trainer.evaluation import metrics_for
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import DataError


def execute(context: StepContext) -> None:
    """Write report and outcomes to ``--out``, else beside the artifact in the work folder, and tell the summary as an event.

    Raises ``DataError`` when items or artifact are gone, ``ModelError`` when the artifact is not the model that was trained,
    ``ConfigurationError`` for metrics that this run cannot measure.
    """
    spec, workspace = context.spec, context.workspace
    metrics_for(spec)
    for path, what in ((workspace.evaluation_items, "held-out items"), (workspace.out, "trained artifact")):
        if not path.exists():
            raise DataError(
                "NothingToEvaluate",
                f"the work folder holds no {what}",
                "A finished run tidies its work folder up; evaluate before that, or ask for a new run.",
            )
    from finetune_trainer.evaluation import evaluate
    from finetune_trainer.stages.model import load_tokenizer
    from finetune_trainer.stages.probe import read_probe

    probe = read_probe(workspace.out_meta)
    candidate = load_artifact(context)
    compare(context, candidate, probe)
    tokenizer = load_tokenizer(workspace.base_model(spec))
    with context.stop.deferred():
        summary = evaluate(
            candidate,
            tokenizer,
            spec,
            items_path=workspace.evaluation_items,
            report_folder=context.options.out or workspace.out_meta,
            stop=lambda: context.stop.requested,
            progress=lambda done, total: context.events.emit("evaluating", done=done, total=total),
        )
    context.events.emit("evaluated", **json.loads(summary.to_json()))
