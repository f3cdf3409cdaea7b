"""What the FineTuneJobs of each namespace have to offer: their artifacts, kept as they pass by on their way into the cache."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final

from pydantic import ValidationError

from finetune_operator.api.adapterdeployment.status import AdapterRecordStatus
from finetune_operator.api.conditions import ConditionType
from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.api.inputs import LicenceStatus, TrainedOn
from finetune_operator.api.reasons import Reason
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.domain import reading
from finetune_operator.domain.governance.serving import united
from finetune_operator.domain.rollout.observed import ArtifactRecord, JobArtifact, JobStanding
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.vocabulary import Level

DIGEST: Final = "sha256:[0-9a-f]{64}"


@dataclass(frozen=True)
class Offer:
    """A job's artifact, where its next one will lie, the digests of its runs whose gate passed, and what is remembered of each artifact.

    ``standing`` is there where it has no artifact: while there is one, a job's progress concerns nobody here.
    """

    artifact: JobArtifact | None = None
    destination: str = ""
    evaluated: frozenset[str] = frozenset()
    records: tuple[tuple[str, ArtifactRecord], ...] = ()
    standing: JobStanding | None = None
    governed: tuple[AdapterRecordStatus, ...] = ()
    """What governance knows of its adapters; empty where it has no say."""


class Artifacts:
    """By namespace and job; what governance knows of adapters also by their digests, whoever made them and wherever they are served."""

    def __init__(self) -> None:
        self._offers: dict[str, dict[str, Offer]] = {}
        self._governed: dict[str, dict[Key, AdapterRecordStatus]] = {}

    def remember(self, key: Key, job: Manifest) -> bool:
        """True where the job offers something else than before, or was not known."""
        offer, known = offer_of(job), self._offers.get(key.namespace, {})
        if offer == known.get(key.name):
            return False
        self._index(key, offer)
        self._offers.setdefault(key.namespace, {})[key.name] = offer
        return True

    def forget(self, key: Key) -> bool:
        """True where the job was known. A deleted job's artifact is nobody's word any more."""
        self._index(key, Offer())
        return self._offers.get(key.namespace, {}).pop(key.name, None) is not None

    def known(self, digests: Iterable[str]) -> dict[str, AdapterRecordStatus]:
        """What governance knows of these adapters: of one that several jobs have made, all that any of them says."""
        found = {digest: self._governed.get(digest, {}) for digest in digests}
        return {digest: reduce(united, by_job.values()) for digest, by_job in found.items() if by_job}

    def _index(self, key: Key, offer: Offer) -> None:
        before = self._offers.get(key.namespace, {}).get(key.name, Offer())
        for each in before.governed:
            self._governed.get(each.digest, {}).pop(key, None)
            if not self._governed.get(each.digest):
                self._governed.pop(each.digest, None)
        for each in offer.governed:
            self._governed.setdefault(each.digest, {})[key] = each

    def of(self, key: Key) -> JobArtifact | None:
        return self._offers.get(key.namespace, {}).get(key.name, Offer()).artifact

    def standing(self, key: Key) -> JobStanding | None:
        """How a job stands that has no artifact; None where there is no such job."""
        return self._offers.get(key.namespace, {}).get(key.name, Offer()).standing

    def uris(self, key: Key) -> tuple[str, ...]:
        """Where the job's artifact lies, and the next one will."""
        offer = self._offers.get(key.namespace, {}).get(key.name, Offer())
        return (*([offer.artifact.uri] if offer.artifact is not None else []), offer.destination)

    def evaluated(self, namespace: str) -> frozenset[str]:
        """Digests of this namespace's artifacts whose gate passed."""
        return frozenset(digest for offer in self._offers.get(namespace, {}).values() for digest in offer.evaluated)

    def record(self, namespace: str, digest: str) -> ArtifactRecord:
        """What the job that made this artifact remembers of it."""
        records = (record for offer in self._offers.get(namespace, {}).values() for known, record in offer.records if known == digest)
        return next(records, ArtifactRecord())


