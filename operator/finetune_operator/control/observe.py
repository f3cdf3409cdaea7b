"""Gathers one snapshot for a decision, from memory alone."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from finetune_operator.api.base import LABEL_STEP
from finetune_operator.cluster.cache import ClusterCache, Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain.governance.signing import Signing
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.observed import DomainSettings, Observed, PodProgress, Rejection, WarningEvent
from finetune_operator.domain.plan import ObjectReference
from finetune_trainer.contract import Step


def observe(
    cache: ClusterCache,
    key: Key,
    resource: Manifest,
    settings: DomainSettings,
    *,
    answers: Mapping[str, PodProgress],
    rejections: Mapping[ObjectReference, Rejection],
    governance: GovernanceView | None = None,
    signing: Signing | None = None,
) -> Observed:
    """Everything known about one FineTuneJob at this instant."""
    jobs = cache.jobs.of(resource["metadata"]["uid"])
    pods = cache.pods_of(key)
    regarded = [*jobs, *pods]
    return Observed(
        resource=resource,
        settings=settings,
        jobs=tuple(jobs),
        pods=tuple(pods),
        warnings=newest(event for child in regarded for event in cache.events.of(child["metadata"]["uid"])),
        progress=_progress(pods, answers),
        rejections=tuple(rejections.values()),
        governance=governance,
        signing=signing,
    )


def _progress(pods: list[Manifest], answers: Mapping[str, PodProgress]) -> PodProgress | None:
    """The newest answer among this job's train pods."""
    found = [
        answers[pod["metadata"]["uid"]]
        for pod in pods
        if pod["metadata"]["labels"].get(LABEL_STEP) == Step.TRAIN and pod["metadata"]["uid"] in answers
    ]
    return max(found, key=lambda answer: answer.read_at, default=None)


def newest(events: Iterable[Manifest]) -> tuple[WarningEvent, ...]:
    """Of several events of one reason about one object only the newest says something about now."""
    newest: dict[tuple[str, str], WarningEvent] = {}
    for event in events:
        warning = read_warning(event)
        identity = (warning.regarding.uid, warning.reason)
        known = newest.get(identity)
        if known is None or known.last_seen <= warning.last_seen:
            newest[identity] = warning
    return tuple(newest.values())


def read_warning(event: Manifest) -> WarningEvent:
    """An event as the cache keeps it."""
    regarding = event["involvedObject"]
    return WarningEvent(
        regarding=ObjectReference(
            api_version=regarding.get("apiVersion", ""),
            kind=regarding.get("kind", ""),
            namespace=regarding.get("namespace", ""),
            name=regarding.get("name", ""),
            uid=regarding.get("uid", ""),
        ),
        reason=event["reason"],
        message=event["message"],
        last_seen=_moment(event.get("lastSeen")),
    )


def _moment(text: str | None) -> datetime:
    if not text:
        return datetime.fromtimestamp(0, UTC)
    return datetime.fromisoformat(text)
