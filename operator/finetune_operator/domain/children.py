"""Jobs and pods as decisions see them: a few typed facts of each, read once from what the cluster said."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from finetune_operator.api.base import LABEL_ATTEMPT, LABEL_RUN, LABEL_STEP
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject, ObjectReference
from finetune_operator.manifests.failurepolicy import DISRUPTION_TARGET, TRAINER_CONTAINER
from finetune_operator.manifests.preflight import PREFLIGHT_CONTAINER

_ENDED_PHASES = ("Succeeded", "Failed")


class JobState(StrEnum):
    ACTIVE = "Active"
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True)
class Place:
    """Which run, step and attempt a child says it belongs to."""

    run: str
    step: str
    attempt: int


@dataclass(frozen=True)
class Job:
    """An attempt's Job; ``reason`` and ``message`` are those of the condition that ended it."""

    reference: ObjectReference
    place: Place
    state: JobState
    terminating: bool
    suspended: bool
    reason: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def active(self) -> bool:
        return self.state is JobState.ACTIVE


@dataclass(frozen=True)
class Unscheduled:
    """What the scheduler says about a pod it cannot place, and since when."""

    message: str
    since: datetime | None


@dataclass(frozen=True)
class Pod:
    """An attempt's pod; exit code, end reason and termination message are its trainer container's."""

    reference: ObjectReference
    place: Place
    phase: str
    terminating: bool
    node: str
    ip: str
    created_at: datetime | None
    reason: str
    message: str
    disruption: str | None
    unscheduled: Unscheduled | None
    waiting_reason: str
    waiting_message: str
    running: bool
    exit_code: int | None
    exit_reason: str
    termination_message: str
    started_at: datetime | None
    finished_at: datetime | None
    image: str
    preflight_code: int | None
    """Exit code of what goes before the trainer of a governed run."""
    preflight_message: str

    @property
    def ended(self) -> bool:
        return self.phase in _ENDED_PHASES


def read_job(document: JsonObject) -> Job:
    state, condition = _job_end(document)
    finished = reading.moment(document, "status", "completionTime") or reading.moment(condition, "lastTransitionTime")
    return Job(
        reference=_reference(document, "batch/v1", "Job"),
        place=_place(document),
        state=state,
        terminating=bool(reading.text(document, "metadata", "deletionTimestamp")),
        suspended=reading.at(document, "spec", "suspend") is True,
        reason=reading.text(condition, "reason"),
        message=reading.text(condition, "message"),
        started_at=reading.moment(document, "status", "startTime"),
        finished_at=finished if state is not JobState.ACTIVE else None,
    )


def read_pod(document: JsonObject, of: str = TRAINER_CONTAINER) -> Pod:
    """``of`` is the container whose end counts."""
    container = next((c for c in reading.objects(document, "status", "containerStatuses") if c.get("name") == of), {})
    ended = reading.at(container, "state", "terminated") or {}
    waiting = reading.at(container, "state", "waiting") or {}
    running = reading.at(container, "state", "running") or {}
    preflight = next((c for c in reading.objects(document, "status", "initContainerStatuses") if c.get("name") == PREFLIGHT_CONTAINER), {})
    before = reading.at(preflight, "state", "terminated") or {}
    return Pod(
        reference=_reference(document, "v1", "Pod"),
        place=_place(document),
        phase=reading.text(document, "status", "phase"),
        terminating=bool(reading.text(document, "metadata", "deletionTimestamp")),
        node=reading.text(document, "spec", "nodeName"),
        ip=reading.text(document, "status", "podIP"),
        created_at=reading.moment(document, "metadata", "creationTimestamp"),
        reason=reading.text(document, "status", "reason"),
        message=reading.text(document, "status", "message"),
        disruption=_disruption(document),
        unscheduled=_unscheduled(document),
        waiting_reason=reading.text(waiting, "reason"),
        waiting_message=reading.text(waiting, "message"),
        running=bool(running),
        exit_code=reading.integer(ended, "exitCode"),
        exit_reason=reading.text(ended, "reason"),
        termination_message=reading.text(ended, "message"),
        started_at=reading.moment(running, "startedAt") or reading.moment(ended, "startedAt"),
        finished_at=reading.moment(ended, "finishedAt"),
        image=reading.text(container, "imageID"),
        preflight_code=reading.integer(before, "exitCode"),
        preflight_message=reading.text(before, "message"),
    )


def _job_end(document: JsonObject) -> tuple[JobState, JsonObject]:
    """Complete and Failed are final; a FailureTarget precedes Failed, whose pods may still be on their way out."""
    for condition in reading.objects(document, "status", "conditions"):
        if condition.get("status") == "True" and condition.get("type") in (JobState.COMPLETE.value, JobState.FAILED.value):
            return JobState(str(condition["type"])), condition
    return JobState.ACTIVE, {}


def _disruption(document: JsonObject) -> str | None:
    for condition in reading.objects(document, "status", "conditions"):
        if condition.get("type") == DISRUPTION_TARGET and condition.get("status") == "True":
            return reading.text(condition, "message") or reading.text(condition, "reason") or DISRUPTION_TARGET
    return None


def _unscheduled(document: JsonObject) -> Unscheduled | None:
    for condition in reading.objects(document, "status", "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
            return Unscheduled(reading.text(condition, "message"), reading.moment(condition, "lastTransitionTime"))
    return None


def _place(document: JsonObject) -> Place:
    labels = reading.at(document, "metadata", "labels")
    attempt = reading.text(labels, LABEL_ATTEMPT)
    number = int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else 0
    return Place(reading.text(labels, LABEL_RUN), reading.text(labels, LABEL_STEP), number)


def _reference(document: JsonObject, api_version: str, kind: str) -> ObjectReference:
    metadata = reading.at(document, "metadata")
    return ObjectReference(
        api_version, kind, reading.text(metadata, "namespace"), reading.text(metadata, "name"), reading.text(metadata, "uid")
    )
