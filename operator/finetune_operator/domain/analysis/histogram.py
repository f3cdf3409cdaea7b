"""Latency histograms as routers export them: sums over routers, differences since a baseline, and interpolated quantiles."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class Histogram:
    """``counts[i]`` observations were at most ``bounds[i]`` seconds and above the bound before; the last count is what lies above all."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds) + 1 or any(low >= high for low, high in pairwise(self.bounds)):
            msg = "a histogram has ascending bounds and one count more than bounds"
            raise ValueError(msg)
        if any(count < 0 for count in self.counts):
            msg = "a count below zero"
            raise ValueError(msg)

    @classmethod
    def of_buckets(cls, buckets: Mapping[float, int]) -> "Histogram":
        """From cumulative buckets by upper bound, ``inf`` among them; raises ``ValueError`` where they do not rise or ``inf`` is absent."""
        if not buckets:
            return cls()
        bounds = sorted(buckets)
        if bounds[-1] != math.inf:
            msg = "the bucket +Inf is missing"
            raise ValueError(msg)
        rising = [buckets[bound] for bound in bounds]
        counts = [after - before for before, after in pairwise([0, *rising])]
        return cls(tuple(bounds[:-1]), tuple(counts))

    @property
    def total(self) -> int:
        return sum(self.counts)

    def plus(self, other: "Histogram") -> "Histogram":
        """The sum; where the bounds differ, as while routers of two releases run, it has those that both know."""
        if not other.total:
            return self
        if not self.total:
            return other
        shared = tuple(bound for bound in self.bounds if bound in other.bounds)
        left, right = self._on(shared), other._on(shared)
        return Histogram(shared, tuple(a + b for a, b in zip(left, right, strict=True)))

    def minus(self, earlier: "Histogram") -> "Histogram":
        """What came since ``earlier``; raises ``ValueError`` where it is not an earlier state of this one."""
        if not earlier.total:
            return self
        if earlier.bounds != self.bounds:
            msg = "the bounds of a running process do not change"
            raise ValueError(msg)
        return Histogram(self.bounds, tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True)))

    def quantile(self, share: float) -> float:
        """Seconds that ``share`` of the observations do not exceed, linear within a bucket; the highest bound where it lies above that."""
        target = share * self.total
        passed = 0
        for position, (bound, count) in enumerate(zip(self.bounds, self.counts, strict=False)):
            if count and passed + count >= target:
                low = self.bounds[position - 1] if position else 0.0
                return low + (bound - low) * max(0.0, target - passed) / count
            passed += count
        return self.bounds[-1] if self.bounds else 0.0

    def overflows(self, share: float) -> bool:
        """Whether the quantile lies above the highest bound, so that only its lower end is known."""
        return share * self.total > self.total - self.counts[-1]

    def _on(self, bounds: tuple[float, ...]) -> tuple[int, ...]:
        """Counts for a subset of the bounds."""
        rising = list(accumulate(self.counts))
        at_most = [rising[bisect_left(self.bounds, bound)] for bound in bounds]
        return tuple(after - before for before, after in pairwise([0, *at_most, self.total]))
