"""Thousands of rollouts at once: the decision code's arithmetic on arrays, proven equal to it look by look in ``test_simulation``.

Requests arrive as a Poisson stream; the canary gets the share of its step. Every ``LOOK_SECONDS`` all checks are looked at. A step ends
when everything passes after its bake, or at ``max_wait_seconds``, where a person is taken to let it go on: more looks, more chances to err.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune_operator.domain.analysis import eprocess
from finetune_operator.domain.analysis.bounds import SIGMAS
from finetune_operator.domain.analysis.counters import Counts
from finetune_operator.domain.analysis.criteria import CheckName, Criteria, LatencyLimits, ShareLimits
from finetune_operator.domain.analysis.histogram import Histogram

Array = NDArray[Any]

LOOK_SECONDS = 10
BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0, 5.0)
CHECKS = tuple(CheckName)
LOG_RATIOS = np.log(np.array(eprocess.RATIOS))
RATIOS_LESS_ONE = np.array(eprocess.RATIOS) - 1.0

ALL_CHECKS = Criteria(
    min_requests=200,
    min_answers=200,
    errors=ShareLimits(max_rate=0.05, max_delta=0.02),
    schema=ShareLimits(max_rate=0.05, max_delta=0.02),
    ttft=LatencyLimits(0.95, max_seconds=2.0, max_ratio=1.3),
    itl=LatencyLimits(0.95, max_seconds=2.0, max_ratio=1.25),
)


@dataclass(frozen=True)
class Truth:
    """How both arms really behave; ``…_ratio`` is the canary against stable, latencies are log-normal."""

    errors: float = 0.02
    invalid: float = 0.02
    error_ratio: float = 1.0
    invalid_ratio: float = 1.0
    latency_ratio: float = 1.0
    spread: float = 0.6
    bundle: int = 1
    """Failed requests that come together, as when one caller fails over and over."""
    uneven: float = 0.0
    """Standard deviation of the logarithm of the canary's true share against its weight: some callers are busier than others."""


@dataclass(frozen=True)
class Course:
    """What is rolled out how: weights in percent, each baked for ``bake_seconds``."""

    weights: tuple[int, ...] = (5, 25, 50)
    requests_per_second: float = 10.0
    bake_seconds: int = 600
    max_wait_seconds: int = 900
    criteria: Criteria = field(default=ALL_CHECKS)


@dataclass
class Arms:
    """Counters of the present step, one row per rollout; the second axis of ``ttft`` and ``itl`` are buckets."""

    failed: Array
    invalid: Array
    valid: Array
    ttft: Array
    itl: Array

    @classmethod
    def empty(cls, rollouts: int) -> "Arms":
        def zeros(*shape: int) -> Array:
            return np.zeros((rollouts, *shape), dtype=np.int64)

        return cls(zeros(), zeros(), zeros(), zeros(len(BOUNDS) + 1), zeros(len(BOUNDS) + 1))

    @property
    def requests(self) -> Array:
        return self.failed + self.ttft.sum(axis=1)

    def arrive(
        self, generator: np.random.Generator, expected: Array, errors: float, invalid: float, shares: Array, bundle: int = 1
    ) -> None:
        self.failed += bundle * generator.poisson(expected * errors / bundle)
        fine = generator.poisson((expected * (1 - errors))[:, None] * shares)
        self.ttft += fine
        self.itl += generator.poisson((expected * (1 - errors))[:, None] * shares)
        wrong = generator.binomial(fine.sum(axis=1), invalid)
        self.invalid += wrong
        self.valid += fine.sum(axis=1) - wrong

    def clear(self, rows: Array) -> None:
        for counts in (self.failed, self.invalid, self.valid, self.ttft, self.itl):
            counts[rows] = 0

    def counts(self, row: int) -> Counts:
        """One row as the decision code sees it."""
        ttft, itl = (Histogram(BOUNDS, tuple(int(n) for n in counts[row])) for counts in (self.ttft, self.itl))
        return Counts(ttft.total, int(self.failed[row]), int(self.valid[row]), int(self.invalid[row]), ttft, itl)


