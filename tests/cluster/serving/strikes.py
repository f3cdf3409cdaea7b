"""Killing what serves and what decides, as a kernel does, and starting it again, as a kubelet does; and what holds whoever was killed."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.operator_process import OperatorProcess, until
from tests.cluster.serving.pods import Server
from tests.cluster.serving_site import Site
from tests.engines.forked import request
from tests.engines.load import Load, Record


@dataclass(frozen=True)
class State:
    """What of a status must be the same before a strike and after it."""

    phase: str
    reason: str
    rollout: tuple[Any, ...]
    route: tuple[Any, ...]
    desired: tuple[str, ...]
    history: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, status: dict[str, Any]) -> "State":
        rollout, route = status.get("rollout") or {}, status.get("route") or {}
        ready = next((each for each in status.get("conditions") or [] if each["type"] == "Ready"), {})
        return cls(
            phase=status.get("phase", ""),
            reason=ready.get("reason", ""),
            rollout=tuple(rollout.get(name) for name in ("version", "startedAt", "stage", "step", "hold")),
            route=tuple(route.get(name) for name in ("generation", "stable", "canary", "weight")),
            desired=tuple(each["name"] for each in (status.get("desired") or {}).get("versions") or []),
            history=tuple((each["version"], each["outcome"]) for each in status.get("history") or []),
        )


@dataclass
class Strikes:
    """``start`` makes an operator; ``cuts`` are the moments in which open streams may have been lost; ``load`` is there while users ask."""

    site: Site
    start: Callable[[], OperatorProcess]
    operator: OperatorProcess
    load: Load | None = None
    cuts: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    _count: int = 0

    def all(self, state: str, *, router: int | None = None, server: int | None = None) -> None:
        """Each once: an engine, a router, the agent of the other pod, the operator. Then the state is the same, and users are answered.

        ``router`` and ``server`` (of the engine) alternate unless they are named.
        """
        turn = self._count % 2
        self._count += 1
        before, begun = State.of(self.site.status()), time.monotonic()
        number = turn if server is None else server
        self.engine(self.site.servers[number])
        self.router(turn if router is None else router)
        self.agent(self.site.servers[1 - number])
        self.restart_operator()
        self.settled(state, before)
        print(f"{state}: {time.monotonic() - begun:.1f} s")

    def engine(self, server: Server) -> None:
        """The pod is not ready from then on, until its engine holds again what it has to."""
        self.cuts.append(killed := time.monotonic())
        server.engine.kill()
        assert not ready(server)
        self.site.tell_ready(server.name, ready=False)
        server.start_engine()
        until(lambda: ready(server), every=0.01)
        held, required = server.held(), self._required()
        assert required <= held, f"ready with {held}"
        self.back.append(time.monotonic() - killed)
        self.site.tell_ready(server.name, ready=True)
        self._answers(killed)

    def router(self, number: int) -> None:
        self.cuts.append(killed := time.monotonic())
        self.site.kill_router(number)
        self.site.restart_router(number)
        self._answers(killed)

    def agent(self, server: Server) -> None:
        """The engine goes on; the pod is ready again, if it was, once the new agent has seen what it holds."""
        was, killed = ready(server), time.monotonic()
        server.agent.kill()
        self.site.tell_ready(server.name, ready=False)
        server.start_agent()
        if was:
            until(lambda: ready(server), every=0.01)
            self.site.tell_ready(server.name, ready=True)
        self._answers(killed)

    def restart_operator(self) -> None:
        killed = time.monotonic()
        self.operator.kill()
        self.operator = self.start()
        self._answers(killed)

    def settled(self, state: str, before: State) -> None:
        after = State.of(self.site.status())
        for _ in range(1200):
            if after == before:
                return
            time.sleep(0.05)
            after = State.of(self.site.status())
        raise AssertionError(f"{state}: was {before}, is {after}")

    def unexcused(self, load: Load) -> list[Record]:
        """Requests that failed without having been in the middle of an answer while an engine or a router was killed."""
        return [record for record in load.failures if not (record.version and any(record.began < cut < record.ended for cut in self.cuts))]

    def _required(self) -> set[str]:
        desired = self.site.status().get("desired") or {}
        return {each["name"] for each in desired.get("versions") or [] if each.get("required", True)}

    def _answers(self, since: float) -> None:
        """Users go on being answered: so many requests that began after that moment."""
        load = self.load
        if load is not None:
            until(lambda: sum(record.began > since and not record.failure for record in list(load.records)) >= 10)


def ready(server: Server) -> bool:
    """As the kubelet asks; an agent that does not answer is not ready."""
    return request("GET", f"http://{server.ip}:{server.agent.port}/readyz")[0] == 200
