"""The next thing to ask of an engine of the user's own: a pure function of what it lists, what is wanted and the time.

One step at a time for each engine, because a load holds up everybody's tokens. Stable is wanted first and so comes first after a restart.
What nobody wants any more goes when nothing else is to be done, or when there is no room.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetune_inference.contract import VERSION_PATTERN, Finding, FingerprintToken, digest_prefix_of
from finetune_inference.contract.proof import Tolerances, drift, has_effect
from finetune_operator.domain.rollout.engines import (
    ENGINE_REFUSES,
    NO_EFFECT,
    REFUSALS,
    EngineView,
    Failure,
    Knowledge,
    Known,
    Listed,
    PushTarget,
    WantedVersion,
)
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion

Fingerprint = tuple[FingerprintToken, ...]
_VERSION = re.compile(VERSION_PATTERN)


@dataclass(frozen=True)
class Load:
    """``replace``: the engine has the name from another place, which goes first."""

    version: WantedVersion
    replace: bool = False


@dataclass(frozen=True)
class Prove:
    """Ask for one token with the version, and with the base model before and after."""

    version: WantedVersion
    base: str


@dataclass(frozen=True)
class Unload:
    name: str


Step = Load | Prove | Unload


def next_step(view: EngineView, target: PushTarget, known: Knowledge, now: datetime) -> Step | None:
    """None where nothing is to be done, or nothing can be done now."""
    base = view.base(target.base)
    if not target.begun or not view.reachable or base is None:
        return None
    surplus = [name for name in leftovers(view, target) if not _waits(known, name, _unload_basis(name), now)]
    for version in target.versions:
        failure = failure_of(known, target, version)
        if failure is not None and failure.withdraw and now < failure.retry_at and view.model(version.name) is not None:
            return Unload(version.name)
    step = next(_loads_and_proofs(view, target, known, base.name, now), None)
    if isinstance(step, Load) and not step.replace and _is_full(view, target):
        return Unload(surplus[0]) if surplus else None
    return step or (Unload(surplus[0]) if surplus else None)


def leftovers(view: EngineView, target: PushTarget) -> tuple[str, ...]:
    """Versions of this alias in the engine that nobody wants. Other adapters are somebody else's, whatever they are called."""
    wanted = {version.name for version in target.versions} | target.spared
    return tuple(model.name for model in view.adapters if model.name not in wanted and _is_of(model, target.alias))


def others(view: EngineView, target: PushTarget) -> int:
    """Adapters in the engine that no AdapterDeployment has asked for."""
    wanted = {version.name for version in target.versions} | target.spared
    return sum(model.name not in wanted and not _is_of(model, target.alias) for model in view.adapters)


def wake_at(target: PushTarget, known: Knowledge, now: datetime) -> datetime | None:
    """The earliest moment at which another answer comes by itself."""
    failures = [failure_of(known, target, version) for version in target.versions]
    failures += [entry.failure for entry in known.values() if entry.failure is not None]
    return min((failure.retry_at for failure in failures if failure is not None and failure.retry_at > now), default=None)


def still_known(view: EngineView, target: PushTarget, known: Knowledge) -> dict[str, Known]:
    """Without what was done with versions of this alias that nobody wants and the engine does not have: another try begins anew."""
    wanted = {version.name for version in target.versions}
    kept = {name for name in known if name in wanted or name.rpartition("--")[0] != target.alias or view.model(name) is not None}
    return {name: entry for name, entry in known.items() if name in kept}


def still_compared(target: PushTarget, first: Mapping[str, Fingerprint]) -> dict[str, Fingerprint]:
    """By version, what was proven first: it holds for all pods until the version is not wanted, or not to be proven, any more.

    An engine that answers otherwise has the version taken out: what the others are held to must outlive that. Before a status names
    anything nothing is known of what is wanted.
    """
    wanted = {version.name for version in target.versions if target.prove}
    return {name: tokens for name, tokens in first.items() if name in wanted or not target.begun}


def failure_of(known: Knowledge, target: PushTarget, version: WantedVersion) -> Failure | None:
    """The version's failure, if it still counts."""
    failure = known.get(version.name, Known()).failure
    return failure if failure is not None and failure.basis == target.basis(version) else None


def failed(before: Known, basis: str, finding: Finding, now: datetime, wait: float, *, withdraw: bool = False) -> Known:
    """Knowledge after one more failure; ``count`` goes on counting while the same is tried."""
    earlier = before.failure if before.failure is not None and before.failure.basis == basis else None
    count = (earlier.count if earlier is not None else 0) + 1
    return Known(before.proven, Failure(basis, finding, count, now + timedelta(seconds=wait), withdraw))


def basis_of(step: Step, target: PushTarget) -> str:
    """What a failure of this step depends on."""
    return _unload_basis(step.name) if isinstance(step, Unload) else target.basis(step.version)


def held_versions(view: EngineView, target: PushTarget, known: Knowledge) -> tuple[HeldVersion, ...]:
    """How far the engine is with each wanted version; what it holds of this alias beside them is there too, until it is gone."""
    held = [_held(view, target, known, version) for version in target.versions]
    return (*held, *(HeldVersion(name, HeldState.LOADED) for name in leftovers(view, target)))


