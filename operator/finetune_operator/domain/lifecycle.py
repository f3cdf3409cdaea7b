"""The life of a run: begun, moved on, held, ended and remembered; and which run the present spec asks for.

A run that has ended stays ended: its entry in the history, or the current run itself, is the memory. Only a run that was replaced by a
newer spec before it could end may go on, if that spec is taken back: it resumes in its own work folder, with the document and the Jobs of
the spec as it is then.
"""

from dataclasses import dataclass

from finetune_operator.api.history import HistoryEntry
from finetune_operator.api.inputs import RunInputs, TrainedOn
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Outcome
from finetune_operator.api.spec import Concurrency, FineTuneJobSpec, RunPolicy
from finetune_operator.api.status import Accepted
from finetune_operator.domain import attempts, edits, history, launch
from finetune_operator.domain.activity import Activity, ActivityKind, starting
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.judge import judge
from finetune_operator.domain.progress import without_rates
from finetune_operator.domain.results import GateDecision, gate_decision, headline, record_publish
from finetune_operator.domain.retry import GiveUp
from finetune_operator.domain.subject import parse_spec
from finetune_operator.manifests.names import run_name
from finetune_operator.manifests.volumes import work_claim
from finetune_trainer.contract import PublishSummary, canonical_json

_MESSAGE_LIMIT = 2000
_SWITCHED_OFF = "the job is governed, and this operator does not look after governance. Install with governance.enabled."


@dataclass(frozen=True)
class End:
    """How a run ends, and why."""

    outcome: Outcome
    reason: Reason
    message: str


def advance(draft: Draft) -> None:
    """Take the run under way as far as it goes now."""
    run = draft.active_run
    if run is None:
        return
    spec = spec_of_run(draft, run)
    if spec is None:
        text = "the spec this run was accepted with cannot be read from status any more. Set spec.rerun to a new value."
        end(draft, run, End(Outcome.FAILED, Reason.INTERNAL, text), spec)
        return
    run = attempts.heed_last_words(draft, run)
    policy = draft.scene.spec.run_policy if draft.scene.spec is not None else spec.run_policy
    if run.attempt and not attempts.accounted(run):
        result = attempts.examine(draft, run, spec, policy)
        run = draft.run or run
        if result is not None:
            _finish(draft, run, spec, result)
        if result is not None or draft.undecided:
            return
    ending = _ordered_end(draft, run, policy)
    if ending is not None:
        end(draft, run, ending, spec)
    elif draft.scene.subject.suspend:
        _hold(draft, run)
    elif run.attempt == 0 or attempts.accounted(run):
        if not _held_by_governance(draft, run, spec):
            launch.begin(draft, run, spec)
        if edits.gives_way(draft, run):
            _give_way_to_refusal(draft, run, spec)
    else:
        _stop_what_drifted(draft, run, spec)


def settle(draft: Draft) -> None:
    """No run is under way: point at the one the present spec asks for, or begin it."""
    spec, accepted = draft.scene.spec, draft.accepted
    if _waits_for_data(draft):
        return
    if draft.activity is not None or draft.active_run is not None or spec is None or accepted is None:
        return
    if accepted.generation != draft.scene.subject.generation:
        return
    remembered = history.entry_of(draft, accepted.key)
    if draft.run is not None and draft.run.key == accepted.key and draft.run.outcome is not Outcome.REPLACED:
        return
    if remembered is not None and remembered.outcome is not Outcome.REPLACED:
        _point_at(draft, remembered)
        return
    if draft.scene.subject.suspend:
        draft.activity = Activity(ActivityKind.HELD, Reason.SUSPENDED, "spec.suspend holds the next run. Set it to false to begin.")
        return
    if not _held_by_governance(draft, None, spec):
        _start(draft, spec, accepted, remembered)


def governed_spec(draft: Draft) -> FineTuneJobSpec | None:
    """What a decision of governance is about: the run under way, else what is asked for."""
    run = draft.active_run
    return spec_of_run(draft, run) if run is not None else draft.scene.spec


def _held_by_governance(draft: Draft, run: CurrentRun | None, spec: FineTuneJobSpec) -> bool:
    """Whether what would begin now may not; Jobs of an attempt that was stopped are still on their way out then."""
    judged = judge(draft, spec)
    if draft.governance is not None and draft.scene.observed.governance is None:
        draft.activity = Activity(ActivityKind.BLOCKED, Reason.GOVERNANCE_OFF, _SWITCHED_OFF)
        return True
    if judged is None or not judged.blocks:
        return False
    left = [job for job in draft.scene.jobs_of(run.key) if job.active] if run is not None else []
    for job in left:
        draft.delete(job)
    draft.activity = Activity(ActivityKind.STOPPING if left else ActivityKind.BLOCKED, judged.reason, judged.message)
    return True


