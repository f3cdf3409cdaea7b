"""Routers' counters as a Prometheus has scraped them, for deployments that choose it (``spec.analysis.provider``).

A scrape counts once it is newer than all that Prometheus had when the router was first seen to have applied its route: so nothing that was
counted is older than the acknowledgement. Both times are Prometheus' own, and nobody's clocks are compared.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.prometheus import NoMetrics
from finetune_operator.domain.analysis.counters import Sample
from finetune_operator.domain.analysis.prometheus import LastScrapes

log = logging.getLogger(__name__)

FIELD: Final = "spec.analysis.provider"
_TICK: Final = timedelta(milliseconds=1)
"""Prometheus' times are whole milliseconds."""
_NO_SERVER: Final = (
    f"{FIELD}: the operator knows no Prometheus, so nothing can pass. Set {FIELD} to Routers, "
    "or have the operator started with --rollout-prometheus-url (chart: serving.prometheus.url)"
)


class Source(Protocol):
    """The part of `PrometheusSource` that is needed."""

    async def read(self, namespace: str, deployment: str) -> LastScrapes: ...


class Applied(NamedTuple):
    """A router's process, and the generation of the route that it has applied."""

    process: str
    generation: int


@dataclass
class _Deployment:
    """The last answer, or why there is none; ``floors``: the scrape that each router as it is now has to outdo, None where any will do."""

    at: float
    scrapes: LastScrapes = field(default_factory=LastScrapes)
    trouble: str = ""
    floors: dict[str, tuple[Applied, datetime | None]] = field(default_factory=dict)


class Scraped:
    """One per process; ``read`` hears of each question's result. Without a ``source`` there is nothing to ask, which is said."""

    def __init__(
        self,
        source: Source | None = None,
        *,
        read: Callable[[str], None] = lambda _result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._read = read
        self._clock = clock
        self._known: dict[Key, _Deployment] = {}

    async def look(self, key: Key, routers: Mapping[str, Applied], *, max_age: float) -> None:
        """Ask if the last answer is old, or older than what a router has applied; ``routers`` by uid. Never raises `NoMetrics`."""
        known = self._known.get(key)
        floors = known.floors if known is not None else {}
        kept = {uid: floors[uid] for uid, applied in routers.items() if uid in floors and floors[uid][0] == applied}
        if known is not None and known.at >= self._clock() - max_age and len(kept) == len(routers):
            return
        begun = self._clock()
        if self._source is None:
            self._known[key] = _Deployment(begun, trouble=_NO_SERVER)
            return
        try:
            scrapes = await self._source.read(key.namespace, key.name)
        except NoMetrics as error:
            self._read("none")
            log.debug("no answer of Prometheus: %s", error, extra={"key": str(key)})
            self._known[key] = _Deployment(begun, trouble=_unread(str(error)), floors=kept)
            return
        self._read("ok")
        fresh = {uid: (applied, _newest(scrapes, applied.process)) for uid, applied in routers.items() if uid not in kept}
        self._known[key] = _Deployment(begun, scrapes, _trouble(scrapes, routers), {**kept, **fresh})

    def samples(self, key: Key, uid: str, applied: Applied) -> tuple[Sample, ...] | None:
        """What this router had counted at its last scrape; None where there is none that counts."""
        known = self._known.get(key)
        if known is None or known.floors.get(uid, (None,))[0] != applied:
            return None
        floor = known.floors[uid][1]
        return known.scrapes.of(uid, applied.process, floor + _TICK if floor is not None else None).samples

    def trouble(self, key: Key) -> str:
        """Why counters are missing that should be there, for people: field, reason and next action. Empty while all is well."""
        known = self._known.get(key)
        return known.trouble if known is not None else ""

    def forget(self, key: Key) -> None:
        """Nobody wants its counters."""
        self._known.pop(key, None)


def _newest(scrapes: LastScrapes, process: str) -> datetime | None:
    return next((scrape.scraped_at for scrape in scrapes.processes if scrape.process == process), None)


def _trouble(scrapes: LastScrapes, routers: Mapping[str, Applied]) -> str:
    """One sentence for all routers: which of them has been scraped at this moment changes all the time, and status is not to follow."""
    by_process = {scrape.process: scrape for scrape in scrapes.processes}
    if any(applied.process not in by_process for applied in routers.values()):
        return _unread("it has no recent scrape of a router: have every router pod's admin port scraped, with its namespace as label")
    problems = sorted({by_process[applied.process].problem for applied in routers.values()} - {""})
    return _unread(problems[0]) if problems else ""


def _unread(reason: str) -> str:
    return f"{FIELD}: Prometheus gives no counters, so nothing can pass: {reason}. Or set {FIELD} to Routers"
