"""A share of counted things with its interval; below all steps, because data and evaluations both count.

Source: E. B. Wilson, JASA 22 (1927) 209-212.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def clipped(self, low: float, high: float) -> "Interval":
        return Interval(max(low, self.low), min(high, self.high))


def wilson(successes: int, items: int, confidence: float = 0.95) -> Interval:
    """Score interval of one share; ``items`` ≥ 1."""
    z = _NORMAL.inv_cdf(0.5 + confidence / 2)
    share = successes / items
    middle = (share + z * z / (2 * items)) / (1 + z * z / items)
    half = z / (1 + z * z / items) * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    return Interval(middle - half, middle + half).clipped(0.0, 1.0)
