"""A decision in the making: what status will say and what will be written, gathered in one place and turned into a Plan at the end."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from finetune_operator.api.findings import DatasetStatus, EstimateStatus, EvaluationStatus
from finetune_operator.api.governance.job import GovernanceStatus
from finetune_operator.api.history import HistoryEntry
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import Accepted, ArtifactStatus, FineTuneJobStatus
from finetune_operator.domain.acceptance import Acceptance
from finetune_operator.domain.activity import Activity
from finetune_operator.domain.children import Job, Pod, read_job, read_pod
from finetune_operator.domain.governance.signing import RecordRequest
from finetune_operator.domain.observed import REJECTION_SECONDS, DomainSettings, Observed, Rejection
from finetune_operator.domain.plan import Child, Deletion, EventNote, ObjectReference
from finetune_operator.domain.subject import Subject
from finetune_operator.manifests.names import CLEAN, Owner, run_hash
from finetune_trainer.contract.governance import Facts
from finetune_trainer.contract.governance.containment import Containment


@dataclass(frozen=True)
class Scene:
    """What is observed, typed: nothing in here changes while a decision is made."""

    observed: Observed
    subject: Subject
    status: FineTuneJobStatus
    acceptance: Acceptance
    now: datetime
    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]

    @property
    def owner(self) -> Owner:
        return self.subject.owner

    @property
    def settings(self) -> DomainSettings:
        return self.observed.settings

    @property
    def spec(self) -> FineTuneJobSpec | None:
        """The present generation's spec, if it is valid."""
        return self.acceptance.spec

    def jobs_of(self, run_key: str) -> tuple[Job, ...]:
        """Jobs of the steps of one run."""
        mark = run_hash(self.owner.uid, run_key)
        return tuple(job for job in self.jobs if job.place.run == mark and job.place.step != CLEAN)

    def job_named(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.reference.name == name), None)

    def pod_of(self, job: Job) -> Pod | None:
        """The Job's pod; of several the one that has spoken, else the newest."""
        pods = [pod for pod in self.pods if pod.place == job.place]
        return max(
            pods,
            key=lambda pod: (bool(pod.termination_message), pod.created_at or datetime.min.replace(tzinfo=self.now.tzinfo)),
            default=None,
        )

    def rejection_of(self, name: str) -> Rejection | None:
        """A recent refusal to create the child of that name."""
        fresh = self.now - timedelta(seconds=REJECTION_SECONDS)
        return next((r for r in self.observed.rejections if r.target.name == name and r.at > fresh), None)


@dataclass
class Draft:
    """Starts as a copy of status; the parts of the domain change it."""

    scene: Scene
    accepted: Accepted | None
    run: CurrentRun | None
    history: list[HistoryEntry]
    dataset: DatasetStatus | None
    estimate: EstimateStatus | None
    evaluation: EvaluationStatus | None
    artifact: ArtifactStatus | None
    governance: GovernanceStatus | None = None
    activity: Activity | None = None
    facts: Facts | None = None
    """What governance has decided upon, once it has."""
    containment: Containment | None = None
    """How the pods of the run are shut in, once governance has said it."""
    applies: list[Child] = field(default_factory=list)
    creates: list[Child] = field(default_factory=list)
    deletes: list[Deletion] = field(default_factory=list)
    events: list[EventNote] = field(default_factory=list)
    undecided: bool = False
    """Evidence is on its way and due in a moment: nothing is written until it is here."""
    urgent: bool = False
    """A figure that is written at once: what it was read from may be gone in a moment."""
    check_resource: bool = False
    absent: list[ObjectReference] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    record: RecordRequest | None = None

    @property
    def active_run(self) -> CurrentRun | None:
        """The run that has not ended yet."""
        return self.run if self.run is not None and self.run.outcome is None else None

    def delete(self, job: Job) -> None:
        if not job.terminating and all(deletion.target != job.reference for deletion in self.deletes):
            self.deletes.append(Deletion(job.reference))

    def delete_config_map(self, name: str) -> None:
        """The run's document; its uid is not known, so the executor sees to it that it is ours."""
        self.deletes.append(Deletion(ObjectReference("v1", "ConfigMap", self.scene.owner.namespace, name), "Background"))

    def delete_network_policy(self, name: str) -> None:
        """That of a run which is forgotten, if it had one."""
        view = self.scene.observed.governance
        present = view.network_policies.get(name) if view is not None else None
        if present is not None:
            uid = str((present.get("metadata") or {}).get("uid") or "")
            target = ObjectReference("networking.k8s.io/v1", "NetworkPolicy", self.scene.owner.namespace, name, uid)
            self.deletes.append(Deletion(target, "Background"))

    def note(self, reason: Reason, action: str, message: str, *, warning: bool = False, related: ObjectReference | None = None) -> None:
        self.events.append(EventNote("Warning" if warning else "Normal", reason.value, action, message[:1000], related))

    def wake_in(self, seconds: float) -> None:
        self.wakes.append(max(0.1, seconds))


def read_scene(observed: Observed, subject: Subject, status: FineTuneJobStatus, acceptance: Acceptance, now: datetime) -> Scene:
    """Types what is observed; pods of another object with the same cut name are left out."""
    keys = {entry.key for entry in status.history}
    keys |= {part.key for part in (status.current_run, status.accepted, acceptance.accepted) if part is not None}
    marks = {run_hash(subject.owner.uid, key) for key in keys}
    jobs = tuple(read_job(job) for job in observed.jobs)
    pods = tuple(pod for pod in map(read_pod, observed.pods) if pod.place.run in marks)
    return Scene(observed, subject, status, acceptance, now, jobs, pods)


def begin_draft(scene: Scene) -> Draft:
    status = scene.status
    return Draft(
        scene=scene,
        accepted=scene.acceptance.accepted,
        run=status.current_run,
        history=list(status.history),
        dataset=status.dataset,
        estimate=status.estimate,
        evaluation=status.evaluation,
        artifact=status.artifact,
        governance=status.governance,
    )
