"""A run's totals over all of its attempts: the library's own counters start again at every resume.

They travel inside each checkpoint, so that a resumed run goes on counting where the sealed step left off.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune_trainer.stages.divergence import Divergence

FILE = "totals.json"
RECENT = 10
"""A run's reported loss is the mean of this many last steps: one batch says little."""


@dataclass(frozen=True)
class Totals:
    """``tokens`` counts what was fed (padding excluded), ``seconds`` is time spent in steps."""

    step: int = 0
    epoch: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    recent_losses: tuple[float, ...] = ()
    evaluation_loss: float | None = None
    evaluated_at: int | None = None
    best_loss: float | None = None
    best_step: int | None = None
    looks_without_gain: int = 0
    divergence: Divergence = field(default_factory=Divergence)

    @property
    def loss(self) -> float:
        return sum(self.recent_losses) / len(self.recent_losses) if self.recent_losses else 0.0

    def after_step(self, step: int, epoch: float, loss: float, divergence: Divergence) -> "Totals":
        return replace(self, step=step, epoch=epoch, recent_losses=(*self.recent_losses, loss)[-RECENT:], divergence=divergence)

    def after_look(self, step: int, loss: float) -> "Totals":
        """Fold in a loss on the held-out rows."""
        gained = self.best_loss is None or loss < self.best_loss
        return replace(
            self,
            evaluation_loss=loss,
            evaluated_at=step,
            best_loss=loss if gained else self.best_loss,
            best_step=step if gained else self.best_step,
            looks_without_gain=0 if gained else self.looks_without_gain + 1,
        )

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self), sort_keys=True), encoding="utf-8")


def read_totals(folder: Path) -> Totals:
    """The totals of a verified checkpoint."""
    document: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    document["recent_losses"] = tuple(document["recent_losses"])
    document["divergence"] = Divergence(**document["divergence"])
    return Totals(**document)
