"""The verdict on a canary at one look: roll back, go on to the next weight, keep baking, or: there will not be enough to tell.

Looks may come at any time and as often as one likes. A failing check ends it at once; everything else waits for the end of the bake.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetune_operator.domain.analysis.checks import CheckResult, Finding
from finetune_operator.domain.analysis.criteria import CheckName, Criteria, Evidence, LowTraffic
from finetune_operator.domain.analysis.eprocess import ALARM
from finetune_operator.domain.analysis.latencies import check_latency
from finetune_operator.domain.analysis.shares import check_share


@dataclass(frozen=True)
class Bake:
    """``since``: when the last router acknowledged the weight. Waiting for enough requests ends ``max_wait_seconds`` after that."""

    since: datetime
    bake_seconds: int
    max_wait_seconds: int
    policy: LowTraffic

    @property
    def baked_at(self) -> datetime:
        return self.since + timedelta(seconds=self.bake_seconds)

    @property
    def gives_up_at(self) -> datetime:
        return self.since + timedelta(seconds=max(self.bake_seconds, self.max_wait_seconds))


@dataclass(frozen=True)
class Rollback:
    """The canary fails ``check``, beyond doubt."""

    check: CheckName
    results: tuple[CheckResult, ...]
    message: str


@dataclass(frozen=True)
class Promote:
    """Every check passes on enough requests, and the bake is over."""

    results: tuple[CheckResult, ...]
    message: str


@dataclass(frozen=True)
class KeepBaking:
    """Look again; at ``until`` at the latest there is more to say."""

    until: datetime
    results: tuple[CheckResult, ...]
    message: str


@dataclass(frozen=True)
class Insufficient:
    """The time to wait is over. ``policy`` says what follows: Pause where a router cannot be read: not the canary's fault."""

    policy: LowTraffic
    results: tuple[CheckResult, ...]
    message: str


Verdict = Rollback | Promote | KeepBaking | Insufficient


def judge(seen: Evidence, criteria: Criteria, bake: Bake, now: datetime) -> Verdict:
    """The verdict at ``now``; the message of each names the check and its numbers."""
    results = tuple(_results(seen, criteria))
    failing = next((result for result in results if result.finding is Finding.FAIL), None)
    if failing is not None:
        return Rollback(failing.check, results, failing.message)
    undecided = [result.message for result in results if result.finding is Finding.UNDECIDED]
    if seen.unread:
        undecided.insert(0, f"{_routers(seen.unread)} cannot be read, so nothing can pass")
    if now < bake.baked_at:
        return KeepBaking(bake.baked_at, results, _sum_up(undecided, results))
    if not undecided:
        return Promote(results, _sum_up(undecided, results))
    if now < bake.gives_up_at:
        return KeepBaking(bake.gives_up_at, results, _sum_up(undecided, results))
    policy = LowTraffic.PAUSE if seen.unread else bake.policy
    return Insufficient(policy, results, _sum_up(undecided, results))


def _results(seen: Evidence, criteria: Criteria) -> Iterator[CheckResult]:
    """Every check that is on; those that look for failures share the probability of a false alarm."""
    alarm = ALARM * criteria.sequential
    if criteria.errors is not None:
        yield check_share(CheckName.ERRORS, seen.error_windows, criteria.errors, criteria.min_requests, alarm)
    if criteria.schema is not None:
        yield check_share(CheckName.SCHEMA, seen.answer_windows, criteria.schema, criteria.min_answers, alarm)
    if criteria.ttft is not None:
        yield check_latency(CheckName.TTFT, seen.canary, seen.stable, criteria.ttft, criteria.min_requests)
    if criteria.itl is not None:
        yield check_latency(CheckName.ITL, seen.canary, seen.stable, criteria.itl, criteria.min_requests)


def _sum_up(undecided: list[str], results: tuple[CheckResult, ...]) -> str:
    """What is open, or, where nothing is, what every check found."""
    return "; ".join(undecided or [result.message for result in results]) or "no check is on"


def _routers(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"router {shown}" if len(names) == 1 else f"{len(names)} routers ({shown}{', …' if len(names) > 3 else ''})"
