"""Follows the routes in the statuses of a namespace as they are written, so that none is missed between two looks."""

import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from finetune_inference.contract import Route
from finetune_operator.api.base import GROUP, VERSION
from finetune_testbed.apiserver import ApiServer
from finetune_testbed.bed import Testbed
from tests.cluster.operator_process import until


@dataclass(frozen=True)
class Seen:
    """``at`` is when this generation of a route was first seen in a status, in seconds since the epoch."""

    route: Route
    at: float


@dataclass
class RouteWatch:
    """``routes``: every generation of every route in the order of their writes; ``rollouts``: version and beginning of each one."""

    bed: Testbed
    namespace: str
    routes: list[Seen] = field(default_factory=list)
    rollouts: list[tuple[str, str]] = field(default_factory=list)
    error: Exception | None = None
    _versions: dict[str, str] = field(default_factory=dict)
    _known: set[tuple[str, int]] = field(default_factory=set)

    @property
    def path(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/adapterdeployments"

    def __enter__(self) -> Self:
        context = ssl.create_default_context(cafile=self.bed.pki / "ca.crt")
        context.load_cert_chain(self.bed.pki / "admin.crt", self.bed.pki / "admin.key")
        self._connection = http.client.HTTPSConnection("127.0.0.1", self.bed.ports.apiserver, context=context)
        self._connection.request("GET", f"{self.path}?watch=true")
        self._response = self._connection.getresponse()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._connection.close()

    def catch_up(self) -> list[Seen]:
        """The routes, once it has seen what is stored now: a watch tells of what happened a moment later than a list."""
        with ApiServer(self.bed) as server:
            items = server.request("GET", self.path)["items"]
        stored = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in items}
        until(lambda: self.error or all(int(self._versions.get(name, "0")) >= version for name, version in stored.items()))
        assert self.error is None, f"the watch broke off, so that nothing is proven: {self.error!r}"
        return self.routes

    def weights(self, since: int = 0) -> list[int]:
        """Of the canaries, in the order of their routes."""
        return [seen.route.weight for seen in self.catch_up()[since:] if seen.route.canary is not None]

    def of(self, deployment: str, generation: int) -> Seen:
        return next(seen for seen in self.catch_up() if (seen.route.deployment, seen.route.generation) == (deployment, generation))

    def _follow(self) -> None:
        try:
            while line := self._response.readline():
                self._take(json.loads(line))
        except (OSError, ValueError, LookupError, AttributeError, AssertionError, http.client.HTTPException) as error:
            self.error = error
        else:
            self.error = EOFError("the API server ended it")

    def _take(self, event: dict[str, Any]) -> None:
        assert event["type"] in {"ADDED", "MODIFIED", "DELETED"}, event
        metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
        stored, rollout = status.get("route"), status.get("rollout") or {}
        if rollout and (begun := (rollout["version"], rollout["startedAt"])) not in self.rollouts:
            self.rollouts.append(begun)
        if stored:
            route = Route.model_validate(stored)
            if (route.deployment, route.generation) not in self._known:
                self._known.add((route.deployment, route.generation))
                self.routes.append(Seen(route, time.time()))
        self._versions[metadata["name"]] = metadata["resourceVersion"]
