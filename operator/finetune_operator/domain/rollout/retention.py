"""What the server pods are to hold: stable, the version being rolled out, and those without traffic until their time is over."""

from collections.abc import Collection
from datetime import timedelta

from finetune_inference.contract import RequiredProof
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import BEFORE_SERVERS, DesiredStatus, DesiredVersion, RetainedVersion, Stage
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.governing import required_proof
from finetune_operator.domain.rollout.loading import Shortage, lack_of_room
from finetune_operator.domain.rollout.traffic import acknowledged


def expire(draft: Draft) -> None:
    """Forget versions whose time is over; the pods' agents unload them at that moment by themselves."""
    draft.retained = [version for version in draft.retained if version.until > draft.now]
    for version in draft.retained:
        draft.wake_at(version.until)


def make_way(draft: Draft, versions: Collection[RetainedVersion], *, at_once: bool = False) -> None:
    """Versions without traffic go as the next one comes, once their open requests had their time.

    ``at_once``: those of which no router has a request open go now.
    """
    latest = draft.now + timedelta(seconds=draft.scene.spec.rollback.drain_timeout_seconds)
    names = {version.version for version in versions}
    gone = {name for name in names if at_once and _is_quiet(draft, name)}
    kept = [version for version in draft.retained if version.version not in gone]
    draft.retained = [version.replacing(until=min(version.until, latest)) if version.version in names else version for version in kept]


def make_room(draft: Draft, shortage: Shortage) -> bool:
    """Former versions that are kept for a way back give their room to the one that is asked for; whether there is room now."""
    make_way(draft, shortage.goes, at_once=True)
    if lack_of_room(draft) is None:
        return True
    words = shortage.words
    if shortage.goes:
        names = " and ".join(sorted(version.version for version in shortage.goes))
        words += f". {names} makes room once its open requests have ended, at the latest after spec.rollback.drainTimeoutSeconds."
    draft.blocked = Reason.WAITING_FOR_CAPACITY, words
    return False


def _is_quiet(draft: Draft, version: str) -> bool:
    """Whether every router has applied the route in which nobody is sent there, and says that nothing is open."""
    applied = [router.applied for router in draft.scene.observed.routers]
    return acknowledged(draft) and not any(route is not None and route.in_flight.get(version) for route in applied)


def desired_set(draft: Draft) -> DesiredStatus | None:
    """Stable first, so that a pod that restarts answers before it loads a canary."""
    versions: list[DesiredVersion] = []
    stable, rollout = draft.stable, draft.rollout
    if stable is not None:
        versions.append(DesiredVersion(name=stable.version, uri=stable.uri, digest=stable.digest, merged=stable.merged))
    if rollout is not None and rollout.stage not in BEFORE_SERVERS:
        required = stable is None or rollout.stage is Stage.PROMOTING
        versions.append(
            DesiredVersion(name=rollout.version, uri=rollout.uri, digest=rollout.digest, required=required, merged=rollout.merged)
        )
    named = {version.name for version in versions}
    versions += [
        DesiredVersion(name=kept.version, uri=kept.uri, digest=kept.digest, keep_until=kept.until, required=False, merged=kept.merged)
        for kept in draft.retained
        if kept.version not in named
    ]
    proof = required_proof(draft, (version.name for version in versions))
    return numbered(draft.scene.status.desired, versions, proof)


def numbered(before: DesiredStatus | None, versions: list[DesiredVersion], proof: RequiredProof | None = None) -> DesiredStatus | None:
    """The set with its generation, which rises with every change; None as long as nothing was ever wanted."""
    if before is None:
        return DesiredStatus(generation=1, versions=versions, proof=proof) if versions else None
    if (before.versions, before.proof) == (versions, proof):
        return before
    return DesiredStatus(generation=before.generation + 1, versions=versions, proof=proof)
