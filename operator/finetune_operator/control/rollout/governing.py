"""Governance of what serves, as the cache has it: what a decision may know, and the labels that everything carries."""

from collections.abc import Mapping
from typing import Any, Final

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import UNCLASSIFIED, Sensitivity
from finetune_operator.control.rollout.siblings import stored_classification
from finetune_operator.domain import reading
from finetune_operator.domain.governance.serving import ServingView, highest
from finetune_operator.domain.rollout.governing import labelled_as
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.manifests.labels import classification_labels

_NAMED: Final = (("status", "retained"), ("status", "history"), ("status", "checked"))


def view_of(
    governance: GovernanceCache | None, cache: ServingCache, key: Key, resource: Manifest, grace_seconds: float
) -> ServingView | None:
    """None where nobody looks after governance."""
    if governance is None:
        return None
    external = reading.at(resource.get("spec"), "server", "external") is not None
    labels = {tuple(sorted((pod["metadata"].get("labels") or {}).items())) for pod in cache.servers(key)} if external else set()
    return governance.serving_view(
        key,
        adapters=cache.artifacts.known(_digests(cache, key, resource)),
        server_labels=tuple(dict(each) for each in sorted(labels)),
        grace_seconds=grace_seconds,
    )


def sensitivity_of(cache: ServingCache, key: Key, resource: Manifest) -> Sensitivity:
    """By what is stored, so that all deployments of a namespace say the same of what they share."""
    own = stored_classification(resource)
    shared = [each for each in cache.siblings.classifications(key.namespace) if each is not None]
    if own is None and not shared:
        return UNCLASSIFIED
    return Sensitivity(classification_labels(own), classification_labels(highest(shared) if shared else None))


def is_labelled(observed: RolloutObserved, resource: Manifest) -> bool:
    """Whether the status says already how sensitive it is what is let pass now."""
    wanted = labelled_as(observed)
    return wanted is None or wanted == stored_classification(resource)


def _digests(cache: ServingCache, key: Key, resource: Mapping[str, Any]) -> set[str]:
    """Of every version that a decision may be about."""
    job = reading.text(resource.get("spec"), "adapter", "fineTuneJobRef", "name")
    artifact = cache.artifacts.of(Key(key.namespace, job)) if job else None
    found = {artifact.digest} if artifact is not None else set()
    found |= {reading.text(resource.get("spec"), "adapter", "digest")}
    found |= {reading.text(resource.get("status"), part, "digest") for part in ("stable", "rollout")}
    for path in _NAMED:
        found |= {reading.text(each, "digest") for each in reading.objects(resource, *path)}
    return found - {""}
