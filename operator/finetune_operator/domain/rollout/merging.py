"""The merge of a rollout, in mode Merged.

A merge answers from what an earlier one of the same inputs has finished, so an attempt too many costs a few seconds and changes nothing.
"""

from typing import Final

from finetune_inference.contract import MergedWeights
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import JobProgress, RolloutStatus, Stage
from finetune_operator.domain.children import JobState
from finetune_operator.domain.failure import Failure, FailureKind, describe, failure_of, last_words, lost_message
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout import undoing
from finetune_operator.domain.rollout.attempts import Kind, another, first_attempt, ordered, surplus, under_way, waits
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import JobAttempt
from finetune_operator.manifests.serving import MERGE, MergeOrder, merge_key, merge_run
from finetune_trainer.contract import FailureClass, MergeSummary

_KIND: Final = Kind(
    Reason.MERGING,
    "merge",
    "Merge",
    "trainer",
    claims="spec.merge.uri, spec.baseModel.uri and the adapter",
    resources="spec.merge.resources",
)
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
    found, key = {each.job.place.attempt: each for each in _of_version(draft, rollout)}, merge_key(base, rollout.digest)
    progress = rollout.merge
    if progress is None:
        progress = JobProgress(attempt=first_attempt(found, lambda attempt: _summary(attempt, key) is not None))
        rollout = draft.change(merge=progress)
    attempt = found.get(progress.attempt)
    if attempt is None:
        waiting = waits(draft, _KIND, progress)
        if waiting is not None:
            return waiting
        draft.merge = MergeOrder(progress.attempt, base, rollout.uri, rollout.digest)
        return ordered(draft, _KIND)
    if attempt.job.state is JobState.ACTIVE:
        return under_way(draft, _KIND, attempt)
    return _ended(draft, rollout, progress, attempt, base)


def surplus_merges(draft: Draft) -> tuple[ObjectReference, ...]:
    """Merges that run for what nobody waits for."""
    rollout = draft.rollout
    current = _of_version(draft, rollout) if rollout is not None and rollout.merge is not None else []
    return surplus(draft.scene.observed.merges, current)


def _of_version(draft: Draft, rollout: RolloutStatus) -> list[JobAttempt]:
    spec = draft.scene.spec
    if spec.merge is None or spec.base_model.digest is None:
        return []
    run = merge_run(draft.scene.subject.owner, spec.merge.uri, merge_key(spec.base_model.digest, rollout.digest))
    return [each for each in draft.scene.observed.merges if each.job.place.run == run and not each.job.terminating]


def _ended(draft: Draft, rollout: RolloutStatus, progress: JobProgress, attempt: JobAttempt, base: str) -> str | None:
    summary = _summary(attempt, merge_key(base, rollout.digest))
    if summary is not None:
        place = draft.scene.spec.merge
        assert place is not None
        uri = f"{place.uri.rstrip('/')}/{summary.digest.removeprefix('sha256:')}"
        draft.enter(Stage.LOADING, merge=None, merged=MergedWeights(uri=uri, digest=summary.digest))
        return None
    failure = _failure(attempt, merge_key(base, rollout.digest))
    message = describe(failure).replace("spec.resources", "spec.merge.resources")[:_LIMIT]
    again = another(draft, _KIND, progress, message, free=failure.kind in _FREE) if failure.kind not in _FINAL else None
    if again is None:
        times = f" (attempt {progress.attempt})" if progress.attempt > 1 else ""
        undoing.take_back(draft, Reason.MERGE_FAILED, f"the merge failed{times}: {message}")
        return None
    draft.change(merge=again)
    return message


def _summary(attempt: JobAttempt, key: str) -> MergeSummary | None:
    words = last_words(attempt.pod, key, MERGE)
    if attempt.job.state is not JobState.COMPLETE or words is None or words.outcome is not FailureClass.DONE or words.summary is None:
        return None
    return words.summary.merge


def _failure(attempt: JobAttempt, key: str) -> Failure:
    if attempt.job.state is JobState.COMPLETE:
        return lost_message(MERGE)
    return failure_of(attempt.job, attempt.pod, key)
