"""Everything a decision may know: one frozen snapshot that the caller gathers from its caches, so that deciding needs no I/O."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from finetune_operator.domain.governance.signing import Signing
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.plan import JsonObject, ObjectReference
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_trainer.contract import ProgressReport

REJECTION_SECONDS = 30.0


@dataclass(frozen=True)
class DomainSettings:
    """What the installation decides for all runs."""

    trainer_image: str
    progress_key: bytes
    """Secret of the operator from which each run's bearer token is derived; 32 bytes or more, the same for all replicas and restarts."""
    image_pull_secrets: tuple[str, ...] = ()
    image_pull_policy: str = "IfNotPresent"
    finished_job_ttl_seconds: int = 86_400
    egress_probe: EgressProbe | None = None
    """Without one nothing can be proven, and nothing begins whose egress must be closed."""
    operator_namespace: str = "finetune-system"
    """Whose pods may ask a run that is shut in for its progress."""
    progress_write_seconds: float = 15.0
    """At most one status write per run and this many seconds for progress alone."""
    retry_base_seconds: float = 10.0
    """First wait before another attempt; doubles with each failure of the same class, up to ``retry_cap_seconds``."""
    retry_cap_seconds: float = 360.0


@dataclass(frozen=True)
class WarningEvent:
    """The newest Warning of one reason about one of our Jobs or Pods (FailedCreate, FailedScheduling, FailedMount, Failed, BackOff …)."""

    regarding: ObjectReference
    reason: str
    message: str
    last_seen: datetime


@dataclass(frozen=True)
class PodProgress:
    """What a running pod answered at ``/progress``, and when."""

    pod: str
    read_at: datetime
    report: ProgressReport


@dataclass(frozen=True)
class Rejection:
    """The API server's answer to a write of an earlier plan that a person has to act upon, and when it came.

    The caller keeps the rejections of the last execution (a later one replaces them). While one is younger than ``REJECTION_SECONDS`` a
    decision reports it and does not repeat the write; afterwards it tries again. ``causes`` are the server's ``details.causes[]``, each as
    "field: message".
    """

    target: ObjectReference
    kind: Literal["NameTaken", "Forbidden", "Invalid"]
    message: str
    at: datetime
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observed:
    """A FineTuneJob and all that belongs to it.

    ``resource`` is the object as the API server gave it. ``jobs`` and ``pods`` are those with our labels for this object, also terminating
    ones and those of earlier runs; they include whatever this process itself has created (read your writes). Jobs need metadata,
    spec.suspend and status; pods need metadata, spec.nodeName and status. ``progress`` comes from the pod of the current train attempt.
    """

    resource: JsonObject
    settings: DomainSettings
    jobs: tuple[JsonObject, ...] = ()
    pods: tuple[JsonObject, ...] = ()
    warnings: tuple[WarningEvent, ...] = ()
    progress: PodProgress | None = None
    rejections: tuple[Rejection, ...] = ()
    governance: GovernanceView | None = None
    """None where the installation does not look after governance."""
    signing: Signing | None = None
    """None where it does not sign records."""
