"""The check of a version whose uri a person has typed: a Job reads the files before any server is made for them, or told of them.

What a FineTuneJob has made is known by its record; in mode Merged the merge reads the files. A verdict follows from what is named in it
(`check_basis`), so it is remembered, and nothing is read twice. Agents judge the files again next to the engine.
"""

from typing import Final

from pydantic import ValidationError

from finetune_inference.contract import PreflightResult
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import (
    AdapterRecordStatus,
    CheckedVersion,
    FailedVersion,
    JobProgress,
    RolloutStatus,
    Stage,
)
from finetune_operator.api.inputs import LicenceStatus, TrainedOn
from finetune_operator.domain.children import JobState
from finetune_operator.domain.governance.serving import classification_status
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout import undoing
from finetune_operator.domain.rollout.attempts import (
    ATTEMPTS,
    MOST_ATTEMPTS,
    Kind,
    another,
    first_attempt,
    ordered,
    surplus,
    under_way,
    waits,
)
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import JobAttempt, RolloutObserved
from finetune_operator.domain.rollout.subject import read_subject
from finetune_operator.domain.rollout.target import Target, find_target
from finetune_operator.domain.rollout.unread import is_unread
from finetune_operator.domain.subject import Mistakes
from finetune_operator.manifests.serving import CheckOrder, check_basis, check_run
from finetune_trainer.contract.governance.facts import Proof

_KIND: Final = Kind(Reason.CHECKING, "check", "Check", "inference", claims="spec.adapter.uri and spec.baseModel.uri")
_MOST_REMEMBERED: Final = 20
_SENTENCE: Final = 200
"""Characters of a finding's message and way out, so that all parts of one fit where refusals are remembered."""
_WORDS: Final = 256
_UNREAD: Final = 1
"""Exit code of ``finetune-inference preflight`` where a volume could not be read, or nothing lies there yet."""


def is_due(draft: Draft, rollout: RolloutStatus) -> bool:
    """Whether the files of the version under way have to be read first."""
    return is_unread(draft.scene.spec, draft.scene.observed, draft.checked, rollout.uri, rollout.digest)


def awaits_check(observed: RolloutObserved) -> bool:
    """Whether what is asked for may turn out to be nothing that can be served, so that no server is made for it yet."""
    subject = read_subject(observed.resource)
    if subject is None or isinstance(subject.spec, Mistakes) or isinstance(subject.status, Mistakes):
        return False
    target = find_target(subject, subject.spec, observed)
    return isinstance(target, Target) and is_unread(subject.spec, observed, subject.status.checked, target.uri, target.digest)


def check(draft: Draft) -> str | None:
    """Take the check as far as it goes now; what it waits for, in words, or None where the stage has ended."""
    rollout = draft.rollout
    assert rollout is not None
    if not is_due(draft, rollout):
        draft.enter(Stage.VALIDATING, check=None)  # an operator that cannot look has taken over
        return None
    found = {each.job.place.attempt: each for each in _of_version(draft, rollout)}
    progress, digest = rollout.check, rollout.digest
    if progress is None:
        progress = JobProgress(attempt=first_attempt(found, lambda attempt: _passes(attempt, digest)))
        rollout = draft.change(check=progress)
    attempt = found.get(progress.attempt)
    if attempt is None:
        waiting = waits(draft, _KIND, progress)
        if waiting is not None:
            return waiting
        draft.check = CheckOrder(progress.attempt, rollout.uri, rollout.digest)
        return ordered(draft, _KIND)
    if attempt.job.state is JobState.ACTIVE:
        return under_way(draft, _KIND, attempt)
    return _ended(draft, rollout, progress, attempt)


def surplus_checks(draft: Draft) -> tuple[ObjectReference, ...]:
    """Checks that run for what nobody waits for."""
    rollout = draft.rollout
    current = _of_version(draft, rollout) if rollout is not None and rollout.check is not None else []
    return surplus(draft.scene.observed.checks, current)


def failure_of(draft: Draft, target: Target) -> FailedVersion | None:
    """Why this version is not tried again; what a check said of another uri, base model or limit counts for nothing."""
    basis = check_basis(draft.scene.spec, target.uri, target.digest)
    return next((failed for failed in draft.failed if failed.digest == target.digest and failed.basis in (None, basis)), None)


def _of_version(draft: Draft, rollout: RolloutStatus) -> list[JobAttempt]:
    run = check_run(draft.scene.subject.owner, check_basis(draft.scene.spec, rollout.uri, rollout.digest))
    return [each for each in draft.scene.observed.checks if each.job.place.run == run and not each.job.terminating]


