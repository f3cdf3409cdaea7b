"""Governance of what is being served: decided anew at every look, with a way back for what may not be served any more.

A version that answers and is refused has a grace period, because policies and labels are sometimes mistyped; one whose data were withdrawn
has none. What takes its place is the newest former version that may be served; where there is none, the alias answers nobody.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from finetune_inference.contract import RequiredProof
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import (
    AdapterRecordStatus,
    FailedVersion,
    GraceStatus,
    HistoryEntry,
    RetainedVersion,
    RolloutStatus,
    ServingGovernanceStatus,
    Stage,
    VersionStatus,
)
from finetune_operator.api.base import rfc3339
from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.domain.governance.judge import finding_status
from finetune_operator.domain.governance.serving import Question, Ruling, ServingView, classification_status, highest, rule_on
from finetune_operator.domain.rollout import undoing
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import RolloutObserved
from finetune_operator.domain.rollout.rulings import Memory, Version, known_of, memory_of, ruling_on
from finetune_operator.domain.rollout.subject import read_subject
from finetune_operator.domain.rollout.target import Target, asked_for, find_target
from finetune_operator.domain.subject import Mistakes
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.labels import clearance_of
from finetune_trainer.contract.governance.vocabulary import Level

_SHOWN, _MOST_ADAPTERS, _SHORT = 32, 24, 512


def govern(draft: Draft) -> None:
    """Take back what may not be served any more, and go back to what may."""
    view = draft.scene.observed.governance
    if view is None:
        return
    _withdraw_canary(draft)
    _withdraw_retained(draft)
    _withdraw_stable(draft, view)
    _go_back(draft)


def govern_what_was_read(draft: Draft) -> None:
    """What a check has just found out counts at once: no server is made for, nor told of, a version that may not be served."""
    scene = draft.scene
    if scene.observed.governance is None:
        return
    subject = replace(scene.subject, status=scene.status.replacing(checked=draft.checked))
    draft.scene = replace(scene, target=find_target(subject, scene.spec, scene.observed))
    _withdraw_canary(draft)


def govern_status(draft: Draft) -> ServingGovernanceStatus | None:
    """What status says of it; None where governance has no say, and what it said before where nobody looks after it now."""
    view, before = draft.scene.observed.governance, draft.scene.status.governance
    if view is None:
        return before
    ruling = spoken_ruling(draft, view)
    if not ruling.concerned and before is None:
        return None
    decision, asked = ruling.decision, _ruling_on(draft, asked_for(draft.scene.target))
    return ServingGovernanceStatus(
        decision=decision.outcome,
        classification=_risen(before, [each for each in (asked, _ruling_on(draft, draft.stable)) if each is not None]),
        policies=list(decision.policies)[:128],
        findings=[finding_status(each) for each in decision.findings[:_SHOWN]],
        grace=draft.grace,
        adapters=list(_remembered(draft, view))[:_MOST_ADAPTERS],
    )


def in_grace(grace: GraceStatus) -> str:
    """For people."""
    return f"{grace.version} answers until {rfc3339(grace.until)}, and is taken back then"


def spoken_ruling(draft: Draft, view: ServingView) -> Ruling:
    """What governance says of the version that answers if that is refused, else of the one that is asked for."""
    stable, asked = _ruling_on(draft, draft.stable), _ruling_on(draft, asked_for(draft.scene.target))
    if stable is not None and stable.denied:
        return stable
    return asked or stable or _ruling_on_object(draft, view)


def required_proof(draft: Draft, versions: Iterable[str]) -> RequiredProof | None:
    """What agents have to prove before an engine sees a file: of each version whose record the operator takes for signed."""
    view, keys = draft.scene.observed.governance, draft.scene.settings.record_keys
    if view is None or not keys:
        return None
    memory, wanted = _memory(draft), set(versions)
    named: list[VersionStatus | RolloutStatus | RetainedVersion] = [each for each in (draft.stable, draft.rollout) if each is not None]
    named += draft.retained
    signed = {
        each.version for each in named if each.version in wanted and each.merged is None and _is_signed(known_of(each.digest, memory, view))
    }
    clearance = clearance_of(view.namespace_labels)
    if not signed:
        return None
    level, regimes = clearance.level or Level.PUBLIC, sorted(clearance.regimes & view.site.known_regimes)
    return RequiredProof(public_keys=list(keys[:8]), level=level, regimes=regimes, versions=sorted(signed))


def _is_signed(known: AdapterRecordStatus | None) -> bool:
    return known is not None and known.signature is Proof.VALID and known.record is Proof.VALID


def labelled_as(observed: RolloutObserved) -> ClassificationStatus | None:
    """What all that serves has to carry as labels by now: of everything that was let pass, and of what is let pass at this moment."""
    view, subject = observed.governance, read_subject(observed.resource)
    if view is None or not view.known or subject is None or isinstance(subject.status, Mistakes):
        return None
    before = subject.status.governance
    rulings = []
    if not isinstance(subject.spec, Mistakes):
        target = find_target(subject, subject.spec, observed)
        if isinstance(target, Target):
            version, memory = Version(target.digest, target.uri), memory_of(subject.status, subject.status.checked)
            rulings.append(ruling_on(version, subject.owner, subject.spec, observed, view, memory=memory, labels=subject.labels))
    concerned = [each for each in rulings if each.concerned]
    return _risen(before, concerned) if before is not None or concerned else None


def _risen(before: ServingGovernanceStatus | None, rulings: list[Ruling]) -> ClassificationStatus:
    """What is refused does not count."""
    passed = [classification_status(ruling.decision.classification) for ruling in rulings if not ruling.denied]
    return highest([before.classification if before is not None else None, *passed])


def _withdraw_canary(draft: Draft) -> None:
    """Stable answers meanwhile, so that there is no reason to wait."""
    rollout = draft.rollout
    if rollout is None or rollout.stage is Stage.ROLLING_BACK:
        return
    ruling = _ruling_on(draft, rollout)
    if ruling is not None and ruling.concerned and ruling.denied:
        undoing.take_back(draft, ruling.reason, ruling.message, remembered=ruling.revoked)


def _withdraw_retained(draft: Draft) -> None:
    """What is loaded without traffic goes once its open requests had their time, and is no way back."""
    latest = draft.now + timedelta(seconds=draft.scene.spec.rollback.drain_timeout_seconds)
    draft.retained = [
        kept.replacing(until=min(kept.until, latest), served=False) if kept.served and not _allowed(draft, kept) else kept
        for kept in draft.retained
    ]


def _withdraw_stable(draft: Draft, view: ServingView) -> None:
    stable, before = draft.stable, draft.scene.status.governance
    ruling = _ruling_on(draft, stable)
    if stable is None or ruling is None or not (ruling.concerned and ruling.denied):
        return
    if ruling.revoked:
        _take_out(draft, stable, ruling)
        return
    grace = before.grace if before is not None and before.grace is not None and before.grace.version == stable.version else None
    if grace is None:
        grace = GraceStatus(version=stable.version, since=draft.now, until=draft.now + timedelta(seconds=view.grace_seconds))
        text = f"{stable.version} may not be served any more and is taken back at {rfc3339(grace.until)}: {ruling.message}"
        draft.note(ruling.reason, "Govern", text, warning=True)
    if draft.now < grace.until:
        draft.grace = grace
        draft.wake_at(grace.until)
        return
    _take_out(draft, stable, ruling)


def _take_out(draft: Draft, stable: VersionStatus, ruling: Ruling) -> None:
    """From here on no route names it; a canary that may be served takes over if it answers some callers already."""
    message = f"{ruling.reason.value}: {ruling.message}"
    undoing.retain(draft, stable, draft.scene.spec.rollback.drain_timeout_seconds, served=False)
    draft.history = [_ended(draft, stable, ruling.reason, message), *draft.history][: draft.scene.spec.revision_history_limit]
    if ruling.revoked:
        entry = FailedVersion(digest=stable.digest, reason=ruling.reason.value, message=message[:_SHORT], at=draft.now)
        draft.failed = [entry, *(other for other in draft.failed if other.digest != stable.digest)][:20]
    draft.note(ruling.reason, "RollBack", f"{stable.version} is taken back: {ruling.message}", warning=True)
    draft.stable = None
    rollout = draft.rollout
    if rollout is None:
        return
    if rollout.stage in (Stage.APPLYING, Stage.BAKING):
        draft.enter(Stage.PROMOTING)
    elif rollout.stage is not Stage.PROMOTING:
        drain = rollout.stage is Stage.ROLLING_BACK
        undoing.finish(draft, rollout, Reason.SUPERSEDED, "a former version has to answer at once", drain=drain)


def _ended(draft: Draft, stable: VersionStatus, reason: Reason, message: str) -> HistoryEntry:
    return HistoryEntry(
        version=stable.version,
        digest=stable.digest,
        generation=draft.scene.subject.generation,
        started_at=stable.since,
        ended_at=draft.now,
        outcome=reason.value,
        message=message[:_SHORT],
    )


def _go_back(draft: Draft) -> None:
    """Where nothing answers: the newest former version that may. What is asked for, and may, comes first unless another is loaded still."""
    target = draft.scene.target
    if draft.stable is not None or draft.rollout is not None:
        return
    comes = isinstance(target, Target) and not any(failed.digest == target.digest for failed in draft.failed)
    former = next((version for version in _former(draft, loaded=comes) if _allowed(draft, version)), None)
    if former is None or (isinstance(target, Target) and former.digest == target.digest):
        return
    draft.rollout = RolloutStatus(
        version=former.version,
        digest=former.digest,
        uri=former.uri or "",
        generation=draft.scene.subject.generation,
        stage=Stage.VALIDATING,
        started_at=draft.now,
        stage_since=draft.now,
        merged=former.merged,
        restores=True,
    )
    draft.note(Reason.REVERTED, "Revert", f"{former.version} answered before and may: it does so again")


def _former(draft: Draft, *, loaded: bool) -> Iterator[RetainedVersion | HistoryEntry]:
    """Those that are loaded still, then those that answered all callers once, newest first; none that was taken back."""
    failed = {each.digest for each in draft.failed}
    yield from (kept for kept in draft.retained if kept.served and kept.digest not in failed)
    promoted = Reason.PROMOTED.value
    if not loaded:
        yield from (past for past in draft.history if past.outcome == promoted and past.uri and past.digest not in failed)


def _allowed(draft: Draft, version: Version | VersionStatus | RolloutStatus | RetainedVersion | HistoryEntry) -> bool:
    ruling = _ruling_on(draft, version)
    return ruling is None or not (ruling.concerned and ruling.denied)


def _ruling_on(draft: Draft, version: Version | VersionStatus | RolloutStatus | RetainedVersion | HistoryEntry | None) -> Ruling | None:
    """None where there is no version, or nobody looks after governance."""
    scene, view = draft.scene, draft.scene.observed.governance
    if version is None or view is None:
        return None
    asked = asked_for(scene.target)
    place = Version(version.digest, version.uri or "")
    labels = scene.subject.labels if asked is not None and asked.digest == version.digest else None
    return ruling_on(place, scene.subject.owner, scene.spec, scene.observed, view, memory=_memory(draft), labels=labels)


def _ruling_on_object(draft: Draft, view: ServingView) -> Ruling:
    """What can be said as long as no version is known."""
    scene = draft.scene
    question = Question(scene.subject.owner, scene.spec, digest="", adapter=None, unread=True, labels=scene.subject.labels)
    return rule_on(view, question)


def _memory(draft: Draft) -> Memory:
    return memory_of(draft.scene.status, draft.checked)


def _remembered(draft: Draft, view: ServingView) -> Iterator[AdapterRecordStatus]:
    """Of each version that is named anywhere, newest first."""
    in_use: list[VersionStatus | RolloutStatus | None] = [draft.stable, draft.rollout]
    named = [each.digest for each in in_use if each is not None]
    named += [each.digest for each in draft.retained]
    named += [each.digest for each in draft.history]
    memory = _memory(draft)
    for digest in dict.fromkeys(named):
        known = known_of(digest, memory, view)
        if known is not None:
            yield known
