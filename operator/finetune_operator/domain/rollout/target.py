"""Which version the spec asks for, or why there is none to roll out.

Nothing in here touches a pod: what is refused here was never loaded anywhere.
"""

import re
from dataclasses import dataclass

from finetune_inference.contract import version_name
from finetune_operator.api.adapterdeployment.reasons import OF_GOVERNANCE, Reason
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, Promotion
from finetune_operator.api.adapterdeployment.status import RetainedVersion, VersionStatus
from finetune_operator.domain.rollout.compatibility import incompatibility, short_digest
from finetune_operator.domain.rollout.followed import why_no_artifact
from finetune_operator.domain.rollout.observed import RolloutObserved, Sibling
from finetune_operator.domain.rollout.rulings import Version, memory_of, ruling_on
from finetune_operator.domain.rollout.subject import Subject, read_subject
from finetune_operator.domain.subject import Mistakes

_DIGEST = "sha256:[0-9a-f]{64}"


_SWITCHED_OFF = "the deployment is governed, and this operator does not look after governance. Install with governance.enabled."
REFUSED = (
    *(Reason.ALIAS_TAKEN, Reason.NOT_EVALUATED, Reason.INCOMPATIBLE, Reason.INVALID_SPEC, Reason.GOVERNANCE_OFF),
    *sorted(OF_GOVERNANCE),
)
"""Only another spec helps, or another world: nothing is made for it, and no pod is touched."""


@dataclass(frozen=True)
class Target:
    """A version that may be rolled out."""

    version: str
    digest: str
    uri: str


@dataclass(frozen=True)
class NoTarget:
    """Why there is none. ``denied`` is the version that there would be, were it not for governance."""

    reason: Reason
    message: str
    denied: Version | None = None


def is_refused(observed: RolloutObserved) -> bool:
    """Whether what is asked for may not be served at all, so that it needs no servers."""
    subject = read_subject(observed.resource)
    if subject is None or isinstance(subject.spec, Mistakes):
        return True
    target = find_target(subject, subject.spec, observed)
    return isinstance(target, NoTarget) and target.reason in REFUSED


def find_target(subject: Subject, spec: AdapterDeploymentSpec, observed: RolloutObserved) -> Target | NoTarget:
    """What is asked for, if it may be served here."""
    found = _asked_for(subject, spec, observed)
    return found if isinstance(found, NoTarget) else _permitted(found, subject, spec, observed)


def _permitted(target: Target, subject: Subject, spec: AdapterDeploymentSpec, observed: RolloutObserved) -> Target | NoTarget:
    status = subject.status
    if isinstance(status, Mistakes):
        return target
    if observed.governance is None:
        return NoTarget(Reason.GOVERNANCE_OFF, _SWITCHED_OFF) if status.governance is not None else target
    version, memory = Version(target.digest, target.uri), memory_of(status, status.checked)
    ruling = ruling_on(version, subject.owner, spec, observed, observed.governance, memory=memory, labels=subject.labels)
    return NoTarget(ruling.reason, ruling.message, version) if ruling.concerned and ruling.denied else target


def asked_for(target: Target | NoTarget) -> Version | None:
    """The version that the spec asks for, also where governance refuses it."""
    return target.denied if isinstance(target, NoTarget) else Version(target.digest, target.uri)


def _asked_for(subject: Subject, spec: AdapterDeploymentSpec, observed: RolloutObserved) -> Target | NoTarget:
    rival = _older_rival(subject, spec, observed.siblings)
    if rival is not None:
        text = f"spec.modelName {spec.model_name} belongs to AdapterDeployment {rival.name}, which is older. Choose another name."
        return NoTarget(Reason.ALIAS_TAKEN, text)
    source = spec.adapter
    if source.fine_tune_job_ref is not None:
        return _served(subject, spec, observed) or _of_job(spec, source.fine_tune_job_ref.name, observed)
    if source.uri is None or source.digest is None:
        return NoTarget(Reason.INVALID_SPEC, "spec.adapter needs fineTuneJobRef, or uri and digest. Set one of them.")
    if spec.preflight.require_evaluation and source.digest not in observed.evaluated:
        text = (
            f"spec.adapter.digest {short_digest(source.digest)} is the artifact of no run with a passed gate in this namespace. "
            "Use fineTuneJobRef, or set spec.preflight.requireEvaluation to false."
        )
        return NoTarget(Reason.NOT_EVALUATED, text)
    return _compatible(spec, source.digest, source.uri, observed)


def _served(subject: Subject, spec: AdapterDeploymentSpec, observed: RolloutObserved) -> Target | None:
    """The pinned digest if it answers all callers, or did and is loaded still: going back to it needs no job that offers it now."""
    pinned, status = spec.adapter.digest, subject.status
    if pinned is None or isinstance(status, Mistakes) or (spec.preflight.require_evaluation and pinned not in observed.evaluated):
        return None
    known: list[VersionStatus | RetainedVersion] = [kept for kept in status.retained if kept.served]
    known += [status.stable] if status.stable is not None else []
    return next((Target(version.version, version.digest, version.uri) for version in known if version.digest == pinned), None)


def _of_job(spec: AdapterDeploymentSpec, job: str, observed: RolloutObserved) -> Target | NoTarget:
    artifact, pinned = observed.job, spec.adapter.digest
    if artifact is None:
        return NoTarget(*why_no_artifact(job, observed.standing))
    if not re.fullmatch(_DIGEST, artifact.digest):
        return NoTarget(Reason.WAITING_FOR_ARTIFACT, f"FineTuneJob {job} names no digest of its artifact")
    if pinned is not None and artifact.digest != pinned:
        text = f"spec.adapter.digest is {short_digest(pinned)}, and FineTuneJob {job} has {short_digest(artifact.digest)}"
        return NoTarget(Reason.WAITING_FOR_ARTIFACT, text)
    if spec.preflight.require_evaluation and not artifact.gated:
        text = f"FineTuneJob {job} has no gate. Add spec.evaluation.gates there, or set spec.preflight.requireEvaluation to false here."
        return NoTarget(Reason.NOT_EVALUATED, text)
    if spec.adapter.promotion is Promotion.APPROVAL and spec.approved_version != artifact.digest:
        text = f"FineTuneJob {job} has a new artifact. To roll it out, set spec.approvedVersion to {artifact.digest}"
        return NoTarget(Reason.WAITING_FOR_APPROVAL, text)
    return _compatible(spec, artifact.digest, artifact.uri, observed)


def _compatible(spec: AdapterDeploymentSpec, digest: str, uri: str, observed: RolloutObserved) -> Target | NoTarget:
    against = incompatibility(spec, observed.record)
    if against is not None:
        return NoTarget(Reason.INCOMPATIBLE, against)
    return Target(version_name(spec.model_name, digest), digest, uri)


def _older_rival(subject: Subject, spec: AdapterDeploymentSpec, siblings: tuple[Sibling, ...]) -> Sibling | None:
    """The oldest other object with the same alias that is older than this one; the uid decides between equals."""
    rivals = [sibling for sibling in siblings if sibling.model_name == spec.model_name and sibling.uid != subject.owner.uid]
    if not rivals:
        return None
    oldest = min(rivals, key=lambda sibling: (sibling.created_at, sibling.uid))
    if subject.created_at is None:
        return oldest
    return oldest if (oldest.created_at, oldest.uid) < (subject.created_at, subject.owner.uid) else None
