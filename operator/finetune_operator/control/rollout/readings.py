"""The last answers of routers and agents, and asking them again where a decision needs something newer.

A reading is old when its pod has changed since, when it has reached a given age, or when it lacks the counters that are wanted. Routers are
asked for what they have applied first and for their counters afterwards: what was counted is never older than the acknowledgement.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from finetune_inference.contract import Acknowledgement, AgentStatus
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.exposition import MetricLine
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.rollout.cache import address_of
from finetune_operator.control.rollout.scraped import Applied, Scraped
from finetune_operator.domain.analysis.counters import Sample
from finetune_operator.manifests.serving import ROUTER, SERVER

log = logging.getLogger(__name__)


class Pods(Protocol):
    """The part of `PodClient` that is needed."""

    async def acknowledgement(self, ip: str) -> Acknowledgement: ...

    async def agent_status(self, ip: str) -> AgentStatus: ...

    async def samples(self, ip: str, deployments: frozenset[str]) -> Mapping[str, list[MetricLine]]: ...


@dataclass(frozen=True)
class RouterReading:
    """``acknowledged`` and ``samples`` are None where the router gave no answer; ``asked``: whose samples were wanted."""

    version: str
    at: float
    acknowledged: Acknowledgement | None = None
    samples: Mapping[str, tuple[Sample, ...]] | None = None
    asked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class AgentReading:
    version: str
    at: float
    status: AgentStatus | None = None


@dataclass
class _Shelf:
    """Readings by pod uid, each asked for by one at a time; ``looks`` are under way."""

    routers: dict[str, RouterReading] = field(default_factory=dict)
    agents: dict[str, AgentReading] = field(default_factory=dict)
    asking: dict[str, asyncio.Lock] = field(default_factory=dict)
    analysed: set[str] = field(default_factory=set)
    looks: int = 0

    def turn(self, pod: Manifest) -> asyncio.Lock:
        """Of those who ask this pod; a pod that is dropped meanwhile has another one, or none."""
        return self.asking.setdefault(pod["metadata"]["uid"], asyncio.Lock())


class Readings:
    """One per process; ``read`` hears of each question's role and result."""

    def __init__(
        self,
        pods: Pods,
        *,
        scraped: Scraped | None = None,
        read: Callable[[str, str], None] = lambda _role, _result: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pods = pods
        self._scraped = scraped if scraped is not None else Scraped()
        self._read = read
        self._clock = clock
        self._shelves: dict[str, _Shelf] = {}

    async def look(
        self, key: Key, routers: Collection[Manifest], servers: Iterable[Manifest], *, max_age: float, samples: bool, scraped: bool = False
    ) -> None:
        """Ask those whose reading is old, all at once. Never raises: a pod without an answer is a reading too.

        ``scraped``: the counters come from Prometheus, which is asked after the routers.
        """
        shelf = self._shelves.setdefault(key.namespace, _Shelf())
        direct = samples and not scraped
        (shelf.analysed.add if direct else shelf.analysed.discard)(key.name)
        wanted = frozenset({key.name} if direct else ())
        oldest = self._clock() - max_age
        shelf.looks += 1
        try:
            async with asyncio.TaskGroup() as group:
                for pod in routers:
                    group.create_task(self._router(shelf, pod, shelf.turn(pod), oldest, wanted))
                for pod in servers:
                    group.create_task(self._agent(shelf, pod, shelf.turn(pod), oldest))
            if samples and scraped:
                applied = {pod["metadata"]["uid"]: self._applied(key, pod) for pod in routers}
                await self._scraped.look(key, {uid: each for uid, each in applied.items() if each is not None}, max_age=max_age)
            else:
                self._scraped.forget(key)
        finally:
            shelf.looks -= 1
            self._clear(key.namespace)

    def samples(self, key: Key, pod: Manifest, *, scraped: bool) -> tuple[Sample, ...] | None:
        """What the router had counted for a deployment; None where that is not known."""
        if scraped:
            applied = self._applied(key, pod)
            return self._scraped.samples(key, pod["metadata"]["uid"], applied) if applied is not None else None
        answer = self.router(pod)
        return answer.samples.get(key.name) if answer is not None and answer.samples is not None else None

    def trouble(self, key: Key) -> str:
        """What is wrong with the counters that Prometheus should have; empty where nothing is."""
        return self._scraped.trouble(key)

    def _applied(self, key: Key, pod: Manifest) -> Applied | None:
        """The router's process and the route that it has acknowledged for this deployment."""
        answer = self.router(pod)
        if answer is None or answer.acknowledged is None:
            return None
        route = next((route for route in answer.acknowledged.routes if route.deployment == key.name), None)
        return Applied(answer.acknowledged.process, route.generation) if route is not None else None

    def router(self, pod: Manifest) -> RouterReading | None:
        return self._shelf(pod).routers.get(pod["metadata"]["uid"])

    def agent(self, pod: Manifest) -> AgentReading | None:
        return self._shelf(pod).agents.get(pod["metadata"]["uid"])

    def forget(self, key: Key) -> None:
        """The deployment is gone, and nobody wants its counters."""
        if key.namespace in self._shelves:
            self._shelves[key.namespace].analysed.discard(key.name)
            self._clear(key.namespace)
        self._scraped.forget(key)

    def drop(self, namespace: str, uid: str) -> None:
        """The pod is gone."""
        shelf = self._shelf_of(namespace)
        shelf.routers.pop(uid, None)
        shelf.agents.pop(uid, None)
        shelf.asking.pop(uid, None)
        self._clear(namespace)

    def __len__(self) -> int:
        """Namespaces of which something is known."""
        return len(self._shelves)

    def _shelf(self, pod: Manifest) -> _Shelf:
        return self._shelf_of(pod["metadata"]["namespace"])

    def _shelf_of(self, namespace: str) -> _Shelf:
        """Asking keeps nothing: an empty shelf is one that is not there."""
        return self._shelves.get(namespace) or _Shelf()

    def _clear(self, namespace: str) -> None:
        shelf = self._shelf_of(namespace)
        if not (shelf.looks or shelf.routers or shelf.agents or shelf.asking or shelf.analysed):
            self._shelves.pop(namespace, None)

    async def _router(self, shelf: _Shelf, pod: Manifest, turn: asyncio.Lock, oldest: float, wanted: frozenset[str]) -> None:
        uid = pod["metadata"]["uid"]
        async with turn:
            known = shelf.routers.get(uid)
            if known is not None and _fresh(known, pod, oldest) and wanted <= known.asked:
                return
            answer = await self._ask_router(pod, frozenset(shelf.analysed))
            if shelf.asking.get(uid) is turn:  # else the pod has gone meanwhile
                shelf.routers[uid] = answer

    async def _ask_router(self, pod: Manifest, deployments: frozenset[str]) -> RouterReading:
        begun, version = self._clock(), _version(pod)
        try:
            acknowledged = await self._pods.acknowledgement(address_of(pod))
        except NoAnswer as error:
            self._silent(ROUTER, pod, error)
            return RouterReading(version, begun, asked=deployments)
        samples: Mapping[str, tuple[Sample, ...]] | None = None
        if deployments:
            try:
                found = await self._pods.samples(address_of(pod), deployments)
            except NoAnswer as error:
                self._silent(ROUTER, pod, error)
            else:
                samples = {name: tuple(Sample(*line) for line in lines) for name, lines in found.items()}
        self._read(ROUTER, "ok")
        return RouterReading(version, begun, acknowledged, samples, deployments)

    async def _agent(self, shelf: _Shelf, pod: Manifest, turn: asyncio.Lock, oldest: float) -> None:
        uid = pod["metadata"]["uid"]
        async with turn:
            known = shelf.agents.get(uid)
            if known is not None and _fresh(known, pod, oldest):
                return
            begun, status = self._clock(), None
            if address_of(pod):
                try:
                    status = await self._pods.agent_status(address_of(pod))
                    self._read(SERVER, "ok")
                except NoAnswer as error:
                    self._silent(SERVER, pod, error)
            if shelf.asking.get(uid) is turn:
                shelf.agents[uid] = AgentReading(_version(pod), begun, status)

    def _silent(self, role: str, pod: Manifest, error: NoAnswer) -> None:
        self._read(role, "none")
        metadata = pod["metadata"]
        log.debug("%s gives no answer: %s", role, error, extra={"pod": f"{metadata['namespace']}/{metadata['name']}"})


def _fresh(reading: RouterReading | AgentReading, pod: Manifest, oldest: float) -> bool:
    return reading.version == _version(pod) and reading.at >= oldest


def _version(pod: Manifest) -> str:
    return str(pod["metadata"].get("resourceVersion") or "")