@dataclass
class Bets:
    """The evidence of the steps before, one row per rollout."""

    of_canary: Array
    normaliser: Array

    def value(self, canary: Array, canary_failed: Array, stable: Array, stable_failed: Array) -> tuple[Array, Array, Array]:
        """The e-value now, and what to remember should the step end now."""
        total = canary + stable
        share = np.divide(canary, total, out=np.zeros(len(total)), where=total > 0)
        telling = (share > 0) & (share < 1)
        failed = np.where(telling, canary_failed + stable_failed, 0)
        of_canary = self.of_canary + np.where(telling, canary_failed, 0)
        normaliser = self.normaliser + failed[:, None] * np.log1p(share[:, None] * RATIOS_LESS_ONE)
        logs = of_canary[:, None] * LOG_RATIOS - normaliser
        highest = logs.max(axis=1)
        log = np.minimum(50.0, highest + np.log(np.exp(logs - highest[:, None]).mean(axis=1)))
        return np.exp(log), of_canary, normaliser


@dataclass
class Outcome:
    """Per rollout: the check it was rolled back for (-1: none), and the canary's and all requests until then."""

    check: Array
    canary_requests: Array
    requests: Array
    seconds: Array

    @property
    def rolled_back(self) -> Array:
        return self.check >= 0

    def share_by(self, check: CheckName) -> float:
        return float((self.check == CHECKS.index(check)).mean())


class Rollouts:
    """``rollouts`` independent rollouts of one course in one truth."""

    def __init__(self, course: Course, truth: Truth, rollouts: int, seed: int) -> None:
        self.course, self.truth = course, truth
        self.generator = np.random.default_rng(seed)
        self.canary, self.stable = Arms.empty(rollouts), Arms.empty(rollouts)
        self.errors, self.answers = (Bets(np.zeros(rollouts, dtype=np.int64), np.zeros((rollouts, len(LOG_RATIOS)))) for _ in range(2))
        self.step = np.zeros(rollouts, dtype=np.int64)
        self.elapsed = np.zeros(rollouts, dtype=np.int64)
        self.busy = np.exp(self.generator.normal(0.0, truth.uneven, rollouts))
        self.shares = _bucket_shares(0.2, truth.spread), _bucket_shares(0.2 * truth.latency_ratio, truth.spread)
        self.outcome = Outcome(*(np.full(rollouts, fill, dtype=np.int64) for fill in (-1, 0, 0, 0)))
        self.passing = np.zeros(rollouts, dtype=bool)

    @property
    def going_on(self) -> Array:
        return (self.step < len(self.course.weights)) & ~self.outcome.rolled_back

    def run(self) -> Outcome:
        while self.going_on.any():
            self.arrive()
            self.look()
            self.move()
        return self.outcome

    def arrive(self) -> None:
        """Ten seconds of traffic."""
        weights = np.array([*self.course.weights, 0])[self.step] / 100 * self.busy
        expected = self.course.requests_per_second * LOOK_SECONDS * self.going_on
        share = np.minimum(0.99, weights)
        before = self.canary.requests, self.stable.requests
        truth = self.truth
        stable, canary = self.shares
        errors, invalid = truth.errors * truth.error_ratio, truth.invalid * truth.invalid_ratio
        self.canary.arrive(self.generator, expected * share, errors, invalid, canary, truth.bundle)
        self.stable.arrive(self.generator, expected * (1 - share), truth.errors, truth.invalid, stable, truth.bundle)
        new = self.canary.requests - before[0]
        self.outcome.canary_requests += new
        self.outcome.requests += new + self.stable.requests - before[1]
        self.outcome.seconds += LOOK_SECONDS * self.going_on
        self.elapsed += LOOK_SECONDS * self.going_on

    def look(self) -> None:
        """All checks, as ``judge`` makes them."""
        limits, canary, stable = self.course.criteria, self.canary, self.stable
        going_on = self.going_on
        requests = canary.requests, stable.requests
        answers = canary.valid + canary.invalid, stable.valid + stable.invalid
        alarm = eprocess.ALARM * limits.sequential
        self._bet_errors = self.errors.value(requests[0], canary.failed, requests[1], stable.failed)
        self._bet_answers = self.answers.value(answers[0], canary.invalid, answers[1], stable.invalid)
        assert limits.errors is not None
        assert limits.schema is not None
        assert limits.ttft is not None
        assert limits.itl is not None
        findings = [
            _share(
                self._bet_errors[0] >= alarm, canary.failed, requests[0], stable.failed, requests[1], limits.errors, limits.min_requests
            ),
            _share(
                self._bet_answers[0] >= alarm, canary.invalid, answers[0], stable.invalid, answers[1], limits.schema, limits.min_answers
            ),
            _latency(canary.ttft, requests[0], stable.ttft, requests[1], limits.ttft, limits.min_requests),
            _latency(canary.itl, requests[0], stable.itl, requests[1], limits.itl, limits.min_requests),
        ]
        self.passing = np.logical_and.reduce([passes for _, passes in findings])
        for position in reversed(range(len(CHECKS))):
            self.outcome.check[going_on & findings[position][0]] = position

    def move(self) -> None:
        """Ends steps: passed after the bake, or let go on by a person after the longest wait."""
        over = (self.elapsed >= self.course.bake_seconds) & self.passing | (self.elapsed >= self.course.max_wait_seconds)
        rows = over & self.going_on
        for bets, (_, of_canary, normaliser) in ((self.errors, self._bet_errors), (self.answers, self._bet_answers)):
            bets.of_canary[rows] = of_canary[rows]
            bets.normaliser[rows] = normaliser[rows]
        self.canary.clear(rows)
        self.stable.clear(rows)
        self.step[rows] += 1
        self.elapsed[rows] = 0


