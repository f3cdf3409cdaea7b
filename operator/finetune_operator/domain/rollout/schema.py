"""The JSON Schema that answers are held against: whether there is one that can be used, and else why not."""

from finetune_operator.api.adapterdeployment.defaults import checks_of
from finetune_operator.api.adapterdeployment.spec import CheckKind
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.traffic import SCHEMA_LIMIT, has_applied


def unusable_schema(draft: Draft) -> str | None:
    """Why answers cannot be held against it in the step under way; None where they can, or need not be."""
    step = draft.step
    return _problem(draft) if step is not None and CheckKind.SCHEMA in checks_of(draft.scene.spec, step) else None


def _problem(draft: Draft) -> str | None:
    """With its field; None where it can be used, or none is asked for. Whether it is a schema is for the routers to say."""
    check, observed = draft.scene.spec.analysis.checks.schema_, draft.scene.observed
    if check is None:
        return None
    reference, text = check.config_map_ref, observed.output_schema
    place = f"spec.analysis.checks.schema.configMapRef: key {reference.key} of ConfigMap {reference.name}"
    if text is None:
        return f"{place} {observed.schema_problem}"
    if len(text) > SCHEMA_LIMIT:
        return f"{place} has {len(text)} characters, and {SCHEMA_LIMIT} are the most"
    told = _told_by_routers(draft, text)
    return f"{place}: {told}" if told is not None else None


def _told_by_routers(draft: Draft, text: str) -> str | None:
    """By one that has this very text."""
    stored = draft.scene.status.route
    if stored is None or stored.schema_check is None or stored.schema_check.output_schema != text:
        return None
    applied = (router.applied for router in draft.scene.observed.routers if has_applied(router, stored))
    return next((route.schema_problem for route in applied if route is not None and route.schema_problem), None)
