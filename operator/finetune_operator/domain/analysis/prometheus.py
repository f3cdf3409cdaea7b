"""Prometheus' answer to `promql.counters_query` as what a direct scrape of each router would have given.

Everything of one scrape carries one time, so the newest time of a target is its last scrape; older samples belong to series that it had
no more. A target is known by the labels that Prometheus gave it, a router's process by what the router says about itself.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from finetune_inference.contract import JUDGED_SERIES, PROCESS_INFO, Check, CheckOutcome, Outcome, RouterMetric
from finetune_operator.domain.analysis.counters import Sample, Scrape

SERIES_LIMIT: Final = 50_000
PROCESS_LIMIT: Final = 64
"""Characters of a process's identity, as in `Acknowledgement`."""
LATEST: Final = 4e9
"""Seconds; what a time may be, so that it is one."""

_NAME: Final = "__name__"
_ROUTERS_OWN: Final = frozenset({_NAME, "deployment", "version", "track", "outcome", "check", "le", "process"})
_NUMBER: Final = re.compile(r"[+-]?(\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?|Inf)|NaN")
_COUNTED: Final = frozenset({Outcome.OK.value, Outcome.ERROR.value, Outcome.FALLBACK.value})
_CHECKED: Final = frozenset((Check.SCHEMA.value, outcome.value) for outcome in CheckOutcome)

Labels = Mapping[str, str]
Target = frozenset[tuple[str, str]]


class Unusable(ValueError):
    """The answer as a whole tells nothing; the text says why, and what to do."""


@dataclass(frozen=True)
class ProcessScrape:
    """The last scrape of one router process. ``problem``: why it has no samples, for people."""

    process: str
    scraped_at: datetime
    samples: tuple[Sample, ...] | None
    problem: str = ""


@dataclass(frozen=True)
class LastScrapes:
    """One per router process; ``nameless`` are targets that do not say which process they are."""

    processes: tuple[ProcessScrape, ...] = ()
    nameless: tuple[str, ...] = ()

    def of(self, router: str, process: str, not_before: datetime | None = None) -> Scrape:
        """What a router that now runs as ``process`` had counted, unread where Prometheus has not scraped it, or not since ``not_before``.

        ``router`` is its pod's uid. A baseline wants a scrape that is not older than the last acknowledgement.
        """
        found = next((one for one in self.processes if process and one.process == process), None)
        if found is None or (not_before is not None and found.scraped_at < not_before):
            return Scrape(router, process)
        return Scrape(router, process, found.samples)


@dataclass(frozen=True)
class _Series:
    labels: Labels
    time: float
    value: float

    @property
    def name(self) -> str:
        return self.labels.get(_NAME, "")


def last_scrapes(document: object, namespace: str, deployment: str) -> LastScrapes:
    """From the parsed JSON of an answer. Raises `Unusable` for what is no answer to this query, or not all of it."""
    targets: dict[Target, list[_Series]] = {}
    seen: set[Target] = set()
    for series in _matrix(document):
        whole = frozenset(series.labels.items())
        if whole in seen:
            raise Unusable("the answer has a series twice")
        seen.add(whole)
        if series.labels.get("exported_namespace", namespace) == namespace:  # else a target that speaks for another namespace than its own
            targets.setdefault(_target(series.labels), []).append(series)
    newest: dict[str, ProcessScrape] = {}
    nameless: list[str] = []
    for target, all_series in targets.items():
        scrape = _scrape(all_series, deployment)
        if scrape is None:
            nameless.append(_called(target))
        elif scrape.process not in newest or newest[scrape.process].scraped_at < scrape.scraped_at:
            newest[scrape.process] = scrape  # two replicas of Prometheus, one router
    return LastScrapes(tuple(newest[process] for process in sorted(newest)), tuple(sorted(nameless)))


def _matrix(document: object) -> Iterator[_Series]:
    answer = document if isinstance(document, dict) else {}
    data = answer.get("data")
    if answer.get("status") != "success" or not isinstance(data, dict):
        raise Unusable("no answer of Prometheus' query API: give the address below which /api/v1/query lies")
    if answer.get("warnings") or answer.get("isPartial"):
        raise Unusable("the answer may be incomplete: Prometheus warns that it could not ask all of its stores")
    result = data.get("result")
    if data.get("resultType") != "matrix" or not isinstance(result, list):
        raise Unusable("the answer has no raw samples: the address must be that of a store which returns them for a range selector")
    if len(result) > SERIES_LIMIT:
        raise Unusable(f"more than {SERIES_LIMIT} series")
    for entry in result:
        labels = _labels(entry.get("metric") if isinstance(entry, dict) else None)
        yield _Series(labels, *_newest(entry.get("values")))


def _labels(found: object) -> Labels:
    if not isinstance(found, dict) or not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise Unusable("a series without labels")
    for name in sorted(_ROUTERS_OWN):
        if f"exported_{name}" in found:
            raise Unusable(f"the scrape configuration gives routers a label {name} of its own: drop it there, routers need theirs")
    return found


def _newest(points: object) -> tuple[float, float]:
    if not isinstance(points, list) or not points:
        raise Unusable("a series without samples")
    return max((_point(point) for point in points), key=lambda point: point[0])


def _point(point: object) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise Unusable("a sample that is no pair of time and value")
    time, value = point
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time <= LATEST:
        raise Unusable("a sample without a time")
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise Unusable("a sample without a number")
    return float(time), float(value)


def _target(labels: Labels) -> Target:
    return frozenset((name, value) for name, value in labels.items() if name not in _ROUTERS_OWN)


def _called(target: Target) -> str:
    labels = dict(target)
    return (labels.get("pod") or labels.get("instance") or "a target without a name")[:64]


def _scrape(all_series: Iterable[_Series], deployment: str) -> ProcessScrape | None:
    """The last scrape of one target, None where it does not say of which process."""
    made = list(all_series)
    latest = max(series.time for series in made)
    last = [series for series in made if series.time == latest]
    names = {series.labels.get("process", "") for series in last if series.name == PROCESS_INFO}
    process = names.pop() if len(names) == 1 else ""
    if not 0 < len(process) <= PROCESS_LIMIT:
        return None
    samples = tuple(
        Sample(series.name, series.labels, series.value)
        for series in last
        if series.name in JUDGED_SERIES and series.labels.get("deployment") == deployment
    )
    at, problem = datetime.fromtimestamp(latest, UTC), _missing(samples)
    return ProcessScrape(process, at, None if problem else samples, problem)


def _missing(samples: Iterable[Sample]) -> str:
    """A router shows all series of a version, at zero if need be. What is not there was dropped, and must not read as nothing to say."""
    arms: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for sample in samples:
        labels = sample.labels
        shown = arms.setdefault((labels.get("version", ""), labels.get("track", "")), set())
        if sample.name == RouterMetric.REQUESTS.value:
            shown.add((sample.name, labels.get("outcome", "")))
        elif sample.name == RouterMetric.CHECKS.value:
            shown.add((sample.name, labels.get("check", ""), labels.get("outcome", "")))
        elif labels.get("le") == "+Inf":
            shown.add((sample.name,))
    wanted = {
        *((RouterMetric.REQUESTS.value, outcome) for outcome in _COUNTED),
        *((RouterMetric.CHECKS.value, *checked) for checked in _CHECKED),
        *((f"{histogram.value}_bucket",) for histogram in (RouterMetric.TTFT, RouterMetric.ITL)),
    }
    for shown in arms.values():
        if absent := wanted - shown:
            return f"series of {min(absent)[0]} are missing: let the scrape configuration drop none of a router's"
    return ""
