"""One operator process: what it consists of, in which order it starts, and how it ends.

Any part that ends ends the process, with a status that makes Kubernetes start it again; nothing limps on without its watch or its leader.
A request to stop lets work in progress finish, gives the Lease back and is over within 20 seconds.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from finetune_operator.cluster.cache import ClusterCache, Key
from finetune_operator.cluster.kube import KubeApi
from finetune_operator.cluster.progress import DirectReader, ProxyReader
from finetune_operator.cluster.reflector import Reflector
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS
from finetune_operator.control.intake import Intake
from finetune_operator.control.leader import Leadership
from finetune_operator.control.progress import ProgressPoller
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.reconciler import Reconciler
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.resync import RESYNC_ACTIVE, RESYNC_ALL, Sweep, resync
from finetune_operator.control.transitions import remember
from finetune_operator.control.worker import work
from finetune_operator.domain.decide import decide
from finetune_operator.runtime.governing import Governing
from finetune_operator.runtime.health import Health, Pulse, Servers
from finetune_operator.runtime.installation import domain_settings
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.preflight import reach, require_definition, require_rights
from finetune_operator.runtime.serving import Serving
from finetune_operator.runtime.settings import Settings
from finetune_operator.runtime.unserved import Unserved
from finetune_operator.runtime.watches import expose_watches, not_in_sync, watches_of_jobs

log = logging.getLogger(__name__)

DRAIN: Final = 12.0
"""Seconds that reconciles in progress get to end after a request to stop."""
COALESCE: Final = 0.05
"""Seconds that a change of a child waits for the next one."""


class Ended(Exception):
    """A part that runs for ever has ended."""


class StopRequested(Exception):
    """The orderly end."""


class Process:
    """Wires the parts together; `run` returns after an orderly stop and raises otherwise."""

    def __init__(self, settings: Settings, kube: KubeApi, metrics: Metrics, install_signals: Callable[["Process"], None]) -> None:
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._namespaces = tuple(settings.namespace)
        self._started = time.monotonic()
        self._identity = settings.identity
        self.stop = asyncio.Event()
        install_signals(self)
        domain = domain_settings(settings)
        self._queue: WorkQueue[Key] = WorkQueue(metrics)
        self._cache = ClusterCache(
            self._child_changed, on_parent=self._remember, on_parent_gone=self._gone, by_namespace=bool(self._namespaces)
        )
        self._reader = (
            ProxyReader(kube, settings.progress_port) if settings.progress_via == "pod-proxy" else DirectReader(settings.progress_port)
        )
        self._poller = ProgressPoller(
            self._cache,
            self._reader,
            progress_key=domain.progress_key,
            interval=domain.progress_write_seconds,
            notify=self._queue.add,
            measures=metrics,
        )
        self._governing = Governing(settings, kube, metrics, self._cache.parents, self._child_changed) if settings.governance else None
        governance = self._governing.cache if self._governing is not None else None
        self._reconciler = Reconciler(
            kube,
            self._cache,
            decide,
            governance=governance,
            notary=self._governing.notary if self._governing is not None else None,
            settings=domain,
            recorder=Recorder(kube, instance=self._identity),
            poller=self._poller,
            measures=metrics,
        )
        warnings = self._cache.events.of
        self._serving = Serving(settings, kube, metrics, self._identity, warnings, governance=governance) if settings.serving else None
        if self._serving is not None and self._governing is not None:
            self._serving.cache.noted = self._governing.standings.deployment_seen
        self._reflectors = self._make_reflectors()
        self._sweep = Sweep(kube, self._cache.parents, self._queue, self._namespaces)
        self._leadership = self._make_leadership() if settings.leader_elect else None
        self._pulse = Pulse()
        attempts = {reflector.name: reflector.last_attempted for reflector in self._reflectors}
        self._servers = Servers(settings.health_address, Health(self._pulse, attempts, partial(not_in_sync, self._reflectors)), metrics)
        self._workers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Raises `PreflightFailed` before anything has started, or the error of the part that ended."""
        await reach(self._kube, self._namespaces[0] if self._namespaces else None)
        lease_namespace = self._settings.own_namespace() if self._settings.leader_elect else None
        if self._serving is not None:
            await require_definition(self._kube, self._namespaces[0] if self._namespaces else None, ADAPTER_DEPLOYMENTS)
        if self._governing is not None:
            await self._governing.require_kinds()
        await require_rights(
            self._kube,
            self._namespaces,
            lease_namespace,
            governance=self._governing is not None,
            through_proxy=self._settings.progress_via == "pod-proxy",
            serving=self._serving is not None,
            objects=self._settings.serving and bool(self._settings.inference_image),
        )
        if self._governing is not None:
            await self._governing.require_records()
        self._expose()
        await self._servers.start(self._settings.health_port, self._settings.metrics_port)
        log.info("serving", extra={"health_port": self._servers.health_port, "metrics_port": self._servers.metrics_port})
        try:
            async with asyncio.TaskGroup() as group:
                self._start(group)
        except* StopRequested:
            log.info("stopped")
        finally:
            await self._servers.close()
            await self._reader.close()
            if self._serving is not None:
                await self._serving.close()
            if self._governing is not None:
                await self._governing.close()

    def _start(self, group: asyncio.TaskGroup) -> None:
        begin = partial(self._begin, group)
        begin("pulse", self._pulse.beat())
        for reflector in self._reflectors:
            begin(f"watch of {reflector.resource.plural}", reflector.run())
        if self._leadership is not None:
            begin("leadership", self._leadership.run())
        if self._governing is not None:
            self._governing.watch(begin)
        group.create_task(self._lead(group))
        group.create_task(self._await_stop())

    def _begin(self, group: asyncio.TaskGroup, name: str, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return group.create_task(self._forever(name, part))

    async def _forever(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        await part
        if not self.stop.is_set():
            raise Ended(f"{name} has ended")

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        """Caches first, so that a follower takes over at once, then the Lease, then everything that writes."""
        for reflector in self._reflectors:
            await reflector.synced.wait()
        if self._governing is not None:
            await self._governing.live()
        seconds = time.monotonic() - self._started
        known = {"finetunejobs": len(self._cache.parents), "jobs": len(self._cache.jobs)}
        log.info("caches in sync", extra={"seconds": round(seconds, 2), **known})
        self._metrics.gauge("finetune_sync_seconds", "From the start of the process until every object was known.", lambda: seconds)
        gc.collect()
        gc.freeze()  # caches live as long as the process: full collections need not walk them
        if self._leadership is not None:
            await self._leadership.elected.wait()
            self._kube.fence = self._leadership.check
        if self.stop.is_set():
            return
        begin = partial(self._begin, group)
        begin("sweep", self._sweep.run())
        begin("progress", self._poller.run())
        if self._governing is not None:
            self._governing.start(begin)
        begin("resync", resync(lambda: list(self._cache.parents), self._queue, RESYNC_ALL))
        begin("active resync", resync(lambda: list(self._reconciler.unsettled), self._queue, RESYNC_ACTIVE))
        self._workers = [begin("worker", work(self._queue, self._reconciler, self._metrics)) for _ in range(self._settings.workers)]
        if self._serving is not None:
            self._workers += self._serving.start(begin)
        else:
            begin("deletions of deployments", Unserved(self._kube, self._metrics, self._namespaces).run())
        log.info("in sync", extra={"workers": len(self._workers)})

    async def _await_stop(self) -> None:
        await self.stop.wait()
        log.info("stopping")
        self._queue.close()
        if self._serving is not None:
            self._serving.queue.close()
        if self._workers:
            await asyncio.wait(self._workers, timeout=DRAIN)
        raise StopRequested

    def _child_changed(self, key: Key) -> None:
        """Several changes of one child within an instant are one reconcile."""
        self._queue.add_after(key, COALESCE)

    def _make_reflectors(self) -> list[Reflector]:
        intake = Intake(self._cache.parents, self._queue)
        reflectors = watches_of_jobs(self._kube, self._metrics, self._cache, intake, self._namespaces)
        reflectors += self._governing.reflectors if self._governing is not None else []
        return reflectors + (self._serving.reflectors if self._serving is not None else [])

    def _make_leadership(self) -> Leadership:
        settings = self._settings
        return Leadership(self._kube, namespace=settings.own_namespace(), name=settings.lease_name, identity=self._identity)

    def _remember(self, key: Key, manifest: dict[str, Any]) -> None:
        remember(self._metrics, key, manifest.get("status") or {})
        if self._governing is not None:
            self._governing.standings.job_seen(key, manifest)
        if self._serving is not None:
            self._serving.cache.job_seen(key, manifest)

    def _gone(self, key: Key) -> None:
        self._metrics.forgotten(key.namespace, key.name)
        if self._governing is not None:
            self._governing.standings.job_seen(key, None)
        if self._serving is not None:
            self._serving.cache.job_gone(key)

    def _expose(self) -> None:
        gauge, queue, cache = self._metrics.gauge, self._queue, self._cache
        gauge("finetune_queue_depth", "Keys that wait for a worker.", lambda: len(queue))
        gauge("finetune_queue_delayed", "Keys that wait for their time.", lambda: queue.delayed)
        gauge("finetune_workers_active", "Reconciles in progress.", lambda: queue.working)
        self._metrics.leads = lambda: self._leadership.leads if self._leadership else True
        gauge("finetune_leader", "1 while this process may write.", lambda: float(self._metrics.leads()))
        gauge("finetune_loop_lag_seconds", "How late the event loop was at its last beat.", lambda: self._pulse.lag)
        help_text = "Objects in memory."
        gauge("finetune_cache_objects", help_text, lambda: len(cache.parents), resource="finetunejobs")
        gauge("finetune_cache_objects", help_text, lambda: len(cache.jobs), resource="jobs")
        gauge("finetune_cache_objects", help_text, lambda: len(cache.pods), resource="pods")
        gauge("finetune_cache_objects", help_text, lambda: len(cache.events), resource="events")
        if self._serving is not None:
            self._serving.expose()
        if self._governing is not None:
            self._governing.expose()
        expose_watches(self._metrics, self._reflectors)
