"""What every worker applies: which table can be acknowledged, and what is open. Pure bookkeeping of the supervisor.

A worker that is being started accepts nobody before it has the newest table, so only serving ones are waited for.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from finetune_inference.contract import Acknowledgement, AppliedRoute, Route, RouteTable
from finetune_inference.router.breaker import Key
from finetune_inference.router.messages import Report


@dataclass(frozen=True)
class State:
    """A table, the breakers that were open with it, and by alias why a schema cannot be used."""

    table: RouteTable = field(default_factory=RouteTable)
    opened: frozenset[Key] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Ledger:
    """States by number, and the newest that all workers apply."""

    states: dict[int, State] = field(default_factory=lambda: {0: State()})
    reports: dict[int, Report] = field(default_factory=dict)
    acknowledged: int = 0

    @property
    def newest(self) -> int:
        return max(self.states)

    @property
    def state(self) -> State:
        return self.states[self.newest]

    @property
    def applied(self) -> RouteTable:
        """What every worker applies."""
        return self.states[self.acknowledged].table

    def publish(self, state: State) -> int:
        """Number a new state."""
        number = self.newest + 1
        self.states[number] = state
        return number

    def greeted(self, slot: int) -> None:
        """A worker is being told the newest state; it may serve by that one for a moment, whatever comes after it."""
        self.reports[slot] = Report(applied=self.newest, serving=False)

    def heard(self, slot: int, report: Report) -> None:
        if report.serving or slot not in self.reports:
            self.reports[slot] = report
            self._settle()

    def lost(self, slot: int) -> None:
        """A worker is gone, and what was open in it."""
        self.reports.pop(slot, None)
        self._settle()

    def acknowledgement(self, router: str, process: str, problem: str | None) -> Acknowledgement:
        """What `/routes` answers."""
        state = self.states[self.acknowledged]
        in_flight = self.in_flight()
        return Acknowledgement(
            router=router,
            process=process,
            table_problem=problem[:1024] if problem else None,
            routes=[_applied(route, state, in_flight) for route in state.table.routes],
        )

    def in_flight(self) -> Counter[tuple[str, str]]:
        """Open requests by deployment and version, over all workers."""
        total: Counter[tuple[str, str]] = Counter()
        for report in self.reports.values():
            for entry in report.in_flight:
                total[entry.deployment, entry.version] += entry.requests
        return total

    def _settle(self) -> None:
        serving = [report.applied for report in self.reports.values() if report.serving]
        if serving:
            self.acknowledged = min(serving)
        oldest = min([self.acknowledged, *(report.applied for report in self.reports.values())])
        self.states = {number: state for number, state in self.states.items() if number >= oldest}


def _applied(route: Route, state: State, in_flight: Counter[tuple[str, str]]) -> AppliedRoute:
    is_open, problem = (route.alias, route.generation) in state.opened, state.problems.get(route.alias)
    return AppliedRoute(
        deployment=route.deployment,
        alias=route.alias,
        generation=route.generation,
        weight=0 if is_open else route.weight,
        breaker_open=is_open,
        in_flight={version: count for (deployment, version), count in sorted(in_flight.items()) if deployment == route.deployment},
        schema_problem=problem[:512] if problem else None,
    )
