"""When a run has run away: decided from the loss and the gradient norm of each step, nothing else.

A diverged model seldom shows a NaN. It answers with the same distribution whatever it reads, so its loss sits at ln V (V = vocabulary
size) and its gradient is exactly zero. Single bad batches happen to healthy runs, hence the patience.
"""

from dataclasses import dataclass, replace
from math import isfinite, log

PATIENCE = 5
"""Steps in a row that have to look diverged."""
UNIFORM_SHARE = 0.95
"""From this share of ln V on, a model that was better before knows nothing any more."""
LEARNED_SHARE = 0.8
"""Below this share of ln V a model has known something."""
WORSE_THAN_UNIFORM = 1.5
"""A loss this many times ln V is worse than guessing, whatever came before."""
CONVERGED_LOSS = 1e-2
"""Below it a zero gradient means that there is nothing left to learn."""


@dataclass(frozen=True)
class Divergence:
    """What is remembered between steps; travels with checkpoints."""

    lowest_loss: float | None = None
    first_loss: float | None = None
    suspect_since: int | None = None
    suspicions: int = 0


@dataclass(frozen=True)
class Diverged:
    """The verdict: the step at which it began and what was seen."""

    step: int
    evidence: str


def observe(before: Divergence, step: int, loss: float, gradient_norm: float | None, vocabulary: int) -> Divergence | Diverged:
    """Fold one step into what is remembered, or say that the run has diverged."""
    if not isfinite(loss):
        return Diverged(step, f"the loss is {loss}")
    evidence = _suspicion(before, loss, gradient_norm, log(vocabulary))
    after = replace(
        before,
        lowest_loss=loss if before.lowest_loss is None else min(before.lowest_loss, loss),
        first_loss=loss if before.first_loss is None else before.first_loss,
        suspect_since=(before.suspect_since or step) if evidence else None,
        suspicions=before.suspicions + 1 if evidence else 0,
    )
    if evidence and after.suspicions >= PATIENCE:
        return Diverged(after.suspect_since or step, evidence)
    return after


def _suspicion(before: Divergence, loss: float, gradient_norm: float | None, uniform: float) -> str | None:
    if gradient_norm == 0.0 and loss > CONVERGED_LOSS:
        return f"the gradient is zero while the loss is {loss:.3f}"
    if before.lowest_loss is not None and before.lowest_loss < LEARNED_SHARE * uniform and loss > UNIFORM_SHARE * uniform:
        return f"the loss is back at {loss:.3f} after {before.lowest_loss:.3f}; guessing blindly costs {uniform:.3f}"
    if loss > WORSE_THAN_UNIFORM * max(uniform, before.first_loss or 0.0):
        return f"the loss is {loss:.3f}; guessing blindly costs {uniform:.3f}"
    return None
