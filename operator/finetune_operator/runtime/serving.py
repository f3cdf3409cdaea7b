"""What looks after AdapterDeployments in an operator process: a queue, watches and workers beside those of FineTuneJobs.

They share the connection to the API server, the leader's fence and the metrics, and nothing else: a slow pod holds up no training.
"""

import logging
from functools import partial
from typing import Any, Final

from finetune_operator.api.base import LABEL_SERVING_ROLE
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.engines import Engines
from finetune_operator.cluster.kube import KubeApi, Manifest, Selection
from finetune_operator.cluster.prometheus import PrometheusClient
from finetune_operator.cluster.reflector import Reflector
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, DEPLOYMENTS, JOBS, NAMESPACES, PODS
from finetune_operator.cluster.secrets import NamespaceSecret
from finetune_operator.cluster.selected import SelectedPods
from finetune_operator.cluster.serving import PodClient
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.intake import Intake
from finetune_operator.control.prometheus import PrometheusSource
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.resync import Sweep
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.endings import Endings
from finetune_operator.control.rollout.exposures import Exposures
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.objects import InstalledObjects
from finetune_operator.control.rollout.observe import Warnings
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.reconciler import RolloutReconciler
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.control.rollout.scraped import Scraped
from finetune_operator.control.worker import work
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.decide import decide
from finetune_operator.domain.rollout.observed import RolloutSettings
from finetune_operator.manifests.serving import (
    AGENT_PORT,
    CHECK,
    ENGINE_KEY_ENTRY,
    ENGINE_KEY_SECRET,
    MERGE,
    ROUTER,
    ROUTER_ADMIN_PORT,
    ROUTER_PORT,
    SERVER,
    ServingSettings,
)
from finetune_operator.runtime.metrics import Metrics
from finetune_operator.runtime.parts import StartTask
from finetune_operator.runtime.records import record_keys
from finetune_operator.runtime.rollout_metrics import RolloutMetrics
from finetune_operator.runtime.settings import Settings, peers_of
from finetune_operator.runtime.watches import watch

log = logging.getLogger(__name__)

PODS_OF_SERVING: Final = f"{LABEL_SERVING_ROLE} in ({SERVER},{ROUTER},{CHECK},{MERGE})"
SETS_OF_SERVING: Final = f"{LABEL_SERVING_ROLE} in ({SERVER},{ROUTER})"
JOBS_OF_SERVING: Final = f"{LABEL_SERVING_ROLE} in ({CHECK},{MERGE})"
COALESCE: Final = 0.05
"""Seconds that a change of a pod waits for the next one."""


