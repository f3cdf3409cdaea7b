"""Checks of a latency quantile: its ceiling, and its ratio to the concurrent stable version."""

from collections.abc import Iterator
from dataclasses import dataclass

from finetune_operator.domain.analysis.bounds import quantile_interval
from finetune_operator.domain.analysis.checks import CheckResult, Remark, decisive, fails, passes, undecided
from finetune_operator.domain.analysis.counters import Counts
from finetune_operator.domain.analysis.criteria import CheckName, LatencyLimits
from finetune_operator.domain.analysis.histogram import Histogram


@dataclass(frozen=True)
class _Arm:
    requests: int
    histogram: Histogram

    @property
    def independent(self) -> int:
        """The gaps of one stream repeat each other, so no arm has more independent observations than requests."""
        return min(self.histogram.total, self.requests)

    def low(self, share: float) -> float:
        return quantile_interval(self.histogram, share, self.independent).low

    def high(self, share: float) -> float:
        return quantile_interval(self.histogram, share, self.independent).high


def check_latency(check: CheckName, canary: Counts, stable: Counts, limits: LatencyLimits, enough: int) -> CheckResult:
    """``check`` is TTFT or ITL; neither arm is compared before it has ``enough`` requests."""
    of_canary, of_stable = _arm(check, canary), _arm(check, stable)
    if check is CheckName.ITL and canary.requests >= enough and not of_canary.histogram.total + of_stable.histogram.total:
        remark = passes("none", "nobody streams")
    else:
        remark = decisive(_remarks(of_canary, of_stable, limits, max(1, enough)))
    values = [arm.histogram.quantile(limits.quantile) if arm.histogram.total else None for arm in (of_canary, of_stable)]
    message = (
        f"{check.value}: p{limits.quantile * 100:g} of the canary is {_seconds(values[0])} in {of_canary.independent} requests, "
        f"of stable {_seconds(values[1])} in {of_stable.independent}; {remark.why}"
    )
    samples = of_canary.independent, of_stable.independent
    return CheckResult(check, remark.finding, values[0], values[1], *samples, remark.bound, message)


def _remarks(canary: _Arm, stable: _Arm, limits: LatencyLimits, enough: int) -> Iterator[Remark]:
    if canary.independent < enough:
        yield undecided(f"≥ {enough} samples", f"{enough} are needed to tell")
        return
    yield passes("within limits", "within its limits")
    yield from _of_seconds(canary, limits)
    yield from _of_ratio(canary, stable, limits, enough)


def _of_seconds(canary: _Arm, limits: LatencyLimits) -> Iterator[Remark]:
    most = limits.max_seconds
    if most is None:
        return
    if canary.low(limits.quantile) > most:
        yield fails(f"≤ {most:g} s", f"beyond doubt above {most:g} s")
    elif canary.histogram.quantile(limits.quantile) > most:
        yield undecided(f"≤ {most:g} s", f"above {most:g} s, but more are needed to be sure")


def _of_ratio(canary: _Arm, stable: _Arm, limits: LatencyLimits, enough: int) -> Iterator[Remark]:
    most = limits.max_ratio
    if most is None:
        return
    bound = f"≤ {most:g} times stable"
    if stable.independent < enough:
        yield undecided(bound, f"{enough} requests of stable are needed to compare")
    elif canary.low(limits.quantile) > most * stable.high(limits.quantile):
        yield fails(bound, f"beyond doubt more than {most:g} times as long")
    elif canary.histogram.quantile(limits.quantile) > most * stable.histogram.quantile(limits.quantile):
        yield undecided(bound, f"more than {most:g} times as long, but more are needed to be sure")


def _arm(check: CheckName, counts: Counts) -> _Arm:
    return _Arm(counts.requests, counts.ttft if check is CheckName.TTFT else counts.itl)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} s"
