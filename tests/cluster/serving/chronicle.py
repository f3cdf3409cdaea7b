"""What happened when, put together from logs alone: those of the load, the routers and the operator, and the API server's audit.

Routers say when they begin to apply a route and from when every worker does. Between the two a request may meet either; before and after
there is one route that can have answered it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from finetune_inference.contract import Route
from finetune_testbed.audit import AuditLog
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.serving_site import NAME, Site
from tests.engines.load import Record

ROUNDING = 0.001
"""Seconds that a time in a log may be too early."""


@dataclass(frozen=True)
class Reign:
    """A route in one router: from ``begins`` some worker may apply it, from ``holds`` all do, and from ``ends`` some apply the next one."""

    route: Route
    begins: float
    holds: float
    ends: float

    @property
    def versions(self) -> set[str]:
        return {version for version in (self.route.stable, self.route.canary) if version is not None}


@dataclass(frozen=True)
class Verdict:
    """A canary that was taken back: when the API server received the status that says so, and when the last router acknowledged it."""

    version: str
    generation: int
    written: float
    acknowledged: float

    @property
    def seconds(self) -> float:
        return self.acknowledged - self.written


class Chronicle:
    """Of one deployment, over the whole life of the site's routers."""

    def __init__(self, site: Site, name: str = NAME) -> None:
        self._name = name
        self._routes = {seen.route.generation: seen.route for seen in site.watch.caught_up() if seen.route.deployment == name}
        self._reigns = [list(_reigns(router.logs, self._routes, name)) for router in site.routers]

    def possible(self, record: Record) -> set[str]:
        """Versions that some route in force while the request waited for its first byte names."""
        found = set()
        reigns = self._reigns[record.router]
        for reign, successor in zip(reigns, [*reigns[1:], None], strict=True):
            over = successor is not None and successor.holds + ROUNDING < record.at
            if reign.begins <= record.answered_at and not over:
                found |= reign.versions
        return found

    def settled(self, record: Record) -> Route | None:
        """The route that answered it, where no other one can have."""
        for reign in self._reigns[record.router]:
            if reign.holds + ROUNDING <= record.at and record.answered_at <= reign.ends:
                return reign.route
        return None

    def verdicts(self, operator: OperatorProcess, audit: AuditLog, since: int) -> list[Verdict]:
        """Every rollback. The operator says one in its log right after the write of the status, and writes nothing in between."""
        calls = [call for call in audit.writes("finetune-operator", since=since) if (call.name, call.subresource) == (self._name, "status")]
        found = []
        for line in operator.logs:
            if line.get("stage") != "RollingBack" or line.get("key", "").rpartition("/")[2] != self._name:
                continue
            said = datetime.fromisoformat(line["time"]).timestamp() + ROUNDING
            written = max(call.received.timestamp() for call in calls if call.status == 200 and call.received.timestamp() <= said)
            generation = self._taken_back(line["version"])
            found.append(Verdict(line["version"], generation, written, max(self._holds(reigns, generation) for reigns in self._reigns)))
        return found

    def _taken_back(self, version: str) -> int:
        """Generation of the first route without this canary."""
        last = max(generation for generation, route in self._routes.items() if route.canary == version)
        return min(generation for generation in self._routes if generation > last)

    @staticmethod
    def _holds(reigns: Sequence[Reign], generation: int) -> float:
        return min(reign.holds for reign in reigns if reign.route.generation >= generation)


def _reigns(lines: Sequence[dict[str, object]], routes: dict[int, Route], name: str) -> Iterator[Reign]:
    begun: dict[int, float] = {}
    held: dict[int, float] = {}
    for line in lines:
        generation = dict(line.get("generations") or {}).get(name)  # type: ignore[call-overload]
        if generation is not None:
            times = begun if line["message"] == "a route table is applied" else held
            times.setdefault(generation, datetime.fromisoformat(str(line["time"])).timestamp())
    order = sorted(begun)
    for generation, successor in zip(order, [*order[1:], None], strict=True):
        # One that was overtaken before all workers had it was never acknowledged; whoever acknowledges a later one has left it.
        holds = min((at for other, at in held.items() if other >= generation), default=float("inf"))
        yield Reign(routes[generation], begun[generation], holds, begun[successor] if successor is not None else float("inf"))