def _stop_what_drifted(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> None:
    """What would not be let begin any more does not, where its pod waits still; what has begun goes on.

    At the highest level, or on a node that may not have it, that seals and stops too.
    """
    judged = judge(draft, spec)
    launch.shut_in(draft, run)
    if judged is None:
        return
    taken_back = judged.recalls and attempts.not_begun(draft, run)
    reason = Reason.POLICY_DRIFT if taken_back else judged.stops
    if reason is None:
        return
    how = "taken back by governance before it began" if taken_back else "stopped by governance"
    text = f"{how} in step {run.active_step.value}: {judged.message}"
    attempts.interrupt(draft, run, reason, text[:_MESSAGE_LIMIT])
    draft.note(reason, "Stop", text, warning=True)
    _held_by_governance(draft, run, spec)


def _waits_for_data(draft: Draft) -> bool:
    """Whether the reference of a spec that is still to be run leads nowhere."""
    unresolved, accepted = draft.scene.acceptance.unresolved, draft.accepted
    if unresolved is None or draft.active_run is not None or draft.activity is not None:
        return False
    if accepted is not None and accepted.generation == draft.scene.subject.generation and draft.run is not None:
        return False  # it was run, and what was registered then is no more: that changes nothing about the result
    draft.activity = Activity(ActivityKind.BLOCKED, unresolved.reason, unresolved.message)
    return True


def end(draft: Draft, run: CurrentRun, ending: End, spec: FineTuneJobSpec | None) -> None:
    """Stop what is left of the run, and remember it."""
    for job in draft.scene.jobs_of(run.key):
        if job.active:
            draft.delete(job)
    message = ending.message[:_MESSAGE_LIMIT]
    draft.run = without_rates(run).model_copy(
        update={
            "outcome": ending.outcome,
            "reason": ending.reason.value,
            "message": message,
            "finished_at": draft.scene.now,
            "declared_spec": None,
            "interruption": None,
            "attempt_started_at": None,
            "sealed_before": None,
            "files": [],
            "documents": [],
            "agreements": [],
            "policies": [],
        }
    )
    draft.activity = None
    history.remember(draft, _entry(draft, draft.run, work_claim(spec) if spec is not None else None))
    warning = ending.outcome is not Outcome.SUCCEEDED and ending.outcome not in (Outcome.REPLACED, Outcome.CANCELLED)
    draft.note(ending.reason, "Finish", f"run {run.number}: {message}", warning=warning)


def spec_of_run(draft: Draft, run: CurrentRun) -> FineTuneJobSpec | None:
    """What the run was accepted with; where and how its pods run follows the present spec as long as that asks for the same result."""
    declared = parse_spec(run.declared_spec) if run.declared_spec else None
    present = draft.scene.spec
    if present is None or draft.accepted is None or draft.accepted.key != run.key:
        return declared
    if declared is None:
        return present
    followed = {
        "resources": present.resources,
        "queue_name": present.queue_name,
        "justification": present.justification,
        "purpose": present.purpose,
    }
    return declared.model_copy(update=followed)


def _finish(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, result: PublishSummary | GiveUp) -> None:
    if isinstance(result, GiveUp):
        end(draft, run, End(Outcome.FAILED, result.reason, result.message), spec)
        return
    decision = gate_decision(draft.evaluation, spec)
    if decision.passed and not result.promotable:
        text = "the published artifact is marked as not promotable, although its gate passed. Look at its report."
        decision = GateDecision(Outcome.GATE_REJECTED, Reason.GATE_REJECTED, text)
    run = record_publish(draft, run, result, decision)
    if decision.passed:
        unsigned = ", and is not signed: the operator has no signing key" if draft.governance is not None and run.record is None else ""
        end(draft, run, End(Outcome.SUCCEEDED, Reason.RUN_SUCCEEDED, f"the adapter lies at {result.uri}{unsigned}"), spec)
    else:
        end(draft, run, End(decision.outcome, decision.reason, decision.message), spec)


def _ordered_end(draft: Draft, run: CurrentRun, policy: RunPolicy) -> End | None:
    """An end that somebody asked for: cancelled, replaced, or out of time."""
    if draft.scene.subject.cancel == run.number:
        return End(
            Outcome.CANCELLED, Reason.CANCELLED, "cancelled by spec.runPolicy.cancel. Set spec.rerun to a new value to run it again."
        )
    if edits.newer_key(draft, run) and policy.concurrency is Concurrency.REPLACE:
        return End(Outcome.REPLACED, Reason.REPLACED, "replaced by a newer spec (runPolicy.concurrency Replace)")
    if edits.gives_way(draft, run):
        return _given_way(draft)
    limit = policy.active_deadline_seconds
    if limit is None:
        return None
    used = attempts.seconds_of_run(draft, run)
    if used >= limit:
        text = f"ran for {used} s; spec.runPolicy.activeDeadlineSeconds allows {limit}. Raise it and set spec.rerun to a new value."
        return End(Outcome.FAILED, Reason.DEADLINE_EXCEEDED, text)
    if draft.activity is not None and draft.activity.kind is ActivityKind.RUNNING:
        draft.wake_in(float(limit - used))
    return None


def _give_way_to_refusal(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> None:
    """A refusal is known only now, and not to an operator that starts again: so the end is recorded before a new run begins."""
    end(draft, run, _given_way(draft), spec)
    draft.activity = Activity(ActivityKind.STARTING, Reason.RUN_PENDING, "the newer spec begins")
    draft.wake_in(0.1)


def _given_way(draft: Draft) -> End:
    waited_for = draft.activity.message if draft.activity is not None else ""
    return End(Outcome.REPLACED, Reason.REPLACED, f"replaced by a newer spec while nothing ran: {waited_for}")


def _hold(draft: Draft, run: CurrentRun) -> None:
    """Suspended: nothing runs, and nothing starts, until ``spec.suspend`` is cleared."""
    if not (attempts.accounted(run) and run.interruption is not None and run.interruption.reason == Reason.SUSPENDED.value):
        attempts.interrupt(draft, run, Reason.SUSPENDED, f"suspended by spec.suspend in step {run.active_step.value}")
        draft.note(Reason.SUSPENDED, "Suspend", f"run {run.number} is suspended in step {run.active_step.value}")
    under_way = [job for job in draft.scene.jobs_of(run.key) if job.active]
    for job in under_way:
        draft.delete(job)
    if under_way:
        text = f"Job {under_way[0].reference.name} seals a checkpoint and ends"
        draft.activity = Activity(ActivityKind.STOPPING, Reason.SUSPENDING, text)
    else:
        text = f"spec.suspend holds run {run.number} in step {run.active_step.value}. Set it to false to go on."
        draft.activity = Activity(ActivityKind.HELD, Reason.SUSPENDED, text)


def _point_at(draft: Draft, entry: HistoryEntry) -> None:
    """The present spec was run before: its result counts again, without training."""
    draft.run = history.run_of_entry(entry)
    draft.dataset = draft.estimate = draft.evaluation = None
    artifact = history.artifact_of(draft.run)
    if artifact is not None:
        draft.artifact = artifact.model_copy(update={"classification": draft.governance.classification if draft.governance else None})
        draft.note(Reason.ARTIFACT_REUSED, "Reuse", f"run {entry.number} made this very result: {artifact.uri}")


def _start(draft: Draft, spec: FineTuneJobSpec, accepted: Accepted, replaced: HistoryEntry | None) -> None:
    """A new run, or one that was replaced and is asked for again."""
    run = CurrentRun(
        key=accepted.key,
        name=replaced.name if replaced is not None else run_name(draft.scene.owner, accepted.key),
        number=replaced.number if replaced is not None else history.next_number(draft),
        generation=accepted.generation,
        image=draft.scene.settings.trainer_image[:512],
        declared_spec=canonical_json(spec.to_manifest()),
        inputs=RunInputs(base_uri=spec.base_model.uri, dataset=_declared_data(draft, spec)),
        started_at=draft.scene.now,
    )
    if replaced is None:
        launch.begin(draft, run, spec)
    else:
        _clear_the_way(draft, run)
    begun = draft.run is not None and draft.run.key == accepted.key and draft.run.outcome is None
    if not begun:
        return
    draft.dataset = draft.estimate = draft.evaluation = None
    if replaced is not None:
        draft.history = [entry for entry in draft.history if entry.number != replaced.number]
    draft.note(Reason.PREPARING, "Start", f"run {run.number} begins")


def _declared_data(draft: Draft, spec: FineTuneJobSpec) -> TrainedOn | None:
    """For whoever has to find what was trained on data that are withdrawn."""
    if draft.governance is None:
        return None
    rows, reference = spec.dataset.rows, spec.dataset.ref
    return TrainedOn(name=reference.name if reference is not None else None, uri=rows.uri, digest=rows.digest)


def _clear_the_way(draft: Draft, run: CurrentRun) -> None:
    """A run that was replaced begins again, maybe with another destination: what is left of it would be taken for its new children.

    Its document goes in the decision that records the run, and its first Job is made in the next one: so a Job that is found then is new.
    """
    left = draft.scene.jobs_of(run.key)
    for job in left:
        draft.delete(job)
    if left:
        draft.activity = Activity(ActivityKind.STOPPING, Reason.RUN_PENDING, f"waits for Job {left[0].reference.name} to go")
        return
    draft.check_resource = True
    draft.delete_config_map(run.name)
    draft.run = run
    draft.activity = Activity(ActivityKind.STARTING, *starting(run))
    draft.wake_in(0.1)


def _entry(draft: Draft, run: CurrentRun, claim: str | None) -> HistoryEntry:
    published = run.artifact_uri is not None
    return HistoryEntry(
        number=run.number,
        key=run.key,
        name=run.name,
        generation=run.generation,
        inputs=run.inputs,
        started_at=run.started_at,
        finished_at=draft.scene.now,
        outcome=run.outcome or Outcome.FAILED,
        reason=run.reason or Reason.INTERNAL.value,
        message=run.message[: history.MESSAGE_LIMIT],
        gate=run.gate,
        artifact_uri=run.artifact_uri if published else None,
        artifact_digest=run.adapter_digest,
        artifact_bytes=run.artifact_bytes if published else None,
        step=run.step,
        total_steps=run.total_steps,
        loss=run.loss,
        workspace_claim=claim,
        metrics=headline(draft.evaluation),
        record=run.record if published else None,
    )
