"""The active attempt: what became of it, what its end means for the run, and which step comes next."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Interruption, NodeStatus, Retries
from finetune_operator.api.spec import FineTuneJobSpec, RunPolicy
from finetune_operator.domain import edits, reading
from finetune_operator.domain.activity import Activity, ActivityKind, doing, starting
from finetune_operator.domain.children import Job, JobState, Pod
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.failure import Failure, FailureKind, failure_of, last_words, lost_job, lost_message
from finetune_operator.domain.governance.egress import heard, worth_a_write
from finetune_operator.domain.governance.judge import judge
from finetune_operator.domain.launch import config_map, placement_of
from finetune_operator.domain.plan import Child, ObjectReference
from finetune_operator.domain.progress import SILENT_INTERVALS, merge_progress, silent_seconds, with_sealed, without_rates
from finetune_operator.domain.results import found_of, gate_decision, record_prepare, record_train
from finetune_operator.domain.retry import GiveUp, TryAgain, answer, held_back
from finetune_operator.domain.tracking import with_tracker
from finetune_operator.domain.trouble import Trouble, trouble_of
from finetune_operator.manifests.names import job_name, run_hash
from finetune_trainer.contract import FailureClass, PublishSummary, Step, Summary, TerminationMessage

POD_LAG_SECONDS = 3.0
"""How long a Job may be known to have ended before its pod is known to have: they come over separate streams."""
_MESSAGE_LIMIT = 2000
_TELLING = re.compile(r"^([-a-z0-9.]*\.)?node-restriction\.kubernetes\.io/|^topology\.kubernetes\.io/")
"""Labels that say what a node is trusted with, which no kubelet can write, and where it stands."""
_NODE_LABELS = 32
_OTHER_BYTES = ("DigestMismatch", "DatasetDamaged", "BaseModelChanged")
"""The trainer's words for bytes that are not those which were declared or sealed."""


@dataclass(frozen=True)
class Remains:
    """What is left of an attempt that ended."""

    job: Job | None = None
    pod: Pod | None = None


def current_job_name(run: CurrentRun) -> str:
    return job_name(run.name, run.active_step.value, run.attempt)


def examine(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, policy: RunPolicy) -> PublishSummary | GiveUp | None:
    """Look at the attempt under way. Returns what ends the run, if something does; else the draft says how it goes on."""
    job = draft.scene.job_named(current_job_name(run))
    if job is None:
        draft.absent.append(ObjectReference("batch/v1", "Job", draft.scene.owner.namespace, current_job_name(run)))
        return fail(draft, run, policy, lost_job(), Remains())
    pod = draft.scene.pod_of(job)
    if job.active:
        _watch(draft, run, spec, job, pod)
        if job.terminating:
            _explain_deletion(draft, draft.run or run, job)
        return None
    if _pod_lags(draft, job, pod):
        draft.undecided = True
        draft.wake_in(0.5)
        return None
    if job.state is JobState.FAILED:
        return fail(draft, run, policy, failure_of(job, pod, run.key), Remains(job, pod), spec=spec)
    words = last_words(pod, run.key, run.active_step.value)
    if words is None or not _reports(words, run.active_step):
        return fail(draft, run, policy, lost_message(run.active_step.value), Remains(job, pod))
    if words.skipped_checkpoints:
        text = f"attempt {run.attempt} of {run.active_step.value} skipped {'; '.join(words.skipped_checkpoints)}"
        draft.note(Reason.INTERRUPTED, "Resume", text, warning=True, related=job.reference)
    run = heard(_with_node(draft, _with_image(run, pod), pod), pod, draft.scene.observed.governance)
    return _proceed(draft, with_tracker(run, words.tracker), spec, words, running_seconds(job, pod))


def heed_last_words(draft: Draft, run: CurrentRun) -> CurrentRun:
    """Remember the checkpoint that a pod named as it stopped.

    Whoever deletes or evicts a pod takes its words with it, often before its Job says that it failed: so they go into status at once.
    """
    mark = run_hash(draft.scene.owner.uid, run.key)
    heard = run
    for pod in draft.scene.pods:
        if (pod.place.run, pod.place.step) == (mark, run.active_step.value) and pod.exit_code:
            words = last_words(pod, run.key, run.active_step.value)
            heard = with_sealed(heard, words.checkpoint.step if words is not None and words.checkpoint is not None else None)
    if heard != run:
        draft.run, draft.urgent = heard, True
    return heard


