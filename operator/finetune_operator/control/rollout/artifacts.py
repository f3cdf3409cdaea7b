"""What the FineTuneJobs of each namespace have to offer: their artifacts, kept as they pass by on their way into the cache."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finetune_operator.api.reasons import Reason
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.observed import JobArtifact


@dataclass(frozen=True)
class Offer:
    """A job's artifact, where its next one will lie, and the digests of all its runs whose gate passed."""

    artifact: JobArtifact | None = None
    destination: str = ""
    evaluated: frozenset[str] = frozenset()


class Artifacts:
    """By namespace and job."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[str, Offer]] = {}

    def remember(self, key: Key, job: Manifest) -> bool:
        """True where the job offers something else than before."""
        offer, known = offer_of(job), self._offers.get(key.namespace, {})
        if offer == known.get(key.name, Offer()):
            return False
        self._offers.setdefault(key.namespace, {})[key.name] = offer
        return True

    def forget(self, key: Key) -> bool:
        """True where the job offered something. A deleted job's artifact is nobody's word any more."""
        return self._offers.get(key.namespace, {}).pop(key.name, None) is not None

    def of(self, key: Key) -> JobArtifact | None:
        return self._offers.get(key.namespace, {}).get(key.name, Offer()).artifact

    def uris(self, key: Key) -> tuple[str, ...]:
        """Where the job's artifact lies, and the next one will."""
        offer = self._offers.get(key.namespace, {}).get(key.name, Offer())
        return (*([offer.artifact.uri] if offer.artifact is not None else []), offer.destination)

    def evaluated(self, namespace: str) -> frozenset[str]:
        """Digests of this namespace's artifacts whose gate passed."""
        return frozenset(digest for offer in self._offers.get(namespace, {}).values() for digest in offer.evaluated)


def offer_of(job: Manifest) -> Offer:
    """Read off a job's status, however odd it is."""
    status = job.get("status")
    artifact = reading.at(status, "artifact")
    runs = list(_runs(status))
    passed = frozenset(_digest(run) for run in runs if reading.text(run, "gate") == Reason.GATE_PASSED.value) - {""}
    uri, digest = reading.text(artifact, "uri"), reading.text(artifact, "digest")
    destination = reading.text(job.get("spec"), "artifact", "uri")
    return Offer(JobArtifact(uri, digest, gated=digest in passed) if uri and digest else None, destination, passed)


def _runs(status: Any) -> Iterator[Mapping[str, Any]]:
    yield from reading.objects(status, "history")
    current = reading.at(status, "currentRun")
    if isinstance(current, Mapping):
        yield current


def _digest(run: Mapping[str, Any]) -> str:
    return reading.text(run, "artifactDigest") or reading.text(run, "adapterDigest")
