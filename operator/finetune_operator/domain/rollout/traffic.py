"""Routes: what the routers are to apply, and whether they have.

The route is derived anew from the state of the rollout at every decision; only its generation is remembered, and rises when anything
changes. So a rollback is one status write, and a crash between two lines can leave no half a route.
"""

from collections.abc import Sequence

from finetune_inference.contract import Fallback, Route, SchemaCheck, Shadow, Stickiness
from finetune_operator.api.adapterdeployment.spec import Step
from finetune_operator.api.adapterdeployment.status import Stage
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import Router

SCHEMA_LIMIT = 65_536


def route_for(draft: Draft) -> Route | None:
    """The route for the state as it is now; None before any version may answer."""
    stable, canary, weight, shadow = draft.stable, None, 0, None
    rollout, step = draft.rollout, draft.step
    answering = stable.version if stable is not None else None
    if rollout is not None and rollout.stage is Stage.PROMOTING:
        answering = rollout.version
    elif rollout is not None and rollout.stage in (Stage.APPLYING, Stage.BAKING):
        canary = rollout.version
        weight, shadow = share_of(step) if step is not None else _share_so_far(draft)
    if answering is None:
        governed = draft.scene.status.governance is not None
        return closed(draft.route) if governed and draft.route is not None else None
    former = stable.version if stable is not None else None
    versions = [answering, canary, former, *(retained.version for retained in draft.retained)]
    return _numbered(
        draft,
        {
            "stable": answering,
            "canary": canary,
            "weight": weight,
            "shadow": shadow,
            "versions": list(dict.fromkeys(version for version in versions if version is not None)),
            "schema_check": _schema_check(draft),
        },
    )


def share_of(step: Step) -> tuple[int, Shadow | None]:
    """The canary's percent of the callers in a step, and the copies it gets."""
    copies = step.shadow
    return step.weight or 0, None if copies is None else Shadow(percent=copies.percent, max_concurrent=copies.max_concurrent)


def _share_so_far(draft: Draft) -> tuple[int, Shadow | None]:
    """Where a strategy with fewer steps came during a rollout, the canary keeps what it has."""
    return (draft.route.weight, draft.route.shadow) if draft.route is not None else (0, None)


def closed(route: Route) -> Route:
    """The alias answers nobody any more, and routers still count what is open."""
    shut = route.model_copy(update={"stable": None, "canary": None, "weight": 0, "shadow": None, "schema_check": None})
    return route if shut == route else shut.model_copy(update={"generation": route.generation + 1})


def acknowledged(draft: Draft) -> bool:
    """Whether every router has applied the route as it is to be now; a new one is in nobody's hands before it is in status."""
    return bool(draft.scene.observed.routers) and not unacknowledged(draft)


def no_router(draft: Draft) -> str:
    """Why nobody could answer, where no router runs."""
    trouble = draft.scene.observed.router_trouble
    return f"there is no router: {trouble}" if trouble else "there is no router"


def unacknowledged(draft: Draft) -> tuple[Router, ...]:
    """Routers that have not applied it, or do not answer."""
    stored = draft.scene.status.route
    if stored is None or stored != route_for(draft):
        return draft.scene.observed.routers
    return tuple(router for router in draft.scene.observed.routers if not has_applied(router, stored))


def breaker_open(draft: Draft) -> tuple[Router, ...]:
    """Routers that have taken the canary's traffic away by themselves."""
    stored = draft.scene.status.route
    if stored is None or stored.canary is None:
        return ()
    applied = [router for router in draft.scene.observed.routers if has_applied(router, stored)]
    return tuple(router for router in applied if router.applied is not None and router.applied.breaker_open)


def named(routers: Sequence[Router]) -> str:
    """By their pods, at most three of them."""
    more = f" and {len(routers) - 3} more" if len(routers) > 3 else ""
    return ", ".join(router.name for router in routers[:3]) + more


def has_applied(router: Router, route: Route) -> bool:
    return router.reachable and router.applied is not None and router.applied.generation == route.generation


def _numbered(draft: Draft, parts: dict[str, object]) -> Route:
    spec, owner, before = draft.scene.spec, draft.scene.subject.owner, draft.route
    generation = before.generation if before is not None else 1
    fallback = [Fallback(kind) for kind in spec.stickiness.fallback]
    route = Route.model_validate(
        {
            "deployment": owner.name,
            "alias": spec.model_name,
            "generation": generation,
            "salt": owner.uid[:64],
            "stickiness": Stickiness(header=spec.stickiness.header, fallback=fallback),
            **parts,
        }
    )
    if before is None or route == before:
        return route
    return route.model_copy(update={"generation": generation + 1})


def _schema_check(draft: Draft) -> SchemaCheck | None:
    check, text = draft.scene.spec.analysis.checks.schema_, draft.scene.observed.output_schema
    if check is None or text is None or len(text) > SCHEMA_LIMIT:
        return None
    return SchemaCheck(output_schema=text, sample_percent=check.sample_percent)