def simulate(course: Course, truth: Truth, rollouts: int, seed: int = 7) -> Outcome:
    """In blocks that fit the processor's cache."""
    block = 2_000
    parts = [Rollouts(course, truth, min(block, rollouts - start), seed + start).run() for start in range(0, rollouts, block)]
    names = ("check", "canary_requests", "requests", "seconds")
    return Outcome(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def upper_bound(hits: int, trials: int) -> float:
    """One-sided 95 % score bound of a share."""
    z = 1.645
    share = hits / trials
    middle = share + z * z / (2 * trials)
    return (middle + z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))) / (1 + z * z / trials)


def _bucket_shares(median: float, spread: float) -> Array:
    below = [0.5 * (1 + math.erf(math.log(bound / median) / (spread * math.sqrt(2)))) for bound in BOUNDS]
    return np.diff([0.0, *below, 1.0])


def _wilson(share: Array, trials: Array) -> tuple[Array, Array]:
    spread = SIGMAS * SIGMAS / np.maximum(trials, 1)
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(spread * share * (1 - share) + spread * spread / 4) / (1 + spread)
    return np.maximum(0.0, middle - half), np.minimum(1.0, middle + half)


def _share(
    alarm: Array, failed: Array, total: Array, other_failed: Array, other_total: Array, limits: ShareLimits, enough: int
) -> tuple[Array, Array]:
    """Which rows fail, and which pass."""
    assert limits.max_rate is not None
    assert limits.max_delta is not None
    told = total >= enough
    rate, other = failed / np.maximum(total, 1), other_failed / np.maximum(other_total, 1)
    low, high = _wilson(rate, total)[0], _wilson(other, other_total)[1]
    difference = rate - other - np.sqrt((rate - low) ** 2 + (high - other) ** 2)
    fails = alarm | (told & (low > limits.max_rate)) | (told & (other_total >= enough) & (difference > limits.max_delta))
    passes = told & (rate <= limits.max_rate) & ((rate - other <= limits.max_delta) | (other_total == 0))
    return fails, passes & ~fails


def _latency(
    canary: Array, requests: Array, stable: Array, stable_requests: Array, limits: LatencyLimits, enough: int
) -> tuple[Array, Array]:
    assert limits.max_seconds is not None
    assert limits.max_ratio is not None
    independent = np.minimum(canary.sum(axis=1), requests)
    of_stable = np.minimum(stable.sum(axis=1), stable_requests)
    told, compared = independent >= enough, of_stable >= enough
    if not told.any():
        return np.zeros(len(told), dtype=bool), np.zeros(len(told), dtype=bool)
    share = np.full(len(told), limits.quantile)
    low = _quantile(canary, _wilson(share, independent)[0])[0]
    high, overflows = _quantile(stable, _wilson(share, of_stable)[1])
    here, there = _quantile(canary, share)[0], _quantile(stable, share)[0]
    fails = told & ((low > limits.max_seconds) | (compared & ~overflows & (low > limits.max_ratio * high)))
    passes = told & compared & (here <= limits.max_seconds) & (here <= limits.max_ratio * there)
    return fails, passes & ~fails


def _quantile(counts: Array, share: Array) -> tuple[Array, Array]:
    rows = np.arange(len(counts))
    rising = counts.cumsum(axis=1)
    target = share * rising[:, -1]
    position = np.argmax((rising >= target[:, None]) & (counts > 0), axis=1)
    count = counts[rows, position]
    lows, highs = np.array([0.0, *BOUNDS]), np.array([*BOUNDS, BOUNDS[-1]])
    inside = lows[position] + (highs - lows)[position] * np.maximum(0.0, target - (rising[rows, position] - count)) / np.maximum(count, 1)
    overflows = target > rising[:, -2]
    return np.where(overflows, BOUNDS[-1], inside), overflows
