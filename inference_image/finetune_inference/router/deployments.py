"""A route table from the AdapterDeployments and the pods of a namespace. Pure.

One object must never take the others down: what is wrong with it is said, and its last good route stays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from finetune_inference.contract import Endpoint, Route, RouteTable
from finetune_inference.kubernetes.selection import Selection, matching, pods

DEPLOYMENT_LABEL: Final = "finetune.dev/adapter-deployment"
MANAGED: Final = f"{DEPLOYMENT_LABEL},finetune.dev/serving-role=server"
"""Selects the server pods that the operator runs."""
MANAGED_PORT: Final = 8000
MAX_ROUTES: Final = 512
MAX_ENDPOINTS: Final = 4096


@dataclass(frozen=True)
class Deployment:
    """What a router reads of an AdapterDeployment. ``labels`` are those of external pods, None for managed ones."""

    name: str
    created: str
    route: Route | None = None
    problem: str | None = None
    labels: tuple[tuple[str, str], ...] | None = None
    port: int = MANAGED_PORT

    def pods(self, namespace: str) -> Selection:
        """Which pods to look at for this one."""
        return pods(namespace, MANAGED if self.labels is None else matching(dict(self.labels)))


@dataclass(frozen=True)
class Pod:
    """``address`` is None for a pod that nobody shall ask: it has none, ends or has ended. Readiness is not asked for."""

    name: str
    address: str | None
    deployment: str | None = None


@dataclass(frozen=True)
class Assembly:
    """``problems``: what is not in the table as its object says, in words."""

    table: RouteTable
    problems: tuple[str, ...] = field(default=())


def deployment(found: Mapping[str, Any]) -> Deployment:
    """From the object as the API server gives it."""
    metadata = found["metadata"]
    name = str(metadata["name"])
    external = _part(_part(_part(found, "spec"), "server"), "external")
    labels = tuple(sorted((str(key), str(value)) for key, value in _part(external, "matchLabels").items()))
    route, problem = _route(name, _part(found, "status").get("route"))
    return Deployment(
        name=name,
        created=str(metadata.get("creationTimestamp") or ""),
        route=route,
        problem=problem,
        labels=labels or None,  # no label at all would select every pod of the namespace
        port=int(external.get("port") or MANAGED_PORT),
    )


def pod(found: Mapping[str, Any]) -> Pod:
    """From the object as the API server gives it."""
    metadata, status = found["metadata"], _part(found, "status")
    ends = metadata.get("deletionTimestamp") is not None or status.get("phase") in {"Succeeded", "Failed"}
    address = None if ends else status.get("podIP")
    return Pod(str(metadata["name"]), str(address) if address else None, _part(metadata, "labels").get(DEPLOYMENT_LABEL))


def assemble(
    namespace: str, deployments: Iterable[Deployment], pods_of: Mapping[Selection, Iterable[Pod]], before: RouteTable | None
) -> Assembly:
    """The table of a namespace.

    ``pods_of`` lacks a selection that nobody could list yet. What cannot be known is taken from ``before``, the last table.
    """
    oldest_first = sorted(deployments, key=lambda one: (one.created, one.name))
    routes, problems = _routes(oldest_first, {route.deployment: route for route in before.routes} if before else {})
    askable = {selection: sorted((one for one in found if one.address), key=lambda one: one.name) for selection, found in pods_of.items()}
    managed: dict[str | None, list[Pod]] = {}
    for candidate in askable.get(pods(namespace, MANAGED), ()):
        managed.setdefault(candidate.deployment, []).append(candidate)
    endpoints: list[Endpoint] = []
    for one in oldest_first:
        selection = one.pods(namespace)
        if selection not in askable:
            endpoints += [endpoint for endpoint in before.endpoints if endpoint.deployment == one.name] if before else []
        else:
            endpoints += _endpoints(one, managed.get(one.name, ()) if one.labels is None else askable[selection])
    if len(endpoints) > MAX_ENDPOINTS:
        problems.append(f"{len(endpoints)} server pods, of which a router can follow {MAX_ENDPOINTS}")
    routes.sort(key=lambda route: route.deployment)
    return Assembly(RouteTable(namespace=namespace, routes=routes, endpoints=endpoints[:MAX_ENDPOINTS]), tuple(problems))


def _routes(oldest_first: Sequence[Deployment], before: Mapping[str, Route]) -> tuple[list[Route], list[str]]:
    """Of two that answer for one alias the older object has it."""
    taken: dict[str, Route] = {}
    problems = []
    for one in oldest_first:
        route = one.route
        if one.problem is not None:
            route = before.get(one.name)
            problems.append(f"{one.name}: {one.problem}; {'its last good route stays' if route else 'it has no route'}")
        if route is None:
            continue
        if (owner := taken.get(route.alias)) is not None:
            problems.append(f"{one.name}: {route.alias} is answered for by {owner.deployment}, which is older; it has no route")
        elif len(taken) == MAX_ROUTES:
            problems.append(f"{one.name}: a router has at most {MAX_ROUTES} routes; it has none")
        else:
            taken[route.alias] = route
    return list(taken.values()), problems


def _endpoints(one: Deployment, candidates: Iterable[Pod]) -> list[Endpoint]:
    return [
        Endpoint(deployment=one.name, pod=candidate.name, url=f"http://{_host(candidate.address)}:{one.port}")
        for candidate in candidates
        if candidate.address
    ]


def _route(name: str, content: object) -> tuple[Route | None, str | None]:
    """The route in a status, or what is wrong with it; neither before there is one."""
    if content is None:
        return None, None
    try:
        route = Route.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return None, f"status.route{''.join(f'.{part}' for part in first['loc'])}: {first['msg'][:200]}"
    if route.deployment != name:
        return None, "status.route.deployment: it names another object"
    return route, None


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
