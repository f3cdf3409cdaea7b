"""The merge of a rollout, in mode Merged: one Job for each attempt, created once, tried again only by the operator.

Which attempt is under way is in status; how it stands is read off its Job and pod anew each time. A merge answers from what an earlier one
of the same inputs has finished, so an attempt too many costs a few seconds and changes nothing.
"""

from datetime import timedelta
from typing import Final

from finetune_inference.contract import MergedWeights
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import MergeProgress, RolloutStatus, Stage
from finetune_operator.domain.children import JobState, Pod
from finetune_operator.domain.failure import Failure, FailureKind, describe, failure_of, last_words, lost_message
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout import undoing
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import MergeAttempt
from finetune_operator.manifests.serving import MERGE, MergeOrder, merge_key, merge_run
from finetune_trainer.contract import FailureClass, MergeSummary

ATTEMPTS: Final = 3
MOST_ATTEMPTS: Final = 20
"""With those that count for nothing: evictions, and results that nobody read."""
_FREE: Final = (FailureKind.PREEMPTED, FailureKind.MESSAGE_LOST)
_FINAL: Final = (
    FailureKind.CONFIGURATION,
    FailureKind.DATA,
    FailureKind.MODEL,
    FailureKind.OUT_OF_MEMORY,
    FailureKind.HOST_OUT_OF_MEMORY,
)
_LIMIT: Final = 512


def merge(draft: Draft) -> str | None:
    """Take the merge as far as it goes now; what it waits for, in words, or None where the stage has ended."""
    rollout, spec = draft.rollout, draft.scene.spec
    assert rollout is not None
    base = spec.base_model.digest
    if spec.merge is None or base is None:
        draft.enter(Stage.LOADING)
        return None
    found = {each.job.place.attempt: each for each in _of_version(draft, rollout)}
    progress = rollout.merge
    if progress is None:
        progress = MergeProgress(attempt=_first(found, merge_key(base, rollout.digest)))
        rollout = draft.change(merge=progress)
    attempt = found.get(progress.attempt)
    if attempt is None:
        return _order(draft, rollout, progress, base)
    if attempt.job.state is JobState.ACTIVE:
        draft.wake_in(draft.scene.settings.look_seconds)
        trouble = _trouble(attempt)
        if trouble:
            draft.blocked = Reason.MERGING, f"the merge waits: {trouble}"
        return trouble or "the merge has not ended"
    return _ended(draft, rollout, progress, attempt, base)


def surplus_merges(draft: Draft) -> tuple[ObjectReference, ...]:
    """Jobs that still run for what nobody waits for: of a version that was given up, or superseded."""
    rollout = draft.rollout
    current = (
        {each.job.reference.uid for each in _of_version(draft, rollout)} if rollout is not None and rollout.merge is not None else set()
    )
    return tuple(
        each.job.reference
        for each in draft.scene.observed.merges
        if each.job.active and not each.job.terminating and each.job.reference.uid not in current
    )


def _of_version(draft: Draft, rollout: RolloutStatus) -> list[MergeAttempt]:
    spec = draft.scene.spec
    if spec.merge is None or spec.base_model.digest is None:
        return []
    run = merge_run(draft.scene.subject.owner, spec.merge.uri, merge_key(spec.base_model.digest, rollout.digest))
    return [each for each in draft.scene.observed.merges if each.job.place.run == run and not each.job.terminating]


def _first(found: dict[int, MergeAttempt], key: str) -> int:
    """A merge of an earlier rollout of this version is taken up where it runs, or where its result can be read still."""
    newest = max(found, default=0)
    if not newest:
        return 1
    last = found[newest]
    return newest if last.job.active or _summary(last, key) is not None else newest + 1


def _order(draft: Draft, rollout: RolloutStatus, progress: MergeProgress, base: str) -> str:
    if progress.retry_at is not None and progress.retry_at > draft.now:
        draft.wake_at(progress.retry_at)
        draft.blocked = Reason.MERGING, f"the merge is tried again at {progress.retry_at:%H:%M:%S} UTC. The last time: {progress.message}"
        return f"the last attempt failed: {progress.message}"
    refusal = draft.scene.observed.refusal
    if refusal:
        draft.blocked = Reason.MERGING, f"the merge cannot begin: {refusal}"
    draft.merge = MergeOrder(progress.attempt, base, rollout.uri, rollout.digest)
    draft.wake_in(draft.scene.settings.look_seconds)
    return refusal or "the Job of the merge is not there yet"