def _ended(draft: Draft, rollout: RolloutStatus, progress: JobProgress, attempt: JobAttempt) -> str | None:
    result = _result(attempt, rollout.digest)
    basis = check_basis(draft.scene.spec, rollout.uri, rollout.digest)
    if result is not None and result.compatible:
        known = CheckedVersion(digest=rollout.digest, basis=basis, record=_record(draft, result))
        draft.checked = [known, *(other for other in draft.checked if other.basis != basis)][:_MOST_REMEMBERED]
        draft.enter(Stage.VALIDATING, check=None)
        return None
    if result is not None:
        _give_up(draft, Reason.ARTIFACT_REFUSED, f"the files of {rollout.version} are refused: {_in_words(result)}", basis)
        return None
    message, free = _failure(attempt)
    again = another(draft, _KIND, progress, message, free=free, most=MOST_ATTEMPTS if _may_pass(attempt) else ATTEMPTS)
    if again is None:
        times = f" (attempt {progress.attempt})" if progress.attempt > 1 else ""
        _give_up(draft, Reason.CHECK_FAILED, f"the check failed{times}: {message}", basis)
        return None
    draft.change(check=again)
    return message


def _give_up(draft: Draft, reason: Reason, message: str, basis: str) -> None:
    undoing.take_back(draft, reason, message)
    draft.failed = [draft.failed[0].replacing(basis=basis), *draft.failed[1:]]


def _result(attempt: JobAttempt, digest: str) -> PreflightResult | None:
    """The verdict, if the pod's last words are one about these files."""
    if attempt.pod is None:
        return None
    try:
        found = PreflightResult.model_validate_json(attempt.pod.termination_message, extra="ignore")  # a newer image may say more
    except ValidationError:
        return None
    return found if found.digest == digest and (found.compatible or found.findings) else None


def _record(draft: Draft, result: PreflightResult) -> AdapterRecordStatus | None:
    """What an image says that is too old to look is that there is none."""
    view, said = draft.scene.observed.governance, result.record
    if view is None or not (view.governed or said is not None):
        return None
    if said is None:
        return AdapterRecordStatus(digest=result.digest, signature=Proof.ABSENT, record=Proof.ABSENT)
    return AdapterRecordStatus(
        digest=result.digest,
        classification=classification_status(said.classification) if said.classification is not None else None,
        data=[TrainedOn(namespace=each.namespace, name=each.name, uri=each.uri, digest=each.digest) for each in said.data],
        licences=[LicenceStatus(key=each.key, category=each.category) for each in said.licences],
        signature=said.signature,
        record=said.record,
    )


def _passes(attempt: JobAttempt, digest: str) -> bool:
    """A refusal is not taken up: who asks once more may have mended the files."""
    result = _result(attempt, digest)
    return result is not None and result.compatible


def _in_words(result: PreflightResult) -> str:
    """The first finding as a whole, and the reasons of the others."""
    first, *others = result.findings
    text = f"{first.reason}: {first.field}: {first.message[:_SENTENCE].rstrip('. ')}. {first.way_out[:_SENTENCE]}"
    more = [finding.reason for finding in others] + [f"{result.left_out} more"] * bool(result.left_out)
    return f"{text} Besides: {', '.join(more)}."[: _SENTENCE * 4] if more else text


def _may_pass(attempt: JobAttempt) -> bool:
    """Volumes come back, and files arrive: that is waited for as long as an agent would, until the progress deadline."""
    return attempt.pod is not None and attempt.pod.exit_code == _UNREAD


def _failure(attempt: JobAttempt) -> tuple[str, bool]:
    """What became of an attempt without a verdict, and whether that counts for nothing."""
    pod = attempt.pod
    if pod is None:
        return "its pod is gone with its result", True
    if pod.disruption:
        return f"the pod was evicted: {pod.disruption}"[:_WORDS], True
    if pod.exit_reason == "OOMKilled":
        return "the kernel killed the pod for its memory (OOMKilled). Look at the sizes of the files at spec.adapter.uri.", False
    said = (pod.termination_message or pod.message or pod.reason).strip()
    last = said.splitlines()[-1].strip() if said else "it left no word"
    code = f" (exit code {pod.exit_code})" if pod.exit_code is not None else ""
    return f"{last[:_WORDS].rstrip('. ')}{code}. Look at the pod's log, and at the claims of {_KIND.claims}.", False
