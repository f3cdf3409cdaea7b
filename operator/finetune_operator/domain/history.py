"""The history of runs: one entry per run, bounded by the limits of ``runPolicy``, the only proof that a key was run already."""

from finetune_operator.api.history import HistoryEntry
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Outcome
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import ArtifactStatus
from finetune_operator.domain.children import Job, JobState
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.observed import REJECTION_SECONDS
from finetune_operator.domain.plan import Child
from finetune_operator.domain.progress import step_text
from finetune_operator.manifests.job import ForgottenRun, build_clean_job
from finetune_operator.manifests.names import CLEAN, run_hash
from finetune_operator.manifests.pod import PodEnvironment
from finetune_trainer.contract import Step

MESSAGE_LIMIT = 512
ENTRIES = 40
"""What the schema admits."""


def next_number(draft: Draft) -> int:
    """Runs are counted from 1 and numbers are never given twice."""
    numbers = [entry.number for entry in draft.history]
    if draft.run is not None:
        numbers.append(draft.run.number)
    return max(numbers, default=0) + 1


def entry_of(draft: Draft, key: str) -> HistoryEntry | None:
    return next((entry for entry in draft.history if entry.key == key), None)


def run_of_entry(entry: HistoryEntry) -> CurrentRun:
    """A remembered run as the current one again, with what is remembered of it."""
    return CurrentRun(
        active_step=_step_reached(entry),
        key=entry.key,
        name=entry.name,
        number=entry.number,
        generation=entry.generation,
        inputs=entry.inputs,
        started_at=entry.started_at,
        finished_at=entry.finished_at,
        outcome=entry.outcome,
        reason=entry.reason,
        message=entry.message,
        gate=entry.gate,
        adapter_digest=entry.artifact_digest,
        artifact_uri=entry.artifact_uri,
        artifact_bytes=entry.artifact_bytes,
        step=entry.step,
        total_steps=entry.total_steps,
        step_text=step_text(entry.step, entry.total_steps),
        loss=entry.loss,
        record=entry.record,
    )


def artifact_of(run: CurrentRun) -> ArtifactStatus | None:
    """The artifact of a run that succeeded before."""
    if run.outcome is not Outcome.SUCCEEDED or run.artifact_uri is None or run.adapter_digest is None:
        return None
    record = run.record.digest if run.record is not None else None
    return ArtifactStatus(
        uri=run.artifact_uri,
        digest=run.adapter_digest,
        bytes=run.artifact_bytes,
        run_number=run.number,
        record_digest=record,
        signed=True if record is not None else None,
    )


def remember(draft: Draft, entry: HistoryEntry) -> None:
    """Newest first, one entry per run."""
    others = [other for other in draft.history if other.number != entry.number]
    draft.history = sorted([entry, *others], key=lambda each: each.number, reverse=True)


def prune(draft: Draft, environment: PodEnvironment) -> None:
    """Forget what is beyond the limits, and have the working files removed; what the present spec asks for is never forgotten."""
    spec = draft.scene.spec
    if spec is None:
        return
    kept: list[HistoryEntry] = []
    left = {True: spec.run_policy.successful_runs_history_limit, False: spec.run_policy.failed_runs_history_limit}
    for entry in draft.history:
        succeeded = entry.outcome is Outcome.SUCCEEDED
        left[succeeded] -= 1
        if left[succeeded] >= 0 or _needed(draft, entry) or not _forget(draft, spec, entry, environment):
            kept.append(entry)
    draft.history = kept[:ENTRIES]


def sweep(draft: Draft) -> None:
    """Remove what belongs to no remembered run: clean-up Jobs that have ended, and Jobs whose beginning was never recorded."""
    owner, active = draft.scene.owner, draft.active_run
    remembered = {run_hash(owner.uid, entry.key) for entry in draft.history}
    if draft.run is not None:
        remembered.add(run_hash(owner.uid, draft.run.key))
    for job in draft.scene.jobs:
        under_way = active is not None and job.place.run == run_hash(owner.uid, active.key)
        if job.terminating or (job.active and (under_way or job.place.step == CLEAN)):
            continue
        if job.place.step != CLEAN and not job.active:
            continue  # evidence for people, until its time to live is over
        if job.place.run not in remembered:
            name = job.reference.name.removesuffix(f"-{job.place.step}-{job.place.attempt}")
            draft.delete_config_map(name)
            draft.delete_network_policy(name)
        draft.delete(job)
        if job.state is JobState.FAILED:
            _report_leftover(draft, job)


def _step_reached(entry: HistoryEntry) -> Step:
    if entry.artifact_digest is not None:
        return Step.PUBLISH
    return Step.TRAIN if entry.inputs.dataset_digest is not None else Step.PREPARE


def _needed(draft: Draft, entry: HistoryEntry) -> bool:
    return entry.key in {part.key for part in (draft.accepted, draft.run) if part is not None}


def _forget(draft: Draft, spec: FineTuneJobSpec, entry: HistoryEntry, environment: PodEnvironment) -> bool:
    """Have the working files removed; False while that is refused, and then the entry stays.

    Its Jobs go too: a run of the same key may be asked for again, and must not take their ends for its own.
    """
    if entry.workspace_claim is None:
        _delete_jobs(draft, entry)
        return True
    forgotten = ForgottenRun(entry.key, entry.name, entry.workspace_claim)
    child = Child(build_clean_job(draft.scene.owner, spec, forgotten, environment))
    if draft.scene.rejection_of(child.reference.name) is not None:
        draft.wake_in(REJECTION_SECONDS)
        return False
    if draft.scene.job_named(child.reference.name) is None:
        draft.creates.append(child)
    _delete_jobs(draft, entry)
    return True


def _delete_jobs(draft: Draft, entry: HistoryEntry) -> None:
    for job in draft.scene.jobs_of(entry.key):
        draft.delete(job)


def _report_leftover(draft: Draft, job: Job) -> None:
    text = f"working files of a forgotten run could not be removed ({job.reason}); remove its folder below .finetune on the claim by hand"
    draft.note(Reason.STORAGE_FAILED, "Clean", text, warning=True, related=job.reference)
