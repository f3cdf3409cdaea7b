"""What the server pods are to hold: stable, the version being rolled out, and those without traffic until their time is over."""

from datetime import timedelta

from finetune_operator.api.adapterdeployment.status import BEFORE_SERVERS, DesiredStatus, DesiredVersion, Stage
from finetune_operator.domain.rollout.draft import Draft


def expire(draft: Draft) -> None:
    """Forget versions whose time is over; the pods' agents unload them at that moment by themselves."""
    draft.retained = [version for version in draft.retained if version.until > draft.now]
    for version in draft.retained:
        draft.wake_at(version.until)


def make_way(draft: Draft) -> None:
    """In mode Merged a version is a set of servers: one without traffic goes, once its open requests had their time, as the next comes."""
    latest = draft.now + timedelta(seconds=draft.scene.spec.rollback.drain_timeout_seconds)
    draft.retained = [kept.replacing(until=min(kept.until, latest)) for kept in draft.retained]


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
    return numbered(draft.scene.status.desired, versions)


def numbered(before: DesiredStatus | None, versions: list[DesiredVersion]) -> DesiredStatus | None:
    """The set with its generation, which rises with every change; None as long as nothing was ever wanted."""
    if before is None:
        return DesiredStatus(generation=1, versions=versions) if versions else None
    return before if before.versions == versions else DesiredStatus(generation=before.generation + 1, versions=versions)