def fail(
    draft: Draft, run: CurrentRun, policy: RunPolicy, failure: Failure, remains: Remains, *, spec: FineTuneJobSpec | None = None
) -> GiveUp | None:
    """Account for an attempt that ended early: another one later, or the end of the run. ``spec`` is that of the run."""
    job, pod = remains.job, remains.pod
    run = heard(run, pod, draft.scene.observed.governance)
    if pod is not None:
        run = merge_progress(_with_image(run, pod), draft.scene.observed.progress, pod)
        said = last_words(pod, run.key, run.active_step.value)
        run = with_tracker(run, said.tracker if said is not None else None)
    run = with_sealed(run, failure.sealed_step)
    if draft.governance is not None and failure.said in _OTHER_BYTES:
        failure = replace(failure, reason=Reason.DIGEST_MISMATCH)
    if failure.base_model is not None and draft.governance is not None:
        run = run.model_copy(update={"inputs": run.inputs.model_copy(update={"base_model": found_of(failure.base_model)})})
    now = draft.scene.now
    used = running_seconds(job, pod) if job is not None else reading.seconds_between(run.attempt_started_at, now)
    decision = _held_back(draft, run, failure, spec) or answer(failure, run, policy, draft.scene.settings)
    run = without_rates(run).model_copy(
        update={
            "running_seconds": run.running_seconds + used,
            "attempt_started_at": None,
        }
    )
    if isinstance(decision, GiveUp):
        draft.run = run
        return decision
    until = now + timedelta(seconds=decision.delay_seconds) if decision.delay_seconds else None
    message = f"attempt {run.attempt} of {run.active_step.value}: {decision.message}"[:_MESSAGE_LIMIT]
    interruption = Interruption(attempt=run.attempt, reason=decision.reason.value, message=message, since=now, until=until)
    draft.run = run.model_copy(
        update={"interruption": interruption, "retries": decision.retries, "micro_batch_size": decision.micro_batch_size}
    )
    warning = failure.kind not in (FailureKind.PREEMPTED, FailureKind.MESSAGE_LOST)
    draft.note(decision.reason, "Retry", message, warning=warning, related=job.reference if job is not None else None)
    return None


def not_begun(draft: Draft, run: CurrentRun) -> bool:
    """Whether nothing of the attempt under way has seen any data: there is no pod, or it waits, or its preflight is at work."""
    job = draft.scene.job_named(current_job_name(run))
    pod = draft.scene.pod_of(job) if job is not None and job.active else None
    if job is None or not job.active:
        return False
    return pod is None or not (pod.running or pod.ended or pod.started_at is not None or pod.preflight_code is not None)


def _held_back(draft: Draft, run: CurrentRun, failure: Failure, spec: FineTuneJobSpec | None) -> TryAgain | None:
    """What a pod refuses is not tried again as it is: only where the operator holds the run by now too, and once that is settled."""
    if failure.kind is not FailureKind.DENIED or spec is None:
        return None
    draft.run = run
    judged = judge(draft, spec)
    return held_back(failure, run) if judged is not None and judged.blocks else None


def interrupt(draft: Draft, run: CurrentRun, reason: Reason, message: str) -> None:
    """End the attempt under way by our own decision, as suspending does: its Job is deleted, its pod seals a checkpoint. No budget."""
    if not accounted(run):
        job = draft.scene.job_named(current_job_name(run)) if run.attempt else None
        pod = draft.scene.pod_of(job) if job is not None else None
        if pod is not None:
            run = merge_progress(_with_image(run, pod), draft.scene.observed.progress, pod)
        run = run.model_copy(update={"running_seconds": run.running_seconds + _seconds_so_far(draft, pod)})
    interruption = Interruption(attempt=run.attempt, reason=reason.value, message=message, since=draft.scene.now)
    draft.run = without_rates(run).model_copy(update={"interruption": interruption, "attempt_started_at": None})


