"""What happens between two steps: count, look for divergence, look at held-out rows, decide to save or to stop.

One callback in the library's loop. The order within a step is the library's: ``on_step_end`` (decide), ``on_log`` (count and judge), then
the save. Several processes agree on every decision, because a signal reaches them at different steps.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Protocol

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetune_trainer.pod.errors import DivergedError
from finetune_trainer.stages.divergence import Diverged, observe
from finetune_trainer.stages.schedule import Schedule
from finetune_trainer.stages.totals import Totals


class Observer(Protocol):
    """Who wants to hear about steps."""

    def stepped(self, totals: Totals, *, learning_rate: float, gradient_norm: float | None, seconds: float) -> None: ...

    def looked(self, totals: Totals) -> None: ...


@dataclass
class Watch(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Decisions between steps; ``totals`` is replaced, never changed in place.

    ``look`` returns the loss on the held-out rows, or None when it was interrupted; ``keep_best`` stores the weights of the best look.
    """

    schedule: Schedule
    vocabulary: int
    patience: int | None
    save_every_seconds: float
    stop_requested: Callable[[], bool]
    observer: Observer
    take_fed: Callable[[], int] = lambda: 0
    look: Callable[[], float | None] | None = None
    keep_best: Callable[[int], None] | None = None
    clock: Callable[[], float] = time.monotonic
    totals: Totals = field(default_factory=Totals)
    stopped: bool = False
    ended_early: bool = False
    _saved_at: float = 0.0
    _stepped_at: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether the run needs no further step."""
        return self.ended_early or self.totals.step >= self.schedule.total_steps

    def catch_up(self) -> None:
        """Make up for a look that the stop of an earlier attempt prevented, before the next step is taken."""
        self._stepped_at = self.clock()
        if self.totals.step and self._look_is_due(self.totals.step):
            self._look(self.totals.step)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        self._saved_at = self._stepped_at = self.clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        due = self.clock() - self._saved_at >= self.save_every_seconds
        stop, save, fed = self._agree(int(self.stop_requested()), int(due), self.take_fed())
        self.totals = replace(self.totals, tokens=self.totals.tokens + fed)
        self.stopped = bool(stop)
        control.should_log = True
        control.should_save = bool(stop or save)
        if stop:
            control.should_training_stop = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        if "loss" not in logs:
            return
        step, loss, norm = state.global_step, float(logs["loss"]), _number(logs.get("grad_norm"))
        verdict = observe(self.totals.divergence, step, loss, norm, self.vocabulary)
        if isinstance(verdict, Diverged):
            raise diverged(verdict.step, verdict.evidence)
        seconds = self.clock() - self._stepped_at
        self._stepped_at += seconds
        totals = self.totals.after_step(step, float(state.epoch or 0.0), loss, verdict)
        self.totals = replace(totals, seconds=totals.seconds + seconds)
        self.observer.stepped(self.totals, learning_rate=float(logs["learning_rate"]), gradient_norm=norm, seconds=seconds)
        if not self.stopped and self._look_is_due(step):
            self._look(step)
            control.should_save = control.should_save or self.stopped
            control.should_training_stop = control.should_training_stop or self.stopped or self.ended_early

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        self._saved_at = self._stepped_at = self.clock()

    def _look_is_due(self, step: int) -> bool:
        every = self.schedule.evaluate_every
        at_end = step >= self.schedule.total_steps
        return self.look is not None and self.totals.evaluated_at != step and (at_end or (every is not None and step % every == 0))

    def _look(self, step: int) -> None:
        """Look at the held-out rows. Raises ``DivergedError``: after the last step nothing else would notice."""
        assert self.look is not None
        began = self.clock()
        loss = self.look()
        self._stepped_at += self.clock() - began
        if loss is None:
            self.stopped = True
            return
        if not isfinite(loss):
            raise diverged(step, f"the loss on the held-out rows is {loss}")
        self.totals = self.totals.after_look(step, loss)
        if self.patience is not None and self.totals.best_step == step and self.keep_best is not None:
            self.keep_best(step)
        self.ended_early = self._exhausted()
        self.observer.looked(self.totals)

    def _exhausted(self) -> bool:
        return self.patience is not None and self.totals.looks_without_gain >= self.patience

    def resume(self, totals: Totals) -> None:
        """Go on from a checkpoint's totals."""
        self.totals = totals
        self.ended_early = self._exhausted()

    def _agree(self, stop: int, save: int, fed: int) -> tuple[int, int, int]:
        """Sums over all processes, so that all of them stop and save at the same step."""
        if self.schedule.processes == 1:
            return stop, save, fed
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        votes = torch.tensor([stop, save, fed], dtype=torch.int64, device=device)
        distributed.all_reduce(votes)
        return int(votes[0]), int(votes[1]), int(votes[2])


def diverged(step: int, evidence: str) -> DivergedError:
    """The error that ends a run which ran away at ``step``."""
    return DivergedError(
        "Diverged",
        f"training diverged at step {step}: {evidence}",
        "Lower spec.training.learningRate (a tenth is a good first try) or raise warmupFraction.",
    )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
