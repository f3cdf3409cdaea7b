"""Follows the routes in the statuses of a namespace as they are written, so that none is missed between two looks."""

import time
from dataclasses import dataclass
from typing import Any

from finetune_inference.contract import Route
from finetune_operator.api.base import GROUP, VERSION
from finetune_testbed.bed import Testbed
from tests.cluster.watching import Watch


@dataclass(frozen=True)
class Seen:
    """``at`` is when this generation of a route was first seen in a status, in seconds since the epoch."""

    route: Route
    at: float


class RouteWatch(Watch):
    """``routes``: every generation of every route in the order of their writes; ``rollouts``: version and beginning of each one."""

    def __init__(self, bed: Testbed, namespace: str) -> None:
        super().__init__(bed, f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/adapterdeployments")
        self.routes: list[Seen] = []
        self.rollouts: list[tuple[str, str]] = []
        self._known: set[tuple[str, int]] = set()

    def caught_up(self) -> list[Seen]:
        """The routes, once it has seen those that are stored now."""
        self.catch_up()
        return self.routes

    def weights(self, since: int = 0) -> list[int]:
        """Of the canaries, in the order of their routes."""
        return [seen.route.weight for seen in self.caught_up()[since:] if seen.route.canary is not None]

    def of(self, deployment: str, generation: int) -> Seen:
        return next(seen for seen in self.caught_up() if (seen.route.deployment, seen.route.generation) == (deployment, generation))

    def take(self, kind: str, found: dict[str, Any]) -> None:
        status = found.get("status") or {}
        stored, rollout = status.get("route"), status.get("rollout") or {}
        if rollout and (begun := (rollout["version"], rollout["startedAt"])) not in self.rollouts:
            self.rollouts.append(begun)
        if stored:
            route = Route.model_validate(stored)
            if (route.deployment, route.generation) not in self._known:
                self._known.add((route.deployment, route.generation))
                self.routes.append(Seen(route, time.time()))