def engine_finding(view: EngineView, target: PushTarget) -> Finding | None:
    """Why the engine cannot be worked with, if so."""
    if not view.reachable:
        return view.trouble or _finding("engine", "EngineUnreachable", "it has not answered yet", "Nothing: it is asked again.")
    if view.base(target.base) is None:
        served = ", ".join(model.name for model in view.models if model.parent is None)[:200] or "none"
        return _finding(
            "spec.server.external.baseModelName",
            "BaseNotServed",
            f"the engine serves {served}, not {target.base or 'any base model'}",
            "Start the engine with that base model, or correct spec.server.external.baseModelName.",
        )
    return None


def judge(
    effect: float, noise: float, tokens: tuple[FingerprintToken, ...], first: tuple[FingerprintToken, ...] | None, tolerances: Tolerances
) -> Finding | None:
    """What a proof says against a version; ``first`` is its fingerprint from where it was proven first."""
    if not has_effect(effect, noise, tolerances):
        message = f"the adapter changes the first token's log-probabilities by {effect:.4f}, the engine's own noise is {noise:.4f}"
        way_out = "Train longer or at a higher rate, or check that its module names are the base model's."
        return _finding("artifact", NO_EFFECT, message, way_out)
    apart = drift(tokens, first) if first else 0.0
    if apart > tolerances.fingerprint:
        message = f"its log-probabilities are {apart:.4f} away from those where it was loaded first"
        way_out = (
            "Replace the pod. If all pods say so, the files, the base model or the engine was changed: where that is meant, "
            "set preflight.effectProbe to Off, and then to Enforce again."
        )
        return _finding("artifact", "FingerprintChanged", message, way_out)
    return None


def _held(view: EngineView, target: PushTarget, known: Knowledge, version: WantedVersion) -> HeldVersion:
    failure, trouble = failure_of(known, target, version), engine_finding(view, target)
    if trouble is not None:
        return _not_yet(version, trouble)
    if failure is not None and failure.withdraw:
        return _not_yet(version, failure.finding, has_effect=False if failure.finding.reason == NO_EFFECT else None)
    if _in_place(view, version):
        proven = is_proven(view, known, version)
        if proven or not target.prove or version.name in target.trusted:
            return HeldVersion(version.name, HeldState.LOADED, has_effect=True if proven else None)
    if failure is not None:
        final = failure.finding.reason == ENGINE_REFUSES and failure.count >= REFUSALS
        return _not_yet(version, failure.finding, HeldState.REJECTED if final else HeldState.RETRYING)
    if view.model(version.name) is None and _is_full(view, target) and not leftovers(view, target):
        return _not_yet(version, _no_slot(view, target))
    return HeldVersion(version.name, HeldState.LOADING)


def is_proven(view: EngineView, known: Knowledge, version: WantedVersion) -> bool:
    """Whether it was seen to make a difference in this very process of the engine."""
    return known.get(version.name, Known()).proven == view.started


def _loads_and_proofs(view: EngineView, target: PushTarget, known: Knowledge, base: str, now: datetime) -> Iterator[Load | Prove]:
    for version in target.versions:
        if _waits(known, version.name, target.basis(version), now):
            continue
        if not _in_place(view, version):
            yield Load(version, replace=view.model(version.name) is not None)
        elif target.prove and not is_proven(view, known, version):
            yield Prove(version, base)


def _in_place(view: EngineView, version: WantedVersion) -> bool:
    model = view.model(version.name)
    return model is not None and model.root == version.path


def _is_of(model: Listed, alias: str) -> bool:
    """Whether it is a version of ours: named and placed by its digest."""
    named = _VERSION.fullmatch(model.name) is not None and model.name.rpartition("--")[0] == alias
    return named and digest_prefix_of(model.name) in model.root


def _is_full(view: EngineView, target: PushTarget) -> bool:
    return len(view.adapters) >= target.slots


def _waits(known: Knowledge, name: str, basis: str, now: datetime) -> bool:
    failure = known.get(name, Known()).failure
    return failure is not None and failure.basis == basis and now < failure.retry_at


def _unload_basis(name: str) -> str:
    return f"unload {name}"


def _not_yet(version: WantedVersion, why: Finding, state: HeldState = HeldState.RETRYING, *, has_effect: bool | None = None) -> HeldVersion:
    return HeldVersion(version.name, state, why.reason, f"{why.message}. {why.way_out}", has_effect)


def _no_slot(view: EngineView, target: PushTarget) -> Finding:
    message = f"the engine lists {len(view.adapters)} adapters, and spec.server.capacity.maxCpuLoras is {target.slots}"
    return _finding("spec.server.capacity.maxCpuLoras", "SlotsExceeded", message, "Raise it with the engine's own limit, or unload one.")


def _finding(where: str, reason: str, message: str, way_out: str) -> Finding:
    return Finding(field=where[:160], reason=reason, message=message[:512], way_out=way_out)
