"""Watches of one process, and what is told about them: which are not in sync yet, and which have been silent for long."""

from collections.abc import Callable, Sequence
from functools import partial

from finetune_operator.api.base import CHILD_NAME, FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_NAME
from finetune_operator.cluster.cache import ClusterCache
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.reflector import Reflector, Sink
from finetune_operator.cluster.resources import CORE_EVENTS, FINETUNE_JOBS, JOBS, PODS, Resource
from finetune_operator.control.intake import Intake
from finetune_operator.runtime.metrics import Metrics

OURS = f"{LABEL_MANAGED_BY}={FIELD_MANAGER},{LABEL_NAME}={CHILD_NAME}"


def watch(kube: KubeApi, metrics: Metrics, sink: Sink, resource: Resource, selection: Selection) -> Reflector:
    """One kind, in one namespace or in all; restarts are counted."""
    return Reflector(kube, sink, resource, selection, on_restart=partial(metrics.watch_restarted, resource.plural))


def watches_of_jobs(kube: KubeApi, metrics: Metrics, cache: ClusterCache, intake: Intake, namespaces: Sequence[str]) -> list[Reflector]:
    """FineTuneJobs, their children, and Warning events; ``namespaces`` are those it looks after, none: all."""
    kinds: tuple[tuple[Resource, Sink, str, str], ...] = (
        (FINETUNE_JOBS, intake, "", ""),
        (JOBS, cache.jobs, OURS, ""),
        (PODS, cache.pods, OURS, ""),
        (CORE_EVENTS, cache.events, "", "type=Warning"),
    )
    return [
        watch(kube, metrics, sink, resource, Selection(namespace=namespace, labels=labels, fields=fields))
        for namespace in namespaces or (None,)
        for resource, sink, labels, fields in kinds
    ]


def not_in_sync(reflectors: Sequence[Reflector]) -> list[str]:
    return [f"{reflector.name} not in sync" for reflector in reflectors if not reflector.synced.is_set()]


def expose_watches(metrics: Metrics, reflectors: Sequence[Reflector]) -> None:
    """One series for each kind: with several namespaces, of the watch that has been silent for longest."""
    by_kind: dict[str, list[Reflector]] = {}
    for reflector in reflectors:
        by_kind.setdefault(reflector.resource.plural, []).append(reflector)
    for plural, watches in by_kind.items():
        metrics.gauge(
            "finetune_watch_last_activity_seconds",
            "Seconds since the watch last brought anything, bookmarks included.",
            partial(_longest, [watch.silent_for for watch in watches]),
            resource=plural,
        )
        metrics.gauge(
            "finetune_list_age_seconds",
            "Seconds since the last complete list; -1 before the first.",
            partial(_longest, [watch.list_age for watch in watches]),
            resource=plural,
        )


def _longest(readings: list[Callable[[], float]]) -> float:
    return max(read() for read in readings)
