"""Ending a rollout without its version: the canary's traffic goes back first, everything else follows."""

from datetime import timedelta

from finetune_operator.api.adapterdeployment.reasons import OF_GOVERNANCE, Reason
from finetune_operator.api.adapterdeployment.status import FailedVersion, HistoryEntry, RetainedVersion, RolloutStatus, Stage, VersionStatus
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.traffic import acknowledged

_FAILED_LIMIT = 20
_SHORT = 512
_INNOCENT = (Reason.SUPERSEDED, Reason.REVERTED)
"""Ends that say nothing against the version: it may be asked for again."""
_FORGOTTEN = OF_GOVERNANCE - {Reason.REVOKED}
"""Ends with traffic that governance decides upon anew at every look, so that nothing has to be remembered."""
_WITH_TRAFFIC = (Stage.APPLYING, Stage.BAKING, Stage.PROMOTING)


def take_back(draft: Draft, reason: Reason, message: str, *, remembered: bool = True) -> None:
    """From here on no route names the canary. A version that has no traffic yet is dropped on the spot.

    ``remembered``: a version that failed is not tried again by itself.
    """
    rollout = draft.rollout
    assert rollout is not None
    warning = reason not in _INNOCENT
    draft.note(reason, "RollBack", f"{rollout.version}: {message}", warning=warning)
    if rollout.stage in _WITH_TRAFFIC:
        draft.enter(Stage.ROLLING_BACK, outcome=reason.value, message=message[:2048])
    else:
        finish(draft, rollout, reason, message, drain=False, remembered=remembered)


def conclude(draft: Draft) -> None:
    """Rolling back ends when every router has acknowledged that the canary is gone; then it drains."""
    rollout = draft.rollout
    assert rollout is not None
    if acknowledged(draft):
        outcome = outcome_of(rollout)
        finish(draft, rollout, outcome, rollout.message, drain=True, remembered=outcome not in _FORGOTTEN)
    else:
        draft.wake_in(draft.scene.settings.poll_seconds)


def finish(draft: Draft, rollout: RolloutStatus, reason: Reason, message: str, *, drain: bool, remembered: bool = True) -> None:
    """The rollout is history; what failed is remembered, so that no re-sync tries it again."""
    draft.rollout = None
    remember(draft, rollout, reason, message)
    if remembered and reason not in _INNOCENT:
        entry = FailedVersion(digest=rollout.digest, reason=reason.value, message=message[:_SHORT], at=draft.now)
        draft.failed = [entry, *(other for other in draft.failed if other.digest != rollout.digest)][:_FAILED_LIMIT]
    if drain:
        retain(draft, rollout, draft.scene.spec.rollback.drain_timeout_seconds, served=False)


def remember(draft: Draft, rollout: RolloutStatus, reason: Reason, message: str) -> None:
    entry = HistoryEntry(
        version=rollout.version,
        digest=rollout.digest,
        generation=rollout.generation,
        started_at=rollout.started_at,
        ended_at=draft.now,
        outcome=reason.value,
        message=message[:_SHORT],
        uri=rollout.uri if draft.scene.status.governance is not None else None,
        merged=rollout.merged if draft.scene.status.governance is not None else None,
    )
    draft.history = [entry, *draft.history][: draft.scene.spec.revision_history_limit]


def retain(draft: Draft, version: VersionStatus | RolloutStatus, seconds: float, *, served: bool) -> None:
    """It stays loaded without traffic; newest first, each once, as many as status holds."""
    until = draft.now + timedelta(seconds=seconds)
    kept = RetainedVersion(
        version=version.version, digest=version.digest, uri=version.uri, until=until, served=served, merged=version.merged
    )
    draft.retained = [kept, *(other for other in draft.retained if other.version != version.version)][:8]


def outcome_of(rollout: RolloutStatus) -> Reason:
    """A reason from status; one that another version wrote reads as rolled back."""
    try:
        return Reason(rollout.outcome or Reason.ROLLED_BACK.value)
    except ValueError:
        return Reason.ROLLED_BACK
