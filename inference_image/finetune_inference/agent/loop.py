"""The agent's loop: look, decide, start what was decided, look again. The only place where its knowledge changes.

Two lanes run beside the loop, one step at a time each: the disk's and the engine's. The loop never waits for them; they wake it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from finetune_inference.agent.decide import Collect, Fetch, Load, Prove, Unload, decide
from finetune_inference.agent.knowledge import UNKNOWN_START, EngineView, Observed, Progress, basis_of
from finetune_inference.agent.report import agent_status, is_applied
from finetune_inference.agent.sources import DesiredSource, LastGood, SourceAway
from finetune_inference.agent.steps import Steps
from finetune_inference.agent.watch import look
from finetune_inference.artifact.errors import Interrupted
from finetune_inference.contract import AgentStatus, DesiredSet, SourceState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """Seconds between two looks at an engine that answers, at one that does not, and after an unload that failed."""

    audit: float = 5.0
    wait: float = 0.5
    unload: float = 5.0


class Agent:
    """``store`` is where the engine sees the store. Run `run` as a task; everything else answers from what the last look showed."""

    def __init__(
        self,
        steps: Steps,
        source: DesiredSource,
        last_good: LastGood,
        store: PurePosixPath,
        *,
        clock: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self._steps = steps
        self._source = source
        self._last_good = last_good
        self._clock = clock
        self._pace = pace or Pace()
        self._desired: DesiredSet | None = None
        self._source_state = SourceState.NONE
        self._source_message: str | None = "no desired set was ever seen"
        merged = str(steps.merged.folder) if steps.merged is not None else None
        self._observed = Observed(EngineView(reachable=False), store, merged=merged)
        self._progress: dict[str, Progress] = {}
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._applied = 0
        self._started: str | None = None
        self._restarts = 0
        self._look_asked = True
        self._outdated = False  # a step has ended since the last look began
        self._looked_at = 0.0
        self._turned_at = time.monotonic()
        self._unready_since: float | None = None
        self._wake = asyncio.Event()
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Until cancelled. A step in progress is then given up: the engine may finish a load by itself, and the next start finds it."""
        if kept := await asyncio.to_thread(self._last_good.read):
            self._adopt(kept, SourceState.LAST_GOOD, "the source has not answered yet")
        following = asyncio.create_task(self._follow())
        try:
            while True:
                self._wake.clear()
                await self._look_if_due()
                wake_at = self._act()
                self._turned_at = time.monotonic()
                with contextlib.suppress(TimeoutError):  # not wait_for: before Python 3.12 it loses a cancellation that meets the wake
                    async with asyncio.timeout(self._pause(wake_at)):
                        await self._wake.wait()
                self._reap(following)
        finally:
            tasks = [following, *self._lanes.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def status(self) -> AgentStatus:
        """What is known now."""
        found = agent_status(
            self._seen(),
            self._desired,
            self._clock(),
            source=self._source_state,
            source_message=self._source_message,
            restarts=self._restarts,
        )
        return found.model_copy(update={"applied_generation": self._applied})

    async def look_now(self, patience: float) -> bool:
        """Have a look at the engine that begins after this call; whether it ended within ``patience`` seconds."""
        asked = time.monotonic()
        self._look_asked = True
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience), self._looked:
                await self._looked.wait_for(lambda: self._looked_at >= asked)
        return self._looked_at >= asked

    @property
    def verified(self) -> bool:
        """Whether the files of everything that is wanted have been checked, so that an engine may read them."""
        desired = self._desired
        return desired is not None and all(
            self._progress.get(version.name, Progress()).checked == basis_of(version, desired) for version in desired.versions
        )

    @property
    def silence(self) -> float:
        """Seconds since the loop last turned."""
        return time.monotonic() - self._turned_at

    async def _follow(self) -> None:
        async for change in self._source.changes():
            if isinstance(change, SourceAway):
                self._source_state = SourceState.LAST_GOOD if self._desired else SourceState.NONE
                self._source_message = change.message
                log.warning("the source of the desired set is away", extra={"detail": change.message})
                self._wake.set()
                continue
            self._adopt(change, SourceState.CURRENT, None)
            self._wake.set()
            try:
                await asyncio.to_thread(self._last_good.write, change)
            except OSError as error:
                log.error("the desired set could not be kept on disk", extra={"detail": error.strerror})  # noqa: TRY400  no trace needed

    def _adopt(self, desired: DesiredSet, state: SourceState, message: str | None) -> None:
        self._desired, self._source_state, self._source_message = desired, state, message
        names = {version.name for version in desired.versions}
        self._progress = {name: progress for name, progress in self._progress.items() if name in names}
        log.info("desired set", extra={"generation": desired.generation, "versions": len(desired.versions), "source": state.value})

    async def _look_if_due(self) -> None:
        started = time.monotonic()
        interval = self._pace.audit if self._observed.engine.reachable else self._pace.wait
        if not (self._look_asked or self._outdated) and started - self._looked_at < interval:
            return
        self._look_asked = self._outdated = False
        view = await look(self._steps.engine, self._clock())
        held = await asyncio.to_thread(self._steps.store.held)
        if view.reachable != self._observed.engine.reachable:
            log.info("engine answers" if view.reachable else "engine does not answer", extra={"started": view.started})
        if view.reachable and view.started != UNKNOWN_START:
            if self._started not in {None, view.started}:
                self._restarts += 1
                self._steps.metrics.engine_restarts.inc()
            self._started = view.started
        self._observed = replace(self._observed, engine=view, held=held)
        self._looked_at = started
        async with self._looked:
            self._looked.notify_all()

    def _act(self) -> datetime | None:
        """Start what is decided. After a step of the engine lane nothing is decided before the engine was looked at again."""
        desired, now, status = self._desired, self._clock(), self.status()
        if desired is not None and is_applied(self._seen(), desired, status, now) and self._applied != desired.generation:
            self._applied = desired.generation
            status = status.model_copy(update={"applied_generation": self._applied})
            log.info("applied", extra={"generation": self._applied})
        self._measure(status)
        if desired is None or self._outdated:
            return None
        plan = decide(self._seen(), desired, now)
        match plan.disk:
            case Fetch() as fetch:
                self._observed = replace(self._observed, fetching=fetch.version.name)
                self._start("disk", self._fetch(fetch, desired))
            case Collect() as collect:
                self._observed = replace(self._observed, collecting=True)
                self._start("disk", self._collect(collect))
        match plan.engine:
            case Load() | Prove() as work:
                self._observed = replace(self._observed, loading=work.version.name)
                self._start("engine", self._work(work))
            case Unload(name):
                self._observed = replace(self._observed, loading=name)
                self._start("engine", self._unload(name))
        return plan.wake_at

    async def _fetch(self, step: Fetch, desired: DesiredSet) -> None:
        name = step.version.name
        try:
            self._keep(name, await self._steps.fetch(step, desired, self._progress.get(name, Progress())))
        except Interrupted:
            log.info("stopped fetching", extra={"version": name})
        self._observed = replace(self._observed, fetching=None)

    async def _collect(self, step: Collect) -> None:
        try:
            removed = await asyncio.to_thread(self._steps.store.collect, step.keep)
            log.info("removed artifacts nobody wants", extra={"digests": removed})
        except OSError as error:
            log.warning("could not remove artifacts", extra={"detail": error.strerror})
        self._outdated = True
        self._observed = replace(self._observed, collecting=False)

    async def _work(self, step: Load | Prove) -> None:
        name, before = step.version.name, self._progress.get(step.version.name, Progress())
        try:
            self._keep(name, await (self._steps.load(step, before) if isinstance(step, Load) else self._steps.prove(step, before)))
        except Interrupted:
            log.info("stopped loading", extra={"version": name})
        self._outdated = True
        self._observed = replace(self._observed, loading=None)

    async def _unload(self, name: str) -> None:
        refused = await self._steps.unload(name) is not None
        wait = self._clock() + timedelta(seconds=self._pace.unload) if refused else None
        self._outdated = True
        self._observed = replace(self._observed, loading=None, no_unload_before=wait)

    def _keep(self, name: str, progress: Progress) -> None:
        if self._desired is not None and name in {version.name for version in self._desired.versions}:
            self._progress[name] = progress

    def _seen(self) -> Observed:
        return replace(self._observed, progress=dict(self._progress))

    def _start(self, lane: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._wake.set())
        self._lanes[lane] = task

    def _reap(self, following: asyncio.Task[None]) -> None:
        """A defect in a lane or in the source ends the agent: raise it here."""
        for lane, task in list(self._lanes.items()):
            if task.done():
                del self._lanes[lane]
                task.result()
        if following.done():
            following.result()

    def _pause(self, wake_at: datetime | None) -> float:
        interval = self._pace.audit if self._observed.engine.reachable else self._pace.wait
        pause = self._looked_at + interval - time.monotonic()
        if wake_at is not None:
            pause = min(pause, (wake_at - self._clock()).total_seconds())
        return max(0.02, pause)

    def _measure(self, status: AgentStatus) -> None:
        self._steps.metrics.show(status)
        if status.ready and self._unready_since is not None:
            self._steps.metrics.restore_seconds.observe(time.monotonic() - self._unready_since)
            self._unready_since = None
        elif not status.ready and self._unready_since is None:
            self._unready_since = time.monotonic()
