"""Passes what happens in a training on to those who want to know: the progress server, the event log and the last word of the pod."""

import time
from collections.abc import Callable

from finetune_trainer.pod.context import Evidence
from finetune_trainer.pod.events import EventLog
from finetune_trainer.pod.progress import ProgressState
from finetune_trainer.pod.resolved import ResolvedRun
from finetune_trainer.pod.tracked import settings
from finetune_trainer.pod.tracker import Tracker
from finetune_trainer.stages.checkpoints import Checkpoint
from finetune_trainer.stages.schedule import Schedule
from finetune_trainer.stages.totals import Totals

EVENT_SECONDS = 5.0
"""At most one progress line in this time: a log is read by people."""


class Reporter:
    """Hears of every step; used by the first process."""

    def __init__(
        self,
        progress: ProgressState,
        events: EventLog,
        evidence: Evidence,
        clock: Callable[[], float] = time.monotonic,
        tracker: Tracker | None = None,
    ) -> None:
        self._progress = progress
        self._events = events
        self._evidence = evidence
        self._clock = clock
        self._tracker = tracker
        self._told_at: float | None = None
        self._total = 0

    def resolved(self, run: ResolvedRun) -> None:
        if self._tracker is not None:
            self._tracker.parameters(settings(run))

    def planned(self, schedule: Schedule, totals: Totals, *, trainable: int, parameters: int) -> None:
        self._total = schedule.total_steps
        self._progress.enter("Training")
        self._progress.plan(schedule.total_steps, totals.step, totals.tokens, totals.step or None)
        self._events.emit(
            "training",
            total_steps=schedule.total_steps,
            from_step=totals.step,
            micro_batch_size=schedule.micro,
            accumulation=schedule.accumulation,
            processes=schedule.processes,
            trainable_parameters=trainable,
            parameters=parameters,
        )

    def stepped(self, totals: Totals, *, learning_rate: float, gradient_norm: float | None, seconds: float) -> None:
        self._evidence.last_step = totals.step
        loss = totals.recent_losses[-1]
        self._progress.step(
            totals.step,
            epoch=totals.epoch,
            loss=totals.loss,
            learning_rate=learning_rate,
            tokens=totals.tokens,
            gradient_norm=gradient_norm,
        )
        if self._tracker is not None:
            figures = {
                "train/loss": loss,
                "train/learning_rate": learning_rate,
                "train/gradient_norm": gradient_norm,
                "train/epoch": totals.epoch,
                "train/tokens": totals.tokens,
            }
            self._tracker.values(totals.step, figures)
        now = self._clock()
        due = self._told_at is None or now - self._told_at >= EVENT_SECONDS
        if due or totals.step == self._total:
            self._told_at = now
            report = self._progress.report
            self._events.emit(
                "progress",
                step=totals.step,
                total_steps=self._total,
                epoch=round(totals.epoch, 4),
                loss=round(loss, 6),
                mean_loss=round(totals.loss, 6),
                learning_rate=learning_rate,
                gradient_norm=gradient_norm,
                tokens=totals.tokens,
                tokens_per_second=report.tokens_per_second,
                step_seconds=round(seconds, 4),
                eta_seconds=report.eta_seconds,
            )

    def looked(self, totals: Totals) -> None:
        assert totals.evaluation_loss is not None
        self._progress.evaluation(totals.evaluation_loss)
        if self._tracker is not None:
            self._tracker.values(totals.step, {"validation/loss": totals.evaluation_loss})
        self._events.emit(
            "validation",
            step=totals.evaluated_at,
            loss=round(totals.evaluation_loss, 6),
            best_step=totals.best_step,
            looks_without_gain=totals.looks_without_gain,
        )

    def sealed(self, checkpoint: Checkpoint) -> None:
        self._evidence.checkpoint = checkpoint.sealed
        self._progress.checkpoint(checkpoint.step)
        self._events.emit("checkpoint", step=checkpoint.step, name=checkpoint.path.name, digest=checkpoint.digest)


class Silence:
    """What the other processes say: nothing, since the first one speaks for all."""

    def resolved(self, run: ResolvedRun) -> None: ...

    def planned(self, schedule: Schedule, totals: Totals, *, trainable: int, parameters: int) -> None: ...

    def stepped(self, totals: Totals, *, learning_rate: float, gradient_norm: float | None, seconds: float) -> None: ...

    def looked(self, totals: Totals) -> None: ...

    def sealed(self, checkpoint: Checkpoint) -> None: ...
