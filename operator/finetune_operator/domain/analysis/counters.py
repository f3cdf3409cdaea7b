"""From router scrapes to what each version has done since a baseline.

Counters belong to one process of one router: another process counts from zero, so it has no baseline. What a process had counted before it
ended is gone, for both arms alike. A router that cannot be read makes the sum incomplete, and an incomplete sum can never pass.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from finetune_inference.contract import Check, CheckOutcome, Outcome, RouterMetric, Track
from finetune_operator.domain.analysis.histogram import Histogram

EXACT: Final = 2.0**53
"""Above this a float cannot tell a counter from the next one."""


@dataclass(frozen=True)
class Sample:
    """One line of a scrape."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Scrape:
    """What a router answered: its pod's uid, the process that answered, and its samples, or None where it could not be read."""

    router: str
    process: str = ""
    samples: tuple[Sample, ...] | None = None


@dataclass(frozen=True)
class Counts:
    """Requests, checked answers and latencies of one version; callers' own mistakes and callers who went away are in no sum."""

    ok: int = 0
    failed: int = 0
    """``error`` and ``fallback``."""
    valid: int = 0
    invalid: int = 0
    ttft: Histogram = field(default_factory=Histogram)
    itl: Histogram = field(default_factory=Histogram)

    @property
    def requests(self) -> int:
        return self.ok + self.failed

    @property
    def answers(self) -> int:
        """Complete answers that were validated."""
        return self.valid + self.invalid

    def plus(self, other: "Counts") -> "Counts":
        return Counts(
            self.ok + other.ok,
            self.failed + other.failed,
            self.valid + other.valid,
            self.invalid + other.invalid,
            self.ttft.plus(other.ttft),
            self.itl.plus(other.itl),
        )

    def minus(self, earlier: "Counts") -> "Counts":
        """What came since; raises ``ValueError`` for counters that went backwards."""
        ok, failed = self.ok - earlier.ok, self.failed - earlier.failed
        valid, invalid = self.valid - earlier.valid, self.invalid - earlier.invalid
        if min(ok, failed, valid, invalid) < 0:
            msg = "counters of a running process do not go backwards"
            raise ValueError(msg)
        return Counts(ok, failed, valid, invalid, self.ttft.minus(earlier.ttft), self.itl.minus(earlier.itl))


Series = tuple[str, Track]
"""A version and whose traffic it was."""
ProcessId = tuple[str, str]
"""Pod uid and process of a router."""
Baseline = Mapping[ProcessId, Mapping[Series, Counts]]


@dataclass(frozen=True)
class Totals:
    """Counts since the baseline, and the routers that are not in them."""

    counts: Mapping[Series, Counts]
    unread: tuple[str, ...] = ()

    def of(self, version: str, *tracks: Track) -> Counts:
        """One version's sum over tracks."""
        total = Counts()
        for track in tracks:
            total = total.plus(self.counts.get((version, track), Counts()))
        return total


def read_counts(samples: Iterable[Sample], namespace: str, deployment: str) -> dict[Series, Counts]:
    """One process's counters of one deployment; raises ``ValueError`` for what no such counter can say."""
    tallies: dict[Series, dict[str, int]] = {}
    buckets: dict[tuple[Series, RouterMetric], dict[float, int]] = {}
    for sample in samples:
        series = _series(sample, namespace, deployment)
        if series is None:
            continue
        tally = tallies.setdefault(series, {})
        name = _tally_of(sample)
        if name is not None:
            tally[name] = tally.get(name, 0) + _whole(sample.value)
        for histogram in (RouterMetric.TTFT, RouterMetric.ITL):
            if sample.name == f"{histogram.value}_bucket":
                of_series = buckets.setdefault((series, histogram), {})
                bound = float(sample.labels.get("le", ""))
                of_series[bound] = of_series.get(bound, 0) + _whole(sample.value)
    return {
        series: Counts(
            **tally,
            ttft=Histogram.of_buckets(buckets.get((series, RouterMetric.TTFT), {})),
            itl=Histogram.of_buckets(buckets.get((series, RouterMetric.ITL), {})),
        )
        for series, tally in tallies.items()
    }


def take_baseline(scrapes: Iterable[Scrape], namespace: str, deployment: str) -> Baseline | None:
    """Where counting begins; None as long as a router cannot be read."""
    baseline: dict[ProcessId, Mapping[Series, Counts]] = {}
    for scrape in scrapes:
        counts = _read(scrape, namespace, deployment)
        if counts is None:
            return None
        baseline[scrape.router, scrape.process] = counts
    return baseline


def since(baseline: Baseline, scrapes: Iterable[Scrape], namespace: str, deployment: str) -> Totals:
    """Sum over all routers of what was counted since the baseline."""
    total: dict[Series, Counts] = {}
    unread: list[str] = []
    for scrape in scrapes:
        counts = _read(scrape, namespace, deployment)
        grown = None if counts is None else _grown(counts, baseline.get((scrape.router, scrape.process), {}))
        if grown is None:
            unread.append(scrape.router)
            continue
        for series, count in grown.items():
            total[series] = total.get(series, Counts()).plus(count)
    return Totals(total, tuple(sorted(unread)))


def _read(scrape: Scrape, namespace: str, deployment: str) -> dict[Series, Counts] | None:
    if scrape.samples is None:
        return None
    try:
        return read_counts(scrape.samples, namespace, deployment)
    except ValueError:
        return None  # reported as a router that was not read


def _grown(counts: Mapping[Series, Counts], earlier: Mapping[Series, Counts]) -> dict[Series, Counts] | None:
    if not earlier.keys() <= counts.keys():
        return None
    try:
        return {series: count.minus(earlier.get(series, Counts())) for series, count in counts.items()}
    except ValueError:
        return None  # as above


def _series(sample: Sample, namespace: str, deployment: str) -> Series | None:
    labels = sample.labels
    if labels.get("namespace") != namespace or labels.get("deployment") != deployment or not labels.get("version"):
        return None
    try:
        return labels["version"], Track(labels.get("track", Track.LIVE.value))
    except ValueError:
        return None  # a track of a newer router


def _tally_of(sample: Sample) -> str | None:
    outcome = sample.labels.get("outcome")
    if sample.name == RouterMetric.REQUESTS.value:
        return {Outcome.OK.value: "ok", Outcome.ERROR.value: "failed", Outcome.FALLBACK.value: "failed"}.get(outcome or "")
    if sample.name == RouterMetric.CHECKS.value and sample.labels.get("check") == Check.SCHEMA.value:
        return {CheckOutcome.VALID.value: "valid", CheckOutcome.INVALID.value: "invalid"}.get(outcome or "")
    return None


def _whole(value: float) -> int:
    if not math.isfinite(value) or not 0 <= value <= EXACT:
        msg = f"{value} is no count"
        raise ValueError(msg)
    return int(value)