def _ended(draft: Draft, rollout: RolloutStatus, progress: MergeProgress, attempt: MergeAttempt, base: str) -> str | None:
    summary = _summary(attempt, merge_key(base, rollout.digest))
    if summary is not None:
        place = draft.scene.spec.merge
        assert place is not None
        uri = f"{place.uri.rstrip('/')}/{summary.digest.removeprefix('sha256:')}"
        draft.enter(Stage.LOADING, merge=None, merged=MergedWeights(uri=uri, digest=summary.digest))
        return None
    failure = _failure(attempt, merge_key(base, rollout.digest))
    message = describe(failure).replace("spec.resources", "spec.merge.resources")[:_LIMIT]
    failures = progress.failures + (failure.kind not in _FREE)
    if failure.kind in _FINAL or failures >= ATTEMPTS or progress.attempt >= MOST_ATTEMPTS:
        times = f" (attempt {progress.attempt})" if progress.attempt > 1 else ""
        undoing.take_back(draft, Reason.MERGE_FAILED, f"the merge failed{times}: {message}")
        return None
    settings = draft.scene.settings
    wait = min(settings.retry_cap_seconds, settings.retry_base_seconds * 2.0 ** max(0, failures - 1)) if failure.kind not in _FREE else 0.0
    again = MergeProgress(attempt=progress.attempt + 1, failures=failures, retry_at=draft.now + timedelta(seconds=wait), message=message)
    draft.change(merge=again)
    draft.note(Reason.MERGING, "Merge", f"{rollout.version}: attempt {progress.attempt} failed: {message}", warning=True)
    draft.wake_in(wait)
    return message


def _summary(attempt: MergeAttempt, key: str) -> MergeSummary | None:
    words = last_words(attempt.pod, key, MERGE)
    if attempt.job.state is not JobState.COMPLETE or words is None or words.outcome is not FailureClass.DONE or words.summary is None:
        return None
    return words.summary.merge


def _failure(attempt: MergeAttempt, key: str) -> Failure:
    if attempt.job.state is JobState.COMPLETE:
        return lost_message(MERGE)
    return failure_of(attempt.job, attempt.pod, key)


def _trouble(attempt: MergeAttempt) -> str:
    """What keeps the attempt from running, with the next action; empty where it runs, or nothing is known."""
    pod = attempt.pod
    if pod is None:
        newest = _newest(attempt.warnings, "FailedCreate")
        if newest is None:
            return ""
        return f"{newest}. Free quota in this namespace, or ask for less in spec.merge.resources." if "quota" in newest else newest
    if pod.running:
        return ""
    return _of_pod(pod) or _newest(attempt.warnings, "FailedMount", "FailedAttachVolume", "FailedMapVolume") or ""


def _of_pod(pod: Pod) -> str:
    if pod.unscheduled is not None and not pod.node:
        text = pod.unscheduled.message.strip().rstrip(".")[:_LIMIT]
        about_claim = "persistentvolumeclaim" in text.lower() or "volume" in text.lower()
        remedy = (
            "Check the claims of spec.merge.uri, spec.baseModel.uri and the adapter"
            if about_claim
            else "Add a node, or ask for less in spec.merge.resources"
        )
        return f"{text}. {remedy}."
    return (
        f"{pod.waiting_reason}: {pod.waiting_message}"[:_LIMIT]
        if pod.waiting_reason not in ("", "ContainerCreating", "PodInitializing")
        else ""
    )


def _newest(warnings: tuple[WarningEvent, ...], *reasons: str) -> str | None:
    found = max((event for event in warnings if event.reason in reasons), key=lambda event: event.last_seen, default=None)
    return None if found is None else found.message.strip().rstrip(".")[:_LIMIT]
