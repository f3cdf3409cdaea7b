"""Defaults that depend on another field, which a schema cannot express."""

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, CanarySpec, CheckKind, Step

_BAKE_SECONDS = 600


def steps_of(spec: AdapterDeploymentSpec) -> tuple[Step, ...]:
    """The steps before all callers get the new version: those of the canary, or at most one of copied requests for blue/green."""
    blue_green = spec.strategy.blue_green
    if blue_green is None:
        return tuple((spec.strategy.canary or CanarySpec()).steps)
    if blue_green.shadow is None:
        return ()
    seconds = _BAKE_SECONDS if blue_green.bake_seconds is None else blue_green.bake_seconds
    return (Step(shadow=blue_green.shadow, bake_seconds=seconds),)


def checks_of(spec: AdapterDeploymentSpec, step: Step) -> frozenset[CheckKind]:
    """The checks made in a step: those it names, else all that have limits."""
    checks = spec.analysis.checks
    limits = {
        CheckKind.ERRORS: checks.errors,
        CheckKind.SCHEMA: checks.schema_,
        CheckKind.TTFT: checks.ttft,
        CheckKind.ITL: checks.itl,
    }
    on = frozenset(kind for kind, limit in limits.items() if limit is not None)
    return on if step.analysis is None else on & frozenset(step.analysis)
