"""Evidence that the canary fails more often than stable, which may be looked at after every request.

A bet on which arm the next failure comes from. If both fail alike, a failure is the canary's with probability ``p``, its share of the
requests; if the canary fails ``r`` times as often, with probability ``p r / (1 + p (r - 1))``. The likelihood ratio of what was seen,
averaged over rates ``r`` from 1.2 to 20, is an e-value: without harm it ever reaches 20 with probability 1/20 at most (Ville's inequality),
however often it is looked at. Sources: V. Vovk, R. Wang, Annals of Statistics 49 (2021) 1736-1754 · M. Lindon, A. Malek,
arXiv 2205.14762 (the same idea for counts).

The share of each window is the true one, taken from the requests that were counted: callers stick to their arm and are not equally busy.
Windows with different weights multiply, each with its own share. Failures must not come in bundles: one caller's outage counts as one.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

ALARM = 20.0
"""1 / the probability of a false alarm, over all looks and all steps of a rollout."""

_LOWEST, _HIGHEST, _POINTS = 1.2, 20.0, 16
RATIOS = tuple(_LOWEST * (_HIGHEST / _LOWEST) ** (point / (_POINTS - 1)) for point in range(_POINTS))
"""Evenly spaced on a logarithmic scale, equally weighted."""

_LOG_RATIOS = tuple(math.log(ratio) for ratio in RATIOS)
_MOST_LOG = 50.0


@dataclass(frozen=True)
class Window:
    """Requests and failures of both arms while their shares stayed as they were: one step of a rollout."""

    canary: int = 0
    canary_failed: int = 0
    stable: int = 0
    stable_failed: int = 0

    @property
    def share(self) -> float:
        """The canary's share of the requests."""
        total = self.canary + self.stable
        return self.canary / total if total else 0.0

    @property
    def failed(self) -> int:
        return self.canary_failed + self.stable_failed


def evidence(windows: Iterable[Window]) -> float:
    """The e-value of all windows together, at most e^50: 1 says nothing, ``ALARM`` and above say that the canary fails more often.

    A window in which only one arm had requests says nothing, whatever failed in it.
    """
    telling = [window for window in windows if window.failed and 0.0 < window.share < 1.0]
    of_canary = sum(window.canary_failed for window in telling)
    logs = [
        of_canary * log_ratio - sum(window.failed * math.log1p(window.share * (ratio - 1.0)) for window in telling)
        for ratio, log_ratio in zip(RATIOS, _LOG_RATIOS, strict=True)
    ]
    highest = max(logs)
    return math.exp(min(_MOST_LOG, highest + math.log(sum(math.exp(log - highest) for log in logs) / len(logs))))
