"""The local breaker: a canary that fails for most callers loses its traffic at once, also while the operator is away.

The operator's own verdict is finer and slower; this one only has to be safe. Counted are live requests of one generation of a route, summed
over all workers, and a new generation starts from nothing.
"""

from decimal import Decimal

from finetune_inference.contract import Breaker, Route, RouteTable

Key = tuple[str, int]
"""Alias and generation."""


def trips(breaker: Breaker, requests: int, failures: int) -> bool:
    """Whether the share of failures is above the limit after enough requests."""
    return requests >= breaker.min_requests and failures > Decimal(breaker.max_error_rate) * requests


class Tally:
    """Canary requests by alias and generation, and which breakers are open."""

    def __init__(self) -> None:
        self._counts: dict[Key, tuple[int, int]] = {}
        self._routes: dict[Key, Route] = {}
        self.open: frozenset[Key] = frozenset()

    def follow(self, table: RouteTable) -> bool:
        """Keep the routes of this table only; true if that closes a breaker."""
        self._routes = {(route.alias, route.generation): route for route in table.routes}
        self._counts = {key: count for key, count in self._counts.items() if key in self._routes}
        before, self.open = self.open, frozenset(key for key in self.open if key in self._routes)
        return before != self.open

    def add(self, key: Key, requests: int, failures: int) -> bool:
        """Count what a worker saw since its last report; true if that opens a breaker."""
        route = self._routes.get(key)
        if route is None or key in self.open:
            return False
        had = self._counts.get(key, (0, 0))
        total = self._counts[key] = (had[0] + requests, had[1] + failures)
        if route.stable is None or not trips(route.breaker, *total):
            return False
        self.open |= {key}
        return True
