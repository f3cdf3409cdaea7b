"""One operator process: what it consists of, in which order it starts, and how it ends.

Any part that ends ends the process, with a status that makes Kubernetes start it again; nothing limps on without its watch or its leader.
A request to stop lets work in progress finish, gives the Lease back and is over within 20 seconds.
"""

import asyncio
import gc
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from finetune_operator.api.base import CHILD_NAME, FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_NAME
from finetune_operator.cluster.cache import ClusterCache, Key, Store
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.progress import DirectReader, ProxyReader
from finetune_operator.cluster.reflector import Reflector
from finetune_operator.cluster.resources import (
    ADAPTER_DEPLOYMENTS,
    APPROVALS,
    CORE_EVENTS,
    FINETUNE_JOBS,
    GOVERNANCE_FACTS,
    GOVERNANCE_POLICIES,
    JOBS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    TRAINING_DATASETS,
    Resource,
)
from finetune_operator.control.current import CurrentFacts
from finetune_operator.control.egress import EgressControl
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.intake import Intake
from finetune_operator.control.leader import Leadership
from finetune_operator.control.progress import ProgressPoller
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.reconciler import Reconciler
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.resync import RESYNC_ACTIVE, RESYNC_ALL, Sweep, resync
from finetune_operator.control.standings import Standings
from finetune_operator.control.transitions import remember
from finetune_operator.control.worker import work
from finetune_operator.domain.decide import decide
from finetune_operator.domain.observed import DomainSettings
from finetune_operator.runtime.health import Health, Pulse, Servers
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.preflight import PreflightFailed, reach, require_definition, require_rights
from finetune_operator.runtime.records import Records
from finetune_operator.runtime.serving import Serving
from finetune_operator.runtime.settings import Settings
from finetune_operator.runtime.unserved import Unserved

log = logging.getLogger(__name__)