class Serving:
    """The parts, wired together; `Process` runs them, and knows the Warning events about an object of a uid."""

    def __init__(
        self,
        settings: Settings,
        kube: KubeApi,
        metrics: Metrics,
        identity: str,
        warnings: Warnings,
        *,
        governance: GovernanceCache | None,
    ) -> None:
        namespaces = tuple(settings.namespace)
        installed = serving_settings(settings)
        objects = InstalledObjects(installed) if installed is not None else None
        self._settings = settings
        self._metrics = metrics
        self._measures = RolloutMetrics(metrics)
        self.queue: WorkQueue[Key] = WorkQueue(metrics)
        self._client = PodClient(router_port=ROUTER_ADMIN_PORT, agent_port=AGENT_PORT, inference_port=ROUTER_PORT)
        self._prober = Prober(self._client, self._pin_token, sent=self._measures.probe_sent)
        server = settings.prometheus_server
        self._prometheus = PrometheusClient(server) if server is not None else None
        source = PrometheusSource(self._prometheus, settings.rollout_prometheus_freshness_seconds) if self._prometheus is not None else None
        self._readings = Readings(self._client, scraped=Scraped(source, read=self._measures.prometheus_read), read=self._measures.pod_read)
        self._pushes = Pushes(
            Engines(),
            NamespaceSecret(kube, ENGINE_KEY_SECRET, ENGINE_KEY_ENTRY),
            wake=self._changed,
            fence=partial(_pass_fence, kube),
            read=self._measures.pod_read,
            pushed=self._measures.pushed,
        )
        self._selected = SelectedPods(kube, self._changed, gone=self._pushes.drop, on_restart=partial(metrics.watch_restarted, PODS.plural))
        self.cache = ServingCache(
            self._changed, seen=self._seen, pod_gone=self._readings.drop, by_namespace=bool(namespaces), selected=self._selected
        )
        self._endings = Endings(self.cache.wake_all_of)
        self._reconciler = RolloutReconciler(
            kube,
            self.cache,
            decide,
            readings=self._readings,
            schemas=Schemas(kube),
            children=Children(kube, objects) if objects is not None else None,
            jobs=Jobs(kube, objects) if objects is not None else None,
            exposures=Exposures(kube, objects),
            prober=self._prober,
            pushes=self._pushes,
            recorder=Recorder(kube, instance=identity, kind=ADAPTER_DEPLOYMENTS),
            measures=self._measures,
            settings=rollout_settings(settings),
            warnings=warnings,
            governance=governance,
            rest_seconds=settings.rollout_rest_seconds,
            audit_seconds=settings.rollout_audit_seconds,
            is_ending=governance.is_ending if governance is not None else lambda namespace: namespace in self._endings,
        )
        if governance is not None:
            governance.also_tell(self.cache.deployments, self._changed)
        self._sweep = Sweep(kube, self.cache.deployments, self.queue, namespaces, kind=ADAPTER_DEPLOYMENTS)
        self.reflectors = self._make_reflectors(kube, namespaces)
        if objects is not None and governance is None and not namespaces:
            self.reflectors.append(watch(kube, metrics, self._endings.namespaces, NAMESPACES, Selection()))

    def start(self, begin: StartTask) -> list[Any]:
        """Everything that writes; the tasks of the workers, which end last."""
        begin("sweep of deployments", self._sweep.run())
        begin("watches of selected pods", self._selected.run())
        begin("pushes", self._pushes.run())
        return [begin("rollout worker", work(self.queue, self._reconciler, self._measures)) for _ in range(self._settings.rollout_workers)]

    async def close(self) -> None:
        await self._prober.close()
        await self._pushes.close()
        await self._selected.close()
        await self._client.close()
        if self._prometheus is not None:
            await self._prometheus.close()

    def expose(self) -> None:
        """Gauges, in the families of the process."""
        gauge, help_text = self._metrics.gauge, "Objects in memory."
        gauge("finetune_cache_objects", help_text, lambda: len(self.cache.deployments), resource="adapterdeployments")
        gauge("finetune_cache_objects", help_text, lambda: len(self.cache.pods), resource="serving pods")
        gauge("finetune_cache_objects", help_text, lambda: len(self._selected), resource="selected pods")
        gauge("finetune_rollout_queue_depth", "Deployments that wait for a worker.", lambda: len(self.queue))

    def _pin_token(self) -> str:
        """Read anew for every round: a mounted Secret changes under the process."""
        path = self._settings.rollout_pin_token_file
        try:
            return path.read_text(encoding="utf-8").strip() if path is not None else ""
        except OSError as error:
            log.warning("cannot read --rollout-pin-token-file: %s", error.strerror)
            return ""

    def _changed(self, key: Key) -> None:
        if key in self.cache.deployments:
            self.queue.add_after(key, COALESCE)

    def _seen(self, key: Key, manifest: Manifest) -> None:
        self._measures.stage_is(key.namespace, key.name, reading.text(manifest.get("status"), "rollout", "stage"))

    def _make_reflectors(self, kube: KubeApi, namespaces: tuple[str, ...]) -> list[Reflector]:
        intake = Intake(self.cache.deployments, self.queue)
        kinds = (
            (ADAPTER_DEPLOYMENTS, intake, ""),
            (PODS, self.cache.pods, PODS_OF_SERVING),
            (JOBS, self.cache.jobs, JOBS_OF_SERVING),
            (DEPLOYMENTS, self.cache.sets, SETS_OF_SERVING),
        )
        return [
            watch(kube, self._metrics, store, resource, Selection(namespace=namespace, labels=labels))
            for namespace in namespaces or (None,)
            for resource, store, labels in kinds
        ]


def _pass_fence(kube: KubeApi) -> None:
    """The fence as it is then: it is set once this process leads."""
    kube.fence()


def rollout_settings(settings: Settings) -> RolloutSettings:
    """What decisions about rollouts may know of the installation."""
    return RolloutSettings(
        look_seconds=settings.rollout_look_seconds,
        poll_seconds=settings.rollout_poll_seconds,
        unload_seconds=settings.rollout_unload_seconds,
        retry_base_seconds=settings.retry_base_seconds,
        retry_cap_seconds=settings.retry_cap_seconds,
        grace_seconds=settings.governance_grace_seconds,
        record_keys=record_keys(settings) if settings.governance else (),
        checks_files=bool(settings.inference_image),
    )


def serving_settings(settings: Settings) -> ServingSettings | None:
    """What the pods of serving are made with; None where somebody else makes them."""
    if not settings.inference_image:
        return None
    return ServingSettings(
        inference_image=settings.inference_image,
        trainer_image=settings.trainer_image,
        finished_job_ttl_seconds=settings.finished_job_ttl_seconds,
        image_pull_policy=settings.image_pull_policy,
        image_pull_secrets=tuple(settings.image_pull_secret),
        default_vllm_image=settings.vllm_image,
        router_replicas=settings.router_replicas,
        router_workers=settings.router_workers,
        require_api_keys=settings.router_require_api_keys,
        pin_secret=settings.router_pin_secret,
        network_policies=settings.serving_network_policies,
        reads_records=settings.governance,
        record_keys=record_keys(settings) if settings.governance else (),
        operator_namespace=settings.own_namespace(),
        clients_from=peers_of(settings.serving_clients_from),
        metrics_from=peers_of(settings.serving_metrics_from),
        api_server_ports=tuple(settings.serving_api_server_port),
        api_server_cidrs=tuple(settings.serving_api_server_cidr),
    )