def running_seconds(job: Job, pod: Pod | None) -> int:
    """How long an ended attempt ran; the Job's own times stand in for a pod that is gone."""
    if pod is not None and pod.started_at is not None and pod.finished_at is not None:
        return reading.seconds_between(pod.started_at, pod.finished_at)
    return reading.seconds_between(job.started_at, job.finished_at)


def seconds_of_run(draft: Draft, run: CurrentRun) -> int:
    """Running time of all attempts, the one under way included."""
    job = draft.scene.job_named(current_job_name(run)) if run.attempt and not accounted(run) else None
    pod = draft.scene.pod_of(job) if job is not None else None
    return run.running_seconds + (_seconds_so_far(draft, pod))


def accounted(run: CurrentRun) -> bool:
    """Whether the newest attempt has ended early and status knows it."""
    return run.interruption is not None and run.interruption.attempt == run.attempt


def _seconds_so_far(draft: Draft, pod: Pod | None) -> int:
    if pod is None or pod.started_at is None:
        return 0
    return reading.seconds_between(pod.started_at, pod.finished_at or draft.scene.now)


def _watch(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, job: Job, pod: Pod | None) -> None:
    """The Job is active: say what its pod does, and take over its figures."""
    run = _with_evicted_time(run, job, pod, draft.scene.now)
    if pod is not None and (pod.running or pod.started_at is not None):  # once it has ended, its Job says so in a moment
        run = _with_image(run, pod) if run.active_step is Step.TRAIN else run
        if run.active_step is Step.TRAIN:
            run = run.model_copy(update={"attempt_started_at": pod.started_at})
        _follow(draft, run, pod)
        return
    draft.run = without_rates(run)
    trouble = trouble_of(job, pod, draft.scene.observed.warnings, spec, run, now=draft.scene.now)
    if _begin_elsewhere(draft, job, draft.run, spec, trouble):
        return
    patience = trouble.patience_left(draft.scene.now) if trouble is not None else 0.0
    if trouble is not None and trouble.until is not None:
        draft.wake_in((trouble.until - draft.scene.now).total_seconds())
    if trouble is None or patience > 0:
        if patience > 0:
            draft.wake_in(patience)
        draft.activity = Activity(ActivityKind.STARTING, *starting(run))
        return
    draft.activity = Activity(ActivityKind.BLOCKED, trouble.reason, trouble.message)
    if trouble.reason is Reason.CONFIG_MAP_MISSING and trouble.own_config_map:
        draft.creates.append(Child(config_map(draft, run, spec)))


def _follow(draft: Draft, run: CurrentRun, pod: Pod) -> None:
    """The pod runs: its figures, as long as it is there to tell them."""
    progress = draft.scene.observed.progress
    run = worth_a_write(merge_progress(run, progress, pod), pod, draft.scene.observed.governance)
    if pod.terminating and pod.running:
        where = f" on node {pod.node}" if pod.node else ""
        text = f"pod {pod.reference.name}{where} is being stopped; if the node is gone, delete the Node object or force-delete the pod"
        draft.run = without_rates(run)
        draft.activity = Activity(ActivityKind.STOPPING, Reason.INTERRUPTED, text)
        return
    patience = SILENT_INTERVALS * draft.scene.settings.progress_write_seconds
    silence = silent_seconds(run, progress, pod, draft.scene.now)
    if silence > patience:
        run = without_rates(run)
    elif run.eta_seconds is not None or run.tokens_per_second is not None:
        draft.wake_in(patience - silence + 1.0)
    draft.run = run
    draft.activity = Activity(ActivityKind.RUNNING, *doing(run))


