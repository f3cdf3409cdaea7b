"""Behind a Gateway: what became of the HTTPRoute that an AdapterDeployment asks for, in the words of those who decide about it.

Nothing else hangs on it: rollouts go on and are judged by the routers, whether a Gateway passes requests to them or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from finetune_operator.api.adapterdeployment.conditions import ConditionType, DeploymentCondition
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.conditions import ConditionStatus
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.observed import Exposure
from finetune_operator.domain.rollout.traffic import route_for

Said = tuple[ConditionStatus, Reason, str]
TRUE, FALSE = ConditionStatus.TRUE, ConditionStatus.FALSE
_WORDS: Final = 512
"""Characters that are kept of a Gateway's message."""
_NEEDED: Final = ("Accepted", "ResolvedRefs")
_PARTIAL: Final = "PartiallyInvalid"
"""A condition that is there only where a part of the route is dropped."""
_COMING: Final = "the HTTPRoute is about to be made or changed"
_MISSING: Final = (
    "spec.traffic.httpRoute is set, and the API server knows no HTTPRoute of gateway.networking.k8s.io/v1. "
    "Install the Gateway API and a controller for it, or remove the field."
)


@dataclass(frozen=True)
class Answer:
    """``refusal``: a Gateway's own words; empty and not ``accepted`` where it has yet to answer for the newest generation."""

    gateway: str
    accepted: bool = False
    refusal: str = ""


def read_answers(route: JsonObject) -> tuple[Answer, ...]:
    """What each Gateway that the HTTPRoute names says about its present generation."""
    generation = reading.integer(route, "metadata", "generation")
    spoken = reading.objects(route.get("status"), "parents")
    return tuple(_answer(parent, spoken, generation, route) for parent in reading.objects(route.get("spec"), "parentRefs"))


def stored_condition(conditions: list[DeploymentCondition]) -> DeploymentCondition | None:
    """The stored condition: the operator's memory that there may be an HTTPRoute of its own."""
    return next((condition for condition in conditions if condition.type is ConditionType.EXPOSED), None)


def exposed(draft: Draft) -> Said | None:
    """What ``Exposed`` says; None where there is nothing to say.

    Nobody makes the HTTPRoute before this is stored: so one that is to go is found again, whenever the operator died.
    """
    stored, seen = stored_condition(draft.scene.status.conditions), draft.scene.observed.exposure
    if draft.scene.spec.traffic.http_route is None:
        return _leaving(stored, seen)
    if route_for(draft) is None:
        return FALSE, Reason.NOT_SERVING, "no version may answer yet; the HTTPRoute is made once one does"
    if seen is not None:
        return _judged(seen)
    if stored is not None and stored.observed_generation == draft.scene.subject.generation and stored.reason != Reason.NOT_SERVING:
        return _as_stored(stored)
    return FALSE, Reason.EXPOSING, _COMING


def _leaving(stored: DeploymentCondition | None, seen: Exposure | None) -> Said | None:
    if stored is None or (seen is not None and not seen.there):
        return None
    if seen is None:
        return _as_stored(stored)
    return TRUE, Reason.ROUTE_REFUSED, f"spec.traffic.httpRoute is gone, and the HTTPRoute may be there still: {seen.refusal}"


def _as_stored(condition: DeploymentCondition) -> Said:
    known = condition.reason in Reason.__members__.values()
    return condition.status, Reason(condition.reason) if known else Reason.EXPOSING, condition.message


def _judged(seen: Exposure) -> Said:
    if seen.missing:
        return FALSE, Reason.GATEWAY_API_MISSING, _MISSING
    if seen.refusal:
        return FALSE, Reason.ROUTE_REFUSED, seen.refusal
    answers = read_answers(seen.route)
    if not answers:
        return FALSE, Reason.EXPOSING, _COMING
    refused = [answer for answer in answers if answer.refusal]
    if refused:
        return FALSE, Reason.GATEWAY_REFUSES, "; ".join(f"Gateway {each.gateway} says {each.refusal}" for each in refused)
    silent = [answer.gateway for answer in answers if not answer.accepted]
    if silent:
        text = f"Gateway {' and '.join(silent)} has yet to answer for the HTTPRoute. If it stays so, see that it has a controller"
        return FALSE, Reason.EXPOSING, text
    accepted = " and ".join(answer.gateway for answer in answers)
    return TRUE, Reason.EXPOSED, f"Gateway {accepted} has accepted the HTTPRoute"


def _answer(parent: Mapping[str, Any], spoken: list[Mapping[str, Any]], generation: int | None, route: JsonObject) -> Answer:
    gateway = "/".join(part for part in _identity(parent, route)[1:] if part)
    conditions = [
        condition
        for each in spoken
        if _identity(reading.at(each, "parentRef"), route) == _identity(parent, route)
        for condition in reading.objects(each, "conditions")
        if (reading.integer(condition, "observedGeneration") or 0) >= (generation or 0)
    ]
    against = [each for each in conditions if _speaks_against(each)]
    if against:
        return Answer(gateway, refusal="; ".join(_words(each) for each in against))
    said = {reading.text(each, "type") for each in conditions if reading.text(each, "status") == "True"}
    return Answer(gateway, accepted=said.issuperset(_NEEDED))


def _speaks_against(condition: Mapping[str, Any]) -> bool:
    kind, status = reading.text(condition, "type"), reading.text(condition, "status")
    return (kind in _NEEDED and status == "False") or (kind == _PARTIAL and status == "True")


def _words(condition: Mapping[str, Any]) -> str:
    kind, reason = reading.text(condition, "type")[:64], reading.text(condition, "reason")[:64]
    return f"{kind} {reading.text(condition, 'status')}, {reason}: {reading.text(condition, 'message')[:_WORDS]}".rstrip(": ")


def _identity(reference: Any, route: JsonObject) -> tuple[str, str, str, str]:
    """Kind, namespace, name and listener, with what a reference may leave out."""
    namespace = reading.text(reference, "namespace") or reading.text(route, "metadata", "namespace")
    kind = reading.text(reference, "kind") or "Gateway"
    return kind, namespace, reading.text(reference, "name"), reading.text(reference, "sectionName")
