"""What the agent says of itself: a pure function of what it knows."""

from datetime import datetime

from finetune_inference.agent.decide import leftovers
from finetune_inference.agent.knowledge import UNKNOWN_START, Observed, Progress, Stage, active_failure, basis_of, split_by_slots
from finetune_inference.contract import (
    AgentStatus,
    DesiredSet,
    DesiredVersion,
    EngineStatus,
    Finding,
    SourceState,
    VersionState,
    VersionStatus,
)


def version_status(observed: Observed, desired: DesiredSet, version: DesiredVersion, *, fits: bool) -> VersionStatus:
    """How far one wanted version is, and why not further."""
    progress, basis = observed.of(version), basis_of(version, desired)
    failure = active_failure(progress, basis)
    state, finding = _state(observed, desired, version, progress, fits=fits)
    loaded = state is VersionState.LOADED
    return VersionStatus(
        name=version.name,
        digest=version.digest,
        state=state,
        required=version.required,
        reason=finding.reason if finding else None,
        message=f"{finding.field}: {finding.message}"[:1024] if finding else None,
        way_out=finding.way_out if finding else None,
        findings=list(failure.findings[:16]) if failure else [],
        failures=failure.count if failure else 0,
        retry_at=failure.retry_at if failure and state is VersionState.FAILED else None,
        loaded_at=progress.loaded_at if loaded else None,
        fingerprint=list(progress.fingerprint) if loaded else [],
        effect=f"{progress.effect:.4f}" if loaded and progress.effect is not None else None,
    )


def agent_status(
    observed: Observed, desired: DesiredSet | None, now: datetime, *, source: SourceState, source_message: str | None, restarts: int
) -> AgentStatus:
    """The whole status but ``applied_generation``, which is memory: `is_applied` says when to raise it."""
    fitting = {version.name for version in split_by_slots(observed, desired, now)[0]} if desired else set()
    wanted = desired.wanted(now) if desired else ()
    versions = [version_status(observed, desired, version, fits=version.name in fitting) for version in wanted] if desired else []
    engine, problem = observed.engine, engine_finding(observed, desired)
    return AgentStatus(
        generation=desired.generation if desired else 0,
        source=source,
        source_message=source_message,
        engine=EngineStatus(
            reachable=engine.reachable,
            started=engine.started if engine.reachable and engine.started != UNKNOWN_START else None,
            restarts=restarts,
            message=problem.message if problem else None,
        ),
        ready=desired is not None and problem is None and all(_loaded(version) for version in versions if version.required),
        versions=versions,
    )


def is_applied(observed: Observed, desired: DesiredSet, status: AgentStatus, now: datetime) -> bool:
    """Whether the engine holds exactly the wanted versions, each proven."""
    complete = status.ready and all(_loaded(version) for version in status.versions)
    return complete and not leftovers(observed.engine, observed.store, desired, now)


def engine_finding(observed: Observed, desired: DesiredSet | None) -> Finding | None:
    """Why the engine cannot be worked with, if so."""
    if not observed.engine.reachable:
        return observed.engine.finding or _finding("engine", "EngineUnreachable", "it has not answered yet", "Nothing: it is waited for.")
    if desired is not None and observed.engine.base(desired.base.name) is None:
        served = ", ".join(model.name for model in observed.engine.models if model.parent is None)[:200] or "none"
        message = f"the engine serves {served}, not {desired.base.name}"
        return _finding("base.name", "BaseNotServed", message, "Start the engine with that base model, or correct the name.")
    return None


def _state(
    observed: Observed, desired: DesiredSet, version: DesiredVersion, progress: Progress, *, fits: bool
) -> tuple[VersionState, Finding | None]:
    basis = basis_of(version, desired)
    failure, problem = active_failure(progress, basis), engine_finding(observed, desired)
    if not fits:
        return VersionState.FAILED, _no_slot(desired)
    if problem is None and observed.proven(version) and (failure is None or failure.stage is Stage.FETCH):
        return VersionState.LOADED, failure.finding if failure else None  # a second look at its files does not take it out of service
    if version.name in {observed.fetching, observed.loading}:
        state = VersionState.FETCHING if observed.fetching == version.name else VersionState.LOADING
        return state, failure.finding if failure else None
    if failure is not None:
        return VersionState.FAILED, failure.finding
    if progress.checked != basis:
        return VersionState.PENDING, None
    return (VersionState.LOADING if problem is None and observed.in_place(version) else VersionState.VERIFIED), problem


def _no_slot(desired: DesiredSet) -> Finding:
    message = f"{len(desired.versions)} versions are wanted, the engine keeps {desired.engine.limits.max_cpu_loras}"
    way_out = "Raise maxCpuLoras, or keep fewer old versions loaded."
    return _finding("engine.limits.maxCpuLoras", "SlotsExceeded", message, way_out)


def _loaded(version: VersionStatus) -> bool:
    return version.state is VersionState.LOADED


def _finding(field: str, reason: str, message: str, way_out: str) -> Finding:
    return Finding(field=field, reason=reason, message=message, way_out=way_out)