def _begin_elsewhere(draft: Draft, job: Job, run: CurrentRun, spec: FineTuneJobSpec, trouble: Trouble | None) -> bool:
    """A Job cannot be changed: one whose pod has not started gives way to one made from what was corrected meanwhile."""
    image = draft.scene.settings.trainer_image[:512]
    waits_for_image = trouble is not None and trouble.reason is Reason.WAITING_FOR_IMAGE
    if run.placement not in (None, placement_of(spec)):
        text = "spec.resources or spec.queueName changed before the pod started"
    elif waits_for_image and run.inputs.image_digest is None and run.image != image:
        text = f"the trainer image of the installation changed to {image} before {run.image} could be pulled"
        run = run.model_copy(update={"image": image})  # nothing ran with the other one: no checkpoint can differ in it
    else:
        return False
    interrupt(draft, run, Reason.RETRYING, f"attempt {run.attempt} of {run.active_step.value}: {text}")
    draft.delete(job)
    draft.note(Reason.RETRYING, "Retry", f"attempt {run.attempt} of {run.active_step.value}: {text}", related=job.reference)
    return True


def _explain_deletion(draft: Draft, run: CurrentRun, job: Job) -> None:
    """A Job on its way out: ours, if what we deleted it for is still there to be seen, or somebody else's doing."""
    if not accounted(run) and not edits.gives_way(draft, run):
        draft.run = without_rates(run)
        draft.activity = Activity(ActivityKind.STOPPING, Reason.CHILD_DELETED, f"Job {job.reference.name} is being deleted")


def _with_evicted_time(run: CurrentRun, job: Job, pod: Pod | None, now: datetime) -> CurrentRun:
    """A queue that takes a Job's admission back deletes the pod and leaves the Job: what that pod ran counts all the same."""
    began, started = run.attempt_started_at, pod.started_at if pod is not None else None
    another = began is not None and started is not None and abs((started - began).total_seconds()) >= 1
    if not another and not (pod is None and job.suspended):
        return run
    ran = reading.seconds_between(began, pod.created_at or now if pod is not None else now)
    return run.model_copy(update={"running_seconds": run.running_seconds + ran, "attempt_started_at": None})


def _pod_lags(draft: Draft, job: Job, pod: Pod | None) -> bool:
    if pod is not None and pod.exit_code is not None:
        return False
    if pod is not None and pod.ended and job.state is JobState.FAILED:
        return False  # evicted before its container ran
    return reading.seconds_between(job.finished_at, draft.scene.now) < POD_LAG_SECONDS and job.finished_at is not None


def _reports(words: TerminationMessage, step: Step) -> bool:
    """Whether the message tells that the step is done, and its result."""
    return words.outcome is FailureClass.DONE and words.summary is not None and getattr(words.summary, step.value) is not None


def _proceed(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, words: TerminationMessage, used: int) -> PublishSummary | None:
    """The step is done: record its facts and turn to the next one."""
    run = without_rates(run).model_copy(
        update={
            "running_seconds": run.running_seconds + used,
            "attempt": 0,
            "interruption": None,
            "retries": Retries(),
            "attempt_started_at": None,
        }
    )
    summary = words.summary or Summary()
    if summary.prepare is not None:
        draft.run = record_prepare(draft, run, summary.prepare).model_copy(update={"active_step": Step.TRAIN})
    elif summary.train is not None:
        draft.run = record_train(draft, run, summary.train).model_copy(update={"active_step": Step.PUBLISH})
        decision = gate_decision(draft.evaluation, spec)
        draft.note(decision.reason, "Evaluate", f"run {run.number}: {decision.message}", warning=not decision.passed)
    else:
        draft.run = run
        return summary.publish
    return None


def _with_node(draft: Draft, run: CurrentRun, pod: Pod | None) -> CurrentRun:
    """Where a governed run was trained, for its record."""
    view = draft.scene.observed.governance
    if view is None or draft.governance is None or run.active_step is not Step.TRAIN or pod is None or not pod.node:
        return run
    labels = {key: value for key, value in sorted(view.nodes.get(pod.node, {}).items()) if _TELLING.search(key)}
    node = NodeStatus(name=pod.node[:253], labels=dict(list(labels.items())[:_NODE_LABELS]))
    return run.model_copy(update={"node": node})


def _with_image(run: CurrentRun, pod: Pod | None) -> CurrentRun:
    if pod is None or not pod.image or run.inputs.image_digest == pod.image[:512]:
        return run
    return run.model_copy(update={"inputs": run.inputs.model_copy(update={"image_digest": pod.image[:512]})})
