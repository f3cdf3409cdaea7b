"""Has engines of the user's own hold what deployments want: one step at a time for each pod, beside the decisions and never in their way.

What is known of an engine is what it listed the last time, and what was done with each version since this process began. A new process
finds out anew: what is listed counts if status says that it was proven before, and is proven again meanwhile.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from finetune_inference.contract.proof import Tolerances
from finetune_operator.cluster.address import url_of
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.engines import EngineAnswer, Proof, PushFailed
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.rollout.cache import address_of
from finetune_operator.domain.rollout.engines import UNSEEN, EngineView, Known, Listed, PushTarget
from finetune_operator.domain.rollout.observed import ServerPod
from finetune_operator.domain.rollout.pushing import (
    Fingerprint,
    Load,
    Prove,
    Step,
    Unload,
    basis_of,
    failed,
    held_versions,
    judge,
    next_step,
    others,
    still_compared,
    still_known,
    wake_at,
)
from finetune_operator.manifests.serving import SERVER

log = logging.getLogger(__name__)

PASSING: Final = (1.0, 60.0)
LASTING: Final = (15.0, 600.0)
"""Seconds to wait after a failure: of the engine, which may pass by itself; of a proof, which somebody has to do something about."""
_KEY_REFUSED: Final = ("EngineKeyRejected", "EngineKeyUnusable")


class EngineCalls(Protocol):
    """Implemented by `finetune_operator.cluster.engines.Engines`."""

    async def look(self, url: str, key: str | None, now: datetime) -> EngineAnswer: ...

    async def load(self, url: str, key: str | None, name: str, path: str, *, replace: bool) -> None: ...

    async def unload(self, url: str, key: str | None, name: str) -> None: ...

    async def prove(self, url: str, key: str | None, name: str, base: str) -> Proof: ...


class EngineKey(Protocol):
    """Implemented by `finetune_operator.cluster.secrets.NamespaceSecret`."""

    async def value(self, namespace: str) -> str | None: ...

    def forget(self, namespace: str) -> None: ...


@dataclass
class _Lane:
    """One engine: the last look at it, what was done there, and the step under way.

    ``steps`` counts those that have ended, ``seen`` how many had when the last look began: in between nothing is decided.
    """

    view: EngineView = UNSEEN
    at: float = float("-inf")
    pod_version: str = ""
    known: dict[str, Known] = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    work: "asyncio.Task[None] | None" = None
    waiting: set[Key] = field(default_factory=set)
    steps: int = 0
    seen: int = -1


@dataclass(frozen=True)
class _Order:
    """A step, for whom and where it is taken; ``started`` is the engine's start that it was decided for."""

    key: Key
    pod: Manifest
    port: int
    target: PushTarget
    step: Step
    started: str

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    @property
    def version(self) -> str:
        return self.step.name if isinstance(self.step, Unload) else self.step.version.name


