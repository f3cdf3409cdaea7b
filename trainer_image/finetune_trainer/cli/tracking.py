"""The tracker of a training, from its first step to its end, where the run spec names one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from finetune_trainer.contract import Step, StepResult, TrackerReport, TrainSummary
from finetune_trainer.pod.context import StepContext
from finetune_trainer.pod.errors import Stopped
from finetune_trainer.pod.progress import ProgressState
from finetune_trainer.pod.sealing import sealed_result
from finetune_trainer.pod.tracked import described, outcome
from finetune_trainer.pod.tracker import END_SECONDS, STOP_SECONDS, Tracker


@contextmanager
def tracked(context: StepContext, progress: ProgressState | None = None) -> Iterator[StepContext]:
    """The context with the tracker, which hears at the end how the training ended. One that was stopped may go on as the same run."""
    tracker = _tracker(context, progress)
    if tracker is None:
        yield context
        return
    tracker.start()
    try:
        yield replace(context, tracker=tracker)
    except Stopped:
        tracker.finish("KILLED", STOP_SECONDS)
        raise
    except BaseException:
        tracker.finish("FAILED", STOP_SECONDS)
        raise
    tracker.finish("FINISHED", END_SECONDS)


def tell_outcome(context: StepContext, summary: TrainSummary) -> None:
    """Figures and digests of the end, where somebody listens."""
    if context.tracker is not None:
        figures, tags = outcome(summary)
        context.tracker.values(summary.steps, figures)
        context.tracker.tags(tags)


def tell_end(context: StepContext, result: StepResult) -> None:
    """Say how a sealed training ended: an attempt that was lost right after its last seal may not have."""
    with tracked(context) as told:
        if result.summary.train is not None:
            tell_outcome(told, result.summary.train)


def _tracker(context: StepContext, progress: ProgressState | None) -> Tracker | None:
    """None without one in the run spec, and where nothing is prepared that could be trained."""
    wanted = context.spec.tracking
    prepared = sealed_result(context.workspace, context.spec, Step.PREPARE) if wanted is not None else None
    if wanted is None or prepared is None or prepared.summary.prepare is None:
        return None

    def heard(report: TrackerReport) -> None:
        before, context.evidence.tracker = context.evidence.tracker, report
        if progress is not None:
            progress.tracked(report)
        if report.trouble is not None and (before is None or before.trouble != report.trouble):
            message = f"nothing arrives at {wanted.uri}: {report.trouble}; the training goes on"
            context.events.emit("warning", reason="TrackerUnreachable", message=message)
        elif report.trouble is None and (before is None or before.trouble is not None or before.run_id != report.run_id):
            context.events.emit("tracked", run=report.run_id)

    from finetune_trainer.pod.mlflow import MlflowServer  # noqa: PLC0415 - whoever tracks nothing needs no HTTP client

    about = described(context.spec, prepared.summary.prepare, wanted.experiment)
    return Tracker(MlflowServer(wanted.uri), about, heard)
