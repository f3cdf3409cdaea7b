"""Gathers one snapshot for a decision about a rollout, from memory alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from finetune_inference.contract import AppliedRoute
from finetune_operator.api.adapterdeployment.spec import CounterProvider
from finetune_operator.api.base import LABEL_DEPLOYMENT, LABEL_SERVING_ROLE, LABEL_VERSION
from finetune_operator.cluster.cache import Key, controller_of
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.selected import selector
from finetune_operator.control.observe import newest, read_warning
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.held import held_versions
from finetune_operator.control.rollout.own_engines import OwnEngines
from finetune_operator.control.rollout.readings import Readings, RouterReading
from finetune_operator.control.rollout.schemas import ReadSchema
from finetune_operator.control.rollout.siblings import summary_of
from finetune_operator.domain import reading
from finetune_operator.domain.children import read_job, read_pod
from finetune_operator.domain.governance.serving import ServingView
from finetune_operator.domain.rollout.observed import (
    Exposure,
    JobArtifact,
    JobAttempt,
    RolloutObserved,
    RolloutSettings,
    Router,
    ServerPod,
    Unmade,
)
from finetune_operator.domain.rollout.places import ROUTER_PLACES, Places, server_places
from finetune_operator.domain.rollout.startup import creation_trouble, startup_trouble
from finetune_operator.manifests.failurepolicy import TRAINER_CONTAINER
from finetune_operator.manifests.names import label_value
from finetune_operator.manifests.serving import CHECK, MERGE, SERVER, MergedModel, merged_model

Warnings = Callable[[str], Iterable[Manifest]]
"""The Warning events about the object of a uid."""
PVC = "pvc://"
_REFUSAL = 1024
"""Characters that are kept of what others say."""
_IDENTITY = 64
"""Characters of a pod's uid and of a router's process that status can hold."""


def observe(
    cache: ServingCache,
    readings: Readings,
    key: Key,
    resource: Manifest,
    settings: RolloutSettings,
    *,
    schema: ReadSchema,
    refusal: str,
    may_probe: bool = True,
    exposure: Exposure | None = None,
    engines: OwnEngines | None = None,
    warnings: Warnings = lambda _uid: (),
    governance: ServingView | None = None,
    now: datetime,
) -> RolloutObserved:
    """Everything known about one AdapterDeployment at this instant; ``engines`` where the user runs them himself."""

    def trouble_of(pod: Manifest) -> str:
        return _trouble_of(pod, places, warnings, now)

    places = server_places(resource)
    job, servers = observed_job(cache, key, resource), cache.servers(key)
    digest = job.digest if job is not None else reading.text(resource.get("spec"), "adapter", "digest")
    return RolloutObserved(
        resource=resource,
        settings=settings,
        job=job,
        standing=cache.artifacts.standing(followed) if (followed := _job_of(key, resource)) is not None else None,
        pods=tuple(
            replace(engines.server_pod(pod) if engines is not None else _server(readings, pod), trouble=trouble_of(pod)) for pod in servers
        ),
        routers=tuple(_router(readings, pod, key, scraped=from_prometheus(resource)) for pod in cache.routers(key.namespace)),
        unmade=tuple(_unmade(cache, key, places)),
        router_trouble=_router_trouble(cache, key.namespace, warnings, now),
        siblings=cache.siblings_of(key),
        evaluated=cache.artifacts.evaluated(key.namespace),
        record=cache.artifacts.record(key.namespace, digest),
        output_schema=schema.text,
        schema_problem=schema.problem,
        selector=_selector(key, resource),
        checks=tuple(_attempts(cache, key, CHECK, resource["metadata"]["uid"], warnings)),
        merges=tuple(_attempts(cache, key, MERGE, resource["metadata"]["uid"], warnings)),
        exposure=exposure if exposure is not None and exposure.generation == resource["metadata"].get("generation") else None,
        refusal=refusal[:_REFUSAL],
        may_probe=may_probe,
        unread=readings.trouble(key),
        governance=governance,
    )


def from_prometheus(resource: Manifest) -> bool:
    """Whether its counters are those that Prometheus has scraped."""
    return reading.text(resource.get("spec"), "analysis", "provider") == CounterProvider.PROMETHEUS.value


def _selector(key: Key, resource: Manifest) -> str:
    labels = summary_of(resource).labels
    return selector(dict(labels)) if labels else f"{LABEL_SERVING_ROLE}={SERVER},{LABEL_DEPLOYMENT}={label_value(key.name)}"


def _attempts(cache: ServingCache, key: Key, role: str, uid: str, warnings: Warnings) -> Iterator[JobAttempt]:
    pods, container = cache.job_pods(key, role), CHECK if role == CHECK else TRAINER_CONTAINER
    for job in cache.jobs_of(key, role, uid):
        job_uid = job["metadata"]["uid"]
        pod = next((each for each in pods if (controller_of(each) or {}).get("uid") == job_uid), None)
        concerned = [job_uid, *([pod["metadata"]["uid"]] if pod is not None else [])]
        complaints = newest(event for each in concerned for event in warnings(each))
        yield JobAttempt(read_job(job), read_pod(pod, container) if pod is not None else None, complaints)


def observed_job(cache: ServingCache, key: Key, resource: Manifest) -> JobArtifact | None:
    """What the FineTuneJob that is followed has to offer."""
    job = _job_of(key, resource)
    return cache.artifacts.of(job) if job is not None else None


def claims_of(cache: ServingCache, key: Key, resource: Manifest) -> list[str]:
    """Claims that hold what the pods are to load now or next.

    A job's destination is among them before anything lies there: else its first artifact would replace all pods.
    """
    wanted = [reading.text(version, "uri") for version in reading.objects(resource.get("status"), "desired", "versions")]
    job = _job_of(key, resource)
    uris = [*wanted, *(cache.artifacts.uris(job) if job is not None else ())]
    return sorted({uri.removeprefix(PVC).partition("/")[0] for uri in uris if uri.startswith(PVC)})


def merged_models(resource: Manifest) -> list[MergedModel] | None:
    """The merged models that are to be served now, in mode Merged; None where nothing has said so yet, or the status was lost."""
    if reading.at(resource, "status", "desired") is None:
        return None
    wanted = reading.objects(resource.get("status"), "desired", "versions")
    named = [(reading.text(version, "name"), reading.text(version, "merged", "uri")) for version in wanted]
    models = [merged_model(name, uri) for name, uri in named if name and uri.startswith(PVC)]
    return models if models or not wanted else None


def _job_of(key: Key, resource: Manifest) -> Key | None:
    name = reading.text(resource.get("spec"), "adapter", "fineTuneJobRef", "name")
    return Key(key.namespace, name) if name else None


def _server(readings: Readings, pod: Manifest) -> ServerPod:
    answer = readings.agent(pod)
    held = held_versions(answer.status) if answer is not None and answer.status is not None else ()
    return ServerPod(pod["metadata"]["name"], held, serves=pod["metadata"]["labels"].get(LABEL_VERSION) or "")


def _unmade(cache: ServingCache, key: Key, places: Places) -> Iterator[Unmade]:
    for found in cache.server_sets(key):
        why = creation_trouble(found, places)
        if why:
            yield Unmade(why, found["metadata"]["labels"].get(LABEL_VERSION) or "")


def _trouble_of(pod: Manifest, places: Places, warnings: Warnings, now: datetime) -> str:
    """All events count: of several with one reason the newest need not be the one that names what is missing."""
    return startup_trouble(pod, places, [read_warning(event) for event in warnings(pod["metadata"]["uid"])], now)


def _router_trouble(cache: ServingCache, namespace: str, warnings: Warnings, now: datetime) -> str:
    for pod in cache.idle_routers(namespace):
        found = _trouble_of(pod, ROUTER_PLACES, warnings, now)
        if found:
            return f"router pod {pod['metadata']['name']}: {found}"
    return next((why for each in cache.router_sets(namespace) if (why := creation_trouble(each, ROUTER_PLACES))), "")


def _router(readings: Readings, pod: Manifest, key: Key, *, scraped: bool) -> Router:
    metadata, answer = pod["metadata"], readings.router(pod)
    if answer is None or answer.acknowledged is None:
        return Router(metadata["uid"], metadata["name"], reachable=False)
    return Router(
        uid=metadata["uid"],
        name=metadata["name"],
        process=answer.acknowledged.process[:_IDENTITY],
        applied=_applied(answer, key),
        samples=readings.samples(key, pod, scraped=scraped),
    )


def _applied(answer: RouterReading, key: Key) -> AppliedRoute | None:
    assert answer.acknowledged is not None
    return next((route for route in answer.acknowledged.routes if route.deployment == key.name), None)