DRAIN: Final = 12.0
"""Seconds that reconciles in progress get to end after a request to stop."""
COALESCE: Final = 0.05
"""Seconds that a change of a child waits for the next one."""
OURS: Final = f"{LABEL_MANAGED_BY}={FIELD_MANAGER},{LABEL_NAME}={CHILD_NAME}"
KEY_BYTES: Final = 32


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
        self._governance = (
            GovernanceCache(self._cache.parents, self._child_changed, settings.site(), by_namespace=bool(self._namespaces))
            if settings.governance
            else None
        )
        self._standings = (
            Standings(kube, self._governance, policies=not self._namespaces, pace=settings.governance_status_seconds)
            if self._governance is not None
            else None
        )
        self._records = (
            Records(settings, kube, metrics, self._governance.cluster, self._child_changed)
            if self._governance is not None and settings.signing_key is not None
            else None
        )
        if self._governance is not None and self._records is None:
            log.warning("no --signing-key: what governed runs make is published unsigned, and nothing is recorded")
        self._control = self._make_control(settings)
        self._current = CurrentFacts(kube, self._governance, self._namespaces) if self._governance is not None else None
        self._reconciler = Reconciler(
            kube,
            self._cache,
            decide,
            governance=self._governance,
            notary=self._records.notary if self._records is not None else None,
            settings=domain,
            recorder=Recorder(kube, instance=self._identity),
            poller=self._poller,
            measures=metrics,
        )
        warnings = self._cache.events.of
        self._serving = (
            Serving(settings, kube, metrics, self._identity, warnings, governance=self._governance) if settings.serving else None
        )
        if self._serving is not None and self._standings is not None:
            self._serving.cache.noted = self._standings.deployment_seen
        self._reflectors = self._make_reflectors()
        self._sweep = Sweep(kube, self._cache.parents, self._queue, self._namespaces)
        self._leadership = self._make_leadership() if settings.leader_elect else None
        self._pulse = Pulse()
        attempts = {reflector.name: reflector.last_attempted for reflector in self._reflectors}
        self._servers = Servers(settings.health_address, Health(self._pulse, attempts, self._not_ready), metrics)
        self._workers: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Raises `PreflightFailed` before anything has started, or the error of the part that ended."""
        await reach(self._kube, self._namespaces[0] if self._namespaces else None)
        lease_namespace = self._settings.own_namespace() if self._settings.leader_elect else None
        if self._serving is not None:
            await require_definition(self._kube, self._namespaces[0] if self._namespaces else None, ADAPTER_DEPLOYMENTS)
        if self._governance is not None:
            for kind in (GOVERNANCE_POLICIES, TRAINING_DATASETS, APPROVALS, GOVERNANCE_FACTS):
                await require_definition(self._kube, self._namespaces[0] if self._namespaces and kind.namespaced else None, kind)
        await require_rights(
            self._kube,
            self._namespaces,
            lease_namespace,
            governance=self._governance is not None,
            through_proxy=self._settings.progress_via == "pod-proxy",
            serving=self._serving is not None,
            objects=self._settings.serving and bool(self._settings.inference_image),
        )
        if self._records is not None:
            await self._records.require()
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

    def _start(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self._forever("pulse", self._pulse.beat()))
        for reflector in self._reflectors:
            group.create_task(self._forever(f"watch of {reflector.resource.plural}", reflector.run()))
        self._leader_task = group.create_task(self._forever("leadership", self._leadership.run())) if self._leadership else None
        if self._control is not None:
            group.create_task(self._forever("control of egress probes", self._control.run()))
        group.create_task(self._lead(group))
        group.create_task(self._await_stop())

    async def _forever(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        await part
        if not self.stop.is_set():
            raise Ended(f"{name} has ended")

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        """Caches first, so that a follower takes over at once, then the Lease, then everything that writes."""
        for reflector in self._reflectors:
            await reflector.synced.wait()
        if self._control is not None:
            await self._control.tried.wait()
        if self._governance is not None:
            self._governance.live()
        if self._records is not None:
            self._records.live()
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
        group.create_task(self._forever("sweep", self._sweep.run()))
        group.create_task(self._forever("progress", self._poller.run()))
        if self._standings is not None:
            group.create_task(self._forever("standings", self._standings.run()))
        if self._current is not None:
            group.create_task(self._forever("facts for admission", self._current.run()))
        group.create_task(self._forever("resync", resync(lambda: list(self._cache.parents), self._queue, RESYNC_ALL)))
        group.create_task(self._forever("active resync", resync(lambda: list(self._reconciler.unsettled), self._queue, RESYNC_ACTIVE)))
        self._workers = [
            group.create_task(self._forever("worker", work(self._queue, self._reconciler, self._metrics)))
            for _ in range(self._settings.workers)
        ]
        if self._serving is not None:
            self._workers += self._serving.start(lambda name, part: group.create_task(self._forever(name, part)))
        else:
            group.create_task(self._forever("deletions of deployments", Unserved(self._kube, self._metrics, self._namespaces).run()))
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
        cache, metrics = self._cache, self._metrics
        intake = Intake(cache.parents, self._queue)
        kinds = (
            (FINETUNE_JOBS, intake, "", ""),
            (JOBS, cache.jobs, OURS, ""),
            (PODS, cache.pods, OURS, ""),
            (CORE_EVENTS, cache.events, "", "type=Warning"),
        )
        reflectors = [
            Reflector(
                self._kube,
                store,
                resource,
                Selection(namespace=namespace, labels=labels, fields=fields),
                on_restart=partial(metrics.watch_restarted, resource.plural),
            )
            for namespace in self._namespaces or (None,)
            for resource, store, labels, fields in kinds
        ]
        reflectors += self._governance_reflectors(self._governance) if self._governance is not None else []
        reflectors += self._records.reflectors if self._records is not None else []
        return reflectors + (self._serving.reflectors if self._serving is not None else [])

    def _governance_reflectors(self, cache: GovernanceCache) -> list[Reflector]:
        namespaces = self._namespaces or (None,)
        watched: list[tuple[Resource, Store, str | None, str]] = [
            (NAMESPACES, cache.namespaces, None, ""),
            (GOVERNANCE_POLICIES, cache.policies, None, ""),
            (NODES, cache.nodes, None, ""),
        ]
        for namespace in namespaces:
            watched += [
                (TRAINING_DATASETS, cache.datasets, namespace, ""),
                (APPROVALS, cache.approvals, namespace, ""),
                (NETWORK_POLICIES, cache.network_policies, namespace, OURS),
            ]
        if self._current is not None:
            watched += [(GOVERNANCE_FACTS, self._current.stored, namespace, "") for namespace in namespaces]
        return [
            Reflector(
                self._kube,
                store,
                resource,
                Selection(namespace=namespace, labels=labels),
                on_restart=partial(self._metrics.watch_restarted, resource.plural),
            )
            for resource, store, namespace, labels in watched
        ]

    def _make_control(self, settings: Settings) -> EgressControl | None:
        """The positive control of egress probes, where there are any."""
        if self._governance is None or not settings.egress_probe_target:
            return None
        control = EgressControl(settings.egress_probe_target, self._governance.ask_again)
        self._governance.target_reached = lambda: control.reached
        return control

    def _make_leadership(self) -> Leadership:
        settings = self._settings
        return Leadership(self._kube, namespace=settings.own_namespace(), name=settings.lease_name, identity=self._identity)

    def _not_ready(self) -> list[str]:
        return [f"{reflector.name} not in sync" for reflector in self._reflectors if not reflector.synced.is_set()]

    def _remember(self, key: Key, manifest: dict[str, Any]) -> None:
        remember(self._metrics, key, manifest.get("status") or {})
        if self._standings is not None:
            self._standings.job_seen(key, manifest)
        if self._serving is not None:
            self._serving.cache.job_seen(key, manifest)

    def _gone(self, key: Key) -> None:
        self._metrics.forgotten(key.namespace, key.name)
        if self._standings is not None:
            self._standings.job_seen(key, None)
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
        if self._standings is not None:
            self._expose_standings(self._standings)
        self._expose_watches()

    def _expose_standings(self, standings: Standings) -> None:
        """Of the leader: a follower knows the same jobs, and two that tell would be counted twice."""
        leads = self._metrics.leads
        text = "FineTuneJobs that wait for people to approve or to waive."
        self._metrics.gauge("finetune_governance_approvals_waiting", text, lambda: standings.waiting if leads() else 0)
        text = "What auditing policies would hold, among the FineTuneJobs that exist now."
        self._metrics.gauge("finetune_governance_audit_findings", text, lambda: standings.audited if leads() else 0)

    def _expose_watches(self) -> None:
        """One series for each kind: with several namespaces, of the watch that has been silent for longest."""
        by_kind: dict[str, list[Reflector]] = {}
        for reflector in self._reflectors:
            by_kind.setdefault(reflector.resource.plural, []).append(reflector)
        for plural, watches in by_kind.items():
            self._metrics.gauge(
                "finetune_watch_last_activity_seconds",
                "Seconds since the watch last brought anything, bookmarks included.",
                partial(_longest, [watch.silent_for for watch in watches]),
                resource=plural,
            )
            self._metrics.gauge(
                "finetune_list_age_seconds",
                "Seconds since the last complete list; -1 before the first.",
                partial(_longest, [watch.list_age for watch in watches]),
                resource=plural,
            )


def _longest(readings: list[Callable[[], float]]) -> float:
    return max(read() for read in readings)


def domain_settings(settings: Settings) -> DomainSettings:
    """What decisions may know of the installation. Raises `PreflightFailed` for a key file that cannot be used."""
    return DomainSettings(
        trainer_image=settings.trainer_image,
        progress_key=_progress_key(settings),
        image_pull_secrets=tuple(settings.image_pull_secret),
        image_pull_policy=settings.image_pull_policy,
        finished_job_ttl_seconds=settings.finished_job_ttl_seconds,
        operator_namespace=settings.own_namespace(),
        egress_probe=settings.egress_probe(),
        progress_write_seconds=settings.progress_seconds,
        retry_base_seconds=settings.retry_base_seconds,
        retry_cap_seconds=settings.retry_cap_seconds,
    )


def _progress_key(settings: Settings) -> bytes:
    path = settings.progress_key_file
    if path is None:
        log.warning("no --progress-key-file: runs that began before this start will show no progress")
        return secrets.token_bytes(KEY_BYTES)
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise PreflightFailed(f"cannot read --progress-key-file {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise PreflightFailed(f"--progress-key-file {path} holds {len(key)} bytes; it needs {KEY_BYTES} random bytes or more")
    return key
