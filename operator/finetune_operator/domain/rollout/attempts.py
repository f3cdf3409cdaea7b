"""What merges and checks of a rollout have in common: Jobs that are created once, one for each attempt, tried again only by the operator.

Which attempt is under way is in status; how it stands is read off its Job and pod anew each time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import JobProgress
from finetune_operator.domain.children import Pod
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import ObjectReference
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.mounting import of_sandbox
from finetune_operator.domain.rollout.observed import JobAttempt
from finetune_operator.domain.trouble import MOUNT_REASONS, SANDBOX_REASON, missing_claim, of_claim, of_creation, of_image, of_quota

ATTEMPTS: Final = 3
MOST_ATTEMPTS: Final = 20
"""With those that count for nothing: evictions, and results that nobody read."""
_LIMIT: Final = 512
_TOLERATE: Final = "Or tolerate a taint in spec.server.managed.resources.tolerations and delete the Job, which is then made anew."


@dataclass(frozen=True)
class Kind:
    """``name`` and ``image`` are what people read; ``resources`` names the field that asks for less, ``claims`` those that name volumes."""

    reason: Reason
    name: str
    action: str
    image: str
    claims: str
    resources: str = ""


def first_attempt(found: dict[int, JobAttempt], is_done: Callable[[JobAttempt], bool]) -> int:
    """An earlier rollout's attempt of the same inputs is taken up where it runs, or where its result can be read still."""
    newest = max(found, default=0)
    if not newest:
        return 1
    last = found[newest]
    return newest if last.job.active or is_done(last) else newest + 1


def waits(draft: Draft, kind: Kind, progress: JobProgress) -> str | None:
    """Why the next attempt does not begin yet, or None where it is its time."""
    if progress.retry_at is None or progress.retry_at <= draft.now:
        return None
    draft.wake_at(progress.retry_at)
    draft.blocked = kind.reason, f"the {kind.name} is tried again at {progress.retry_at:%H:%M:%S} UTC. The last time: {progress.message}"
    return f"the last attempt failed: {progress.message}"


def ordered(draft: Draft, kind: Kind) -> str:
    """What stands against the Job that is ordered now."""
    refusal = draft.scene.observed.refusal
    if refusal:
        draft.blocked = kind.reason, f"the {kind.name} cannot begin: {refusal}"
    draft.wake_in(draft.scene.settings.look_seconds)
    return refusal or f"the Job of the {kind.name} is not there yet"


def under_way(draft: Draft, kind: Kind, attempt: JobAttempt) -> str:
    """What an attempt that has not ended waits for."""
    draft.wake_in(draft.scene.settings.look_seconds)
    trouble = trouble_of(attempt, kind, tolerant=draft.scene.spec.server.managed is not None)
    if trouble:
        draft.blocked = kind.reason, f"the {kind.name} waits: {trouble}"
    return trouble or f"the {kind.name} has not ended"


def another(draft: Draft, kind: Kind, progress: JobProgress, message: str, *, free: bool, most: int = ATTEMPTS) -> JobProgress | None:
    """The attempt after one that failed, or None where it was the last of ``most``; ``free``: it counts for nothing."""
    failures = progress.failures + (not free)
    if failures >= most or progress.attempt >= MOST_ATTEMPTS:
        return None
    settings, rollout = draft.scene.settings, draft.rollout
    assert rollout is not None
    wait = 0.0 if free else min(settings.retry_cap_seconds, settings.retry_base_seconds * 2.0 ** max(0, failures - 1))
    draft.note(kind.reason, kind.action, f"{rollout.version}: attempt {progress.attempt} failed: {message}", warning=True)
    draft.wake_in(wait)
    return JobProgress(
        attempt=progress.attempt + 1, failures=failures, retry_at=draft.now + timedelta(seconds=wait), message=message[:_LIMIT]
    )


def surplus(attempts: Iterable[JobAttempt], current: Iterable[JobAttempt]) -> tuple[ObjectReference, ...]:
    """Jobs that still run for what nobody waits for: of a version that was given up, or superseded."""
    wanted = {each.job.reference.uid for each in current}
    running = (each.job for each in attempts if each.job.active and not each.job.terminating)
    return tuple(job.reference for job in running if job.reference.uid not in wanted)


def trouble_of(attempt: JobAttempt, kind: Kind, *, tolerant: bool) -> str:
    """What keeps the attempt from running, with the next action; empty where it runs, or nothing is known.

    ``tolerant``: whether there are servers whose tolerations are the Job's too.
    """
    pod = attempt.pod
    if pod is None:
        newest = _newest(attempt.warnings, "FailedCreate")
        if newest is None:
            return ""
        evidence = of_creation(_cut(newest.message))
        return of_quota(evidence, kind.resources) or evidence
    if pod.running:
        return ""
    return _of_pod(pod, kind, tolerant=tolerant) or _before_start(pod, attempt.warnings, kind)


def _before_start(pod: Pod, warnings: Iterable[WarningEvent], kind: Kind) -> str:
    """What its node tells in events alone."""
    newest = _newest(warnings, *MOUNT_REASONS, SANDBOX_REASON)
    if newest is None:
        return ""
    if newest.reason == SANDBOX_REASON:
        return of_sandbox(newest.message, pod.node)
    claim = missing_claim(newest.message)
    if claim is not None:
        return of_claim(claim, f"what names it: {kind.claims}")
    return f"{_cut(newest.message)}. Check the claims of {kind.claims}."


def _of_pod(pod: Pod, kind: Kind, *, tolerant: bool) -> str:
    if pod.unscheduled is not None and not pod.node:
        text = pod.unscheduled.message.strip().rstrip(".")[:_LIMIT]
        about_claim = "persistentvolumeclaim" in text.lower() or "volume" in text.lower()
        claim = missing_claim(text)
        if claim:
            return of_claim(claim, f"what names it: {kind.claims}")
        if about_claim:
            return f"{text}. Check the claims of {kind.claims}."
        way_out = f"{text}. Add a node{_or_less(kind)}."
        return f"{way_out} {_TOLERATE}" if tolerant and "taint" in text else way_out
    unpulled = of_image(pod, f"the image of the {kind.name}", kind.image)
    if unpulled is not None:
        return unpulled
    starting = pod.waiting_reason in ("", "ContainerCreating", "PodInitializing")
    return "" if starting else f"{pod.waiting_reason}: {pod.waiting_message}"[:_LIMIT]


def _or_less(kind: Kind) -> str:
    return f", or ask for less in {kind.resources}" if kind.resources else ""


def _newest(warnings: Iterable[WarningEvent], *reasons: str) -> WarningEvent | None:
    return max((event for event in warnings if event.reason in reasons), key=lambda event: event.last_seen, default=None)


def _cut(evidence: str) -> str:
    return evidence.strip().rstrip(".")[:_LIMIT]
