"""What to do next: a pure function of what was observed, what is wanted and the time.

At most one step of each lane at a time. The engine's lane takes one version after the other, in the order they are wanted, because a load
holds up everybody's tokens. What needs no step now says when to look again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

from finetune_inference.agent.knowledge import EngineView, Observed, active_failure, basis_of, split_by_slots
from finetune_inference.contract import VERSION_PATTERN, DesiredSet, DesiredVersion
from finetune_trainer.contract import Digest

_VERSION = re.compile(VERSION_PATTERN)


class Cause(StrEnum):
    """Why a version is loaded: for the first time, or because the audit found it gone or replaced."""

    NEW = "New"
    RESTART = "EngineRestart"
    LOST = "Lost"
    REPLACED = "Replaced"


@dataclass(frozen=True)
class Fetch:
    """Bring the artifact into the store if it is not there, hash it, and check that it is compatible."""

    version: DesiredVersion
    basis: str


@dataclass(frozen=True)
class Collect:
    """Remove from the store what is not in ``keep``."""

    keep: frozenset[Digest]


@dataclass(frozen=True)
class Load:
    version: DesiredVersion
    basis: str
    path: str
    cause: Cause


@dataclass(frozen=True)
class Prove:
    """Ask for one token with and without the adapter; ``require_effect``: they have to differ."""

    version: DesiredVersion
    basis: str
    base: str
    started: str
    require_effect: bool = True


@dataclass(frozen=True)
class Unload:
    name: str


@dataclass(frozen=True)
class Plan:
    """``wake_at``: the earliest time at which this decision would be another one by itself."""

    disk: Fetch | Collect | None = None
    engine: Load | Prove | Unload | None = None
    wake_at: datetime | None = None


def decide(observed: Observed, desired: DesiredSet | None, now: datetime) -> Plan:
    """The next step of each lane. Before anything was ever wanted nothing is done, and nothing is unloaded."""
    if desired is None:
        return Plan()
    return Plan(_disk(observed, desired, now), _engine(observed, desired, now), _wake_at(observed, desired, now))


def leftovers(engine: EngineView, store: PurePosixPath, desired: DesiredSet, now: datetime) -> tuple[str, ...]:
    """Versions of ours in the engine that nobody wants any more. Adapters with other names, or from elsewhere, are somebody else's."""
    wanted = {version.name for version in desired.wanted(now)}
    return tuple(
        model.name
        for model in engine.models
        if model.name not in wanted and _VERSION.fullmatch(model.name) and model.root and PurePosixPath(model.root).parent == store
    )


def _disk(observed: Observed, desired: DesiredSet, now: datetime) -> Fetch | Collect | None:
    if observed.fetching is not None or observed.collecting:
        return None
    for version in split_by_slots(observed, desired, now)[0]:
        basis = basis_of(version, desired)
        busy = observed.loading == version.name
        if observed.of(version).checked != basis and not busy and not _waits(observed, version, basis, now):
            return Fetch(version, basis)
    keep = _kept(observed, desired, now)
    return Collect(keep) if observed.engine.reachable and observed.held - keep else None


def _kept(observed: Observed, desired: DesiredSet, now: datetime) -> frozenset[Digest]:
    """An engine reads a listed adapter again from disk after it has pushed it out of memory, so listed ones stay too."""
    listed = {f"sha256:{PurePosixPath(model.root).name}" for model in observed.engine.models if model.root}
    return frozenset(version.digest for version in desired.wanted(now)) | listed


def _engine(observed: Observed, desired: DesiredSet, now: datetime) -> Load | Prove | Unload | None:
    base = observed.engine.base(desired.base.name)
    if observed.loading is not None or not observed.engine.reachable or base is None:
        return None
    fitting, _ = split_by_slots(observed, desired, now)
    step = next(_steps(observed, desired, fitting, base.name, now), None)
    return step if observed.merged is not None or _unloads_wait(observed, now) else _unload(observed, desired, fitting, step, now) or step


def _unload(
    observed: Observed, desired: DesiredSet, fitting: tuple[DesiredVersion, ...], step: Load | Prove | None, now: datetime
) -> Unload | None:
    """What has to leave the engine before ``step``: a version that must not stay, or one nobody wants when there is no room or no hurry."""
    for version in fitting:
        failure = active_failure(observed.of(version), basis_of(version, desired))
        if failure is not None and failure.withdraw and now < failure.retry_at and observed.engine.model(version.name) is not None:
            return Unload(version.name)
    surplus = leftovers(observed.engine, observed.store, desired, now)
    no_room = isinstance(step, Load) and _full(observed, desired)
    no_hurry = step is None and not _on_their_way(observed, desired, fitting, now)
    return Unload(surplus[0]) if surplus and (no_room or no_hurry) else None


def _steps(
    observed: Observed, desired: DesiredSet, fitting: tuple[DesiredVersion, ...], base: str, now: datetime
) -> Iterator[Load | Prove]:
    for version in fitting:
        basis = basis_of(version, desired)
        busy = observed.fetching == version.name
        if busy or observed.of(version).checked != basis or _waits(observed, version, basis, now):
            continue
        if not observed.in_place(version) and observed.merged is not None:
            continue  # an engine serves its model from its start, or never
        if not observed.in_place(version):
            yield Load(version, basis, observed.path(version.digest), _cause(observed, version))
        elif not observed.proven(version):
            yield Prove(version, basis, base, observed.engine.started, desired.require_effect)


def _on_their_way(observed: Observed, desired: DesiredSet, fitting: tuple[DesiredVersion, ...], now: datetime) -> bool:
    """Whether a wanted version is still being fetched: what it replaces goes after it has come."""
    return any(
        observed.of(version).checked != basis_of(version, desired) and not _waits(observed, version, basis_of(version, desired), now)
        for version in fitting
    )


def _cause(observed: Observed, version: DesiredVersion) -> Cause:
    proven = observed.of(version).proven
    if observed.engine.model(version.name) is not None:
        return Cause.REPLACED
    if proven is None:
        return Cause.NEW
    return Cause.LOST if proven == observed.engine.started else Cause.RESTART


def _full(observed: Observed, desired: DesiredSet) -> bool:
    ours = [model for model in observed.engine.models if model.root and PurePosixPath(model.root).parent == observed.store]
    return len(ours) >= desired.engine.limits.max_cpu_loras


def _waits(observed: Observed, version: DesiredVersion, basis: str, now: datetime) -> bool:
    failure = active_failure(observed.of(version), basis)
    return failure is not None and now < failure.retry_at


def _unloads_wait(observed: Observed, now: datetime) -> bool:
    return observed.no_unload_before is not None and now < observed.no_unload_before


def _wake_at(observed: Observed, desired: DesiredSet, now: datetime) -> datetime | None:
    retries = [
        failure.retry_at
        for version in desired.wanted(now)
        if (failure := active_failure(observed.of(version), basis_of(version, desired))) is not None and failure.retry_at > now
    ]
    ends = [version.keep_until for version in desired.wanted(now) if version.keep_until is not None]
    unloads = [observed.no_unload_before] if observed.no_unload_before is not None and _unloads_wait(observed, now) else []
    return min((*retries, *ends, *unloads), default=None)