class Pushes:
    """One per process. ``wake`` hears whose engine has changed; ``fence`` raises where this process may not write any more."""

    def __init__(
        self,
        engines: EngineCalls,
        engine_key: EngineKey,
        *,
        wake: Callable[[Key], None],
        fence: Callable[[], None] = lambda: None,
        read: Callable[[str, str], None] = lambda _role, _result: None,
        pushed: Callable[[str, str], None] = lambda _step, _result: None,
        tolerances: Tolerances | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
    ) -> None:
        self._engines = engines
        self._key = engine_key
        self._wake = wake
        self._fence = fence
        self._read = read
        self._pushed = pushed
        self._tolerances = tolerances or Tolerances()
        self._clock = clock
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311  jitter, no secret
        self._lanes: dict[tuple[str, str, int], _Lane] = {}
        self._defect: asyncio.Future[None] | None = None
        self._fingerprints: dict[Key, dict[str, Fingerprint]] = {}

    async def look(self, pods: Iterable[Manifest], port: int, *, max_age: float) -> None:
        """Ask those whose last look is old, all at once. An engine that is at work is left alone: its last answer stands."""
        async with asyncio.TaskGroup() as group:
            for pod in pods:
                group.create_task(self._look(pod, port, self._clock() - max_age))

    def server_pod(self, pod: Manifest, port: int, target: PushTarget) -> ServerPod:
        """What the pod's engine holds, as decisions read it."""
        lane = self._known(pod, port)
        return ServerPod(pod["metadata"]["name"], held_versions(lane.view, target, lane.known), others(lane.view, target))

    def see_to(self, key: Key, target: PushTarget, pods: Iterable[Manifest], port: int) -> float | None:
        """Begin the next step of each engine that has none; seconds until something changes by itself, None where nothing does."""
        now, wakes = self._now(), []
        self._fingerprints[key] = still_compared(target, self._fingerprints.get(key, {}))
        for pod in pods:
            lane = self._lane(pod, port)
            if lane.work is not None:
                lane.waiting.add(key)
                continue
            if lane.seen != lane.steps:
                self._wake(key)
                continue
            lane.known = still_known(lane.view, target, lane.known)
            step = next_step(lane.view, target, lane.known, now)
            if step is not None:
                self._fence()
                lane.waiting.add(key)
                lane.work = asyncio.create_task(self._work(lane, _Order(key, pod, port, target, step, lane.view.started)))
                lane.work.add_done_callback(self._ended)
            at = wake_at(target, lane.known, now)
            wakes += [(at - now).total_seconds()] if at is not None else []
        return min(wakes, default=None)

    def unreachable(self, pods: Iterable[Manifest], port: int) -> bool:
        """Whether one of these engines did not answer the last time."""
        return any(not self._known(pod, port).view.reachable for pod in pods)

    def __len__(self) -> int:
        """Engines of which something is known."""
        return len(self._lanes)

    def forget(self, key: Key) -> None:
        """The deployment is gone, and nobody is compared with what its versions answered."""
        self._fingerprints.pop(key, None)

    def drop(self, namespace: str, uid: str) -> None:
        """The pod is gone, and with it what was under way there."""
        for whose in [whose for whose in self._lanes if whose[:2] == (namespace, uid)]:
            lane = self._lanes.pop(whose)
            if lane.work is not None:
                lane.work.cancel()

    async def run(self) -> None:
        """Until cancelled; raises a defect that ended a step."""
        self._defect = asyncio.get_running_loop().create_future()
        await self._defect

    async def close(self) -> None:
        """Give up what is under way: an engine may finish a load by itself, and whoever looks next finds it."""
        tasks = [lane.work for lane in self._lanes.values() if lane.work is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._defect is not None and not self._defect.done():
            self._defect.set_exception(error)

    def _lane(self, pod: Manifest, port: int) -> _Lane:
        return self._lanes.setdefault(_place(pod, port), _Lane())

    def _known(self, pod: Manifest, port: int) -> _Lane:
        """To read from: a pod that was dropped meanwhile does not come back by that."""
        return self._lanes.get(_place(pod, port)) or _Lane()

    async def _look(self, pod: Manifest, port: int, oldest: float) -> None:
        lane, version = self._lane(pod, port), str(pod["metadata"].get("resourceVersion") or "")
        async with lane.asking:
            if lane.work is not None or (lane.at >= oldest and lane.pod_version == version and lane.seen == lane.steps):
                return
            begun, steps, address = self._clock(), lane.steps, address_of(pod)
            view = UNSEEN
            if address:
                namespace = pod["metadata"]["namespace"]
                view = await self._view(url_of(address, port), await self._key.value(namespace))
                self._read(SERVER, "ok" if view.reachable else "none")
                if view.trouble is not None and view.trouble.reason in _KEY_REFUSED:
                    self._key.forget(namespace)
            if lane.work is None:
                lane.view, lane.at, lane.pod_version, lane.seen = view, begun, version, steps

    async def _view(self, url: str, key: str | None) -> EngineView:
        try:
            answer = await self._engines.look(url, key, self._now())
        except PushFailed as error:
            return EngineView(reachable=False, trouble=error.finding)
        return EngineView(True, answer.started, tuple(Listed(*model) for model in answer.models))

    async def _work(self, lane: _Lane, order: _Order) -> None:
        begun, name = self._clock(), order.version
        before = lane.known.get(name, Known())
        known: Known | None = before
        try:
            known = await self._carry_out(order, before)
        except PushFailed as error:
            basis = basis_of(order.step, order.target)
            known = failed(before, basis, error.finding, self._now(), self._wait(before, PASSING))
        finally:
            if known is None:
                lane.known.pop(name, None)
            else:
                lane.known[name] = known
            self._finish(lane)
        self._tell(order, known, self._clock() - begun)

    def _finish(self, lane: _Lane) -> None:
        """The engine has to be looked at again before anything is decided about it."""
        lane.work = None
        lane.steps += 1
        waiting, lane.waiting = lane.waiting, set()
        for key in waiting:
            self._wake(key)

    def _tell(self, order: _Order, known: Known | None, seconds: float) -> None:
        failure, step = known.failure if known is not None else None, type(order.step).__name__
        bad = failure is not None and failure.retry_at > self._now() and not isinstance(order.step, Unload)
        self._pushed(step, "failed" if bad else "ok")
        where = {"pod": f"{order.namespace}/{order.pod['metadata']['name']}", "version": order.version, "step": step}
        if bad and failure is not None:
            log.warning("an engine did not do it: %s", failure.finding.reason, extra={**where, "detail": failure.finding.message})
        else:
            log.info("an engine did it", extra={**where, "seconds": round(seconds, 3)})

    async def _carry_out(self, order: _Order, before: Known) -> Known | None:
        """What is known of the version then; None where it is gone. Raises `PushFailed`."""
        url, key = url_of(address_of(order.pod), order.port), await self._key.value(order.namespace)
        match order.step:
            case Load(version, replace):
                await self._engines.load(url, key, version.name, version.path, replace=replace)
                return _withdrawn(before)
            case Unload(name):
                await self._engines.unload(url, key, name)
                known = _withdrawn(before)
                return known if known.failure is not None else None
            case Prove(version, base):
                return self._judge(order, before, await self._engines.prove(url, key, version.name, base))

    def _judge(self, order: _Order, before: Known, proof: Proof) -> Known:
        first = self._fingerprints.get(order.key, {})
        problem = judge(proof.effect, proof.noise, proof.tokens, first.get(order.version), self._tolerances)
        if problem is not None:
            basis, wait = basis_of(order.step, order.target), self._wait(before, LASTING)
            return failed(before, basis, problem, self._now(), wait, withdraw=True)
        first.setdefault(order.version, proof.tokens)
        return Known(proven=order.started)

    def _wait(self, before: Known, bounds: tuple[float, float]) -> float:
        """50 to 100 % of the nominal time."""
        count = before.failure.count if before.failure is not None else 0
        return min(bounds[1], bounds[0] * 2.0 ** min(count, 32)) * self._rng.uniform(0.5, 1.0)


def _withdrawn(before: Known) -> Known:
    """A version that had to go for what it did stays suspected until it is proven."""
    return Known(failure=before.failure) if before.failure is not None and before.failure.withdraw else Known()


def _place(pod: Manifest, port: int) -> tuple[str, str, int]:
    metadata = pod["metadata"]
    return metadata["namespace"], metadata["uid"], port