def offer_of(job: Manifest) -> Offer:
    """Read off a job's status, however odd it is."""
    status = job.get("status")
    published = reading.at(status, "artifact")
    runs = list(_runs(status))
    passed = frozenset(_digest(run) for run in runs if reading.text(run, "gate") == Reason.GATE_PASSED.value) - {""}
    uri, digest = reading.text(published, "uri"), reading.text(published, "digest")
    records = {_digest(run): _record(job, run) for run in runs if _digest(run)}
    destination = reading.text(job.get("spec"), "artifact", "uri")
    artifact = JobArtifact(uri, digest, gated=digest in passed) if uri and digest else None
    standing = _standing(job) if artifact is None else None
    return Offer(artifact, destination, passed, tuple(sorted(records.items())), standing, tuple(_governed(job, runs)))


def _governed(job: Manifest, runs: Iterable[Mapping[str, Any]]) -> Iterator[AdapterRecordStatus]:
    """Of each of its adapters, if the job is governed: the classification of all that it ever was let pass with, and its data.

    What cannot be read, because another version wrote it, counts as the highest level.
    """
    status, metadata = job.get("status"), job.get("metadata")
    governance = reading.at(status, "governance")
    if governance is None:
        return
    classification = _classification(reading.at(governance, "classification"))
    namespace = reading.text(metadata, "namespace")
    obliged = [reading.text(each, "licence")[:128] for each in reading.objects(status, "artifact", "obligations")]
    for run in runs:
        digest, used = _digest(run), _trained_on(reading.at(run, "inputs", "dataset"), namespace)
        if not re.fullmatch(DIGEST, digest):
            continue
        proof = Proof.VALID if reading.at(run, "record") is not None else Proof.ABSENT
        yield AdapterRecordStatus(
            digest=digest,
            classification=classification,
            data=[used] if used is not None else [],
            licences=list(_licences(run)),
            obligations=[each for each in dict.fromkeys(obliged) if each][:16],
            signature=proof,  # of the operator's own making; agents verify it beside the files
            record=proof,
        )


def _licences(run: Mapping[str, Any]) -> Iterator[LicenceStatus]:
    for each in reading.objects(run, "inputs", "baseModel", "licences")[:8]:
        try:
            yield LicenceStatus.model_validate(each)
        except ValidationError:
            continue


def _classification(stored: Any) -> ClassificationStatus:
    try:
        return ClassificationStatus.model_validate(stored)
    except ValidationError:
        return ClassificationStatus(level=Level.RESTRICTED)


def _trained_on(stored: Any, namespace: str) -> TrainedOn | None:
    if not isinstance(stored, Mapping):
        return None
    try:
        return TrainedOn.model_validate({**stored, "namespace": namespace})
    except ValidationError:
        return None


def _standing(job: Manifest) -> JobStanding:
    """What its status says of an earlier generation holds no more: the operator is about to look at the newest."""
    status = job.get("status")
    phase, observed = reading.text(status, "phase"), reading.integer(status, "observedGeneration")
    stalled = next((each for each in reading.objects(status, "conditions") if each.get("type") == ConditionType.STALLED.value), {})
    if stalled.get("status") != "True" or observed != reading.integer(job.get("metadata"), "generation"):
        return JobStanding(phase)
    return JobStanding(phase, True, reading.text(stalled, "reason"), reading.text(stalled, "message"))


def _record(job: Manifest, run: Mapping[str, Any]) -> ArtifactRecord:
    """The tuner is told by the job's spec, which is the run's as long as the accepted key of its generation is the run's key."""
    accepted = reading.at(job.get("status"), "accepted")
    base = ArtifactRecord(reading.text(run, "inputs", "baseDigest"), reading.text(run, "inputs", "baseUri"))
    generation = reading.integer(job.get("metadata"), "generation")
    unchanged = generation is not None and reading.integer(accepted, "generation") == generation
    if not unchanged or not reading.text(run, "key") or reading.text(accepted, "key") != reading.text(run, "key"):
        return base
    tuner, saved = reading.at(job.get("spec"), "tuner"), reading.at(job.get("spec"), "tuner", "lora", "modulesToSave")
    return replace(base, tuner=reading.text(tuner, "type"), rank=reading.integer(tuner, "lora", "rank"), saves_modules=bool(saved))


def _runs(status: Any) -> Iterator[Mapping[str, Any]]:
    yield from reading.objects(status, "history")
    current = reading.at(status, "currentRun")
    if isinstance(current, Mapping):
        yield current


def _digest(run: Mapping[str, Any]) -> str:
    return reading.text(run, "artifactDigest") or reading.text(run, "adapterDigest")
