"""The Gateway API as far as these tests need it: a definition of HTTPRoutes, and what a Gateway's controller writes about one.

The schema is written for the tests from the published field names, types and defaults of gateway.networking.k8s.io/v1, and holds only what
an HTTPRoute of the operator may have: fields that it does not know are refused. No Gateway runs: tests write its words into the status.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune_operator.cluster.resources import HTTP_ROUTES
from finetune_testbed.apiserver import MERGE, ApiServer, RequestError
from tests.cluster.crd import DEFINITIONS
from tests.cluster.finetunejobs import Object, Place
from tests.cluster.operator_process import until

NAME = f"{HTTP_ROUTES.plural}.{HTTP_ROUTES.group}"
CONTROLLER = "example.com/gateway-controller"


def text(**more: Any) -> Object:
    return {"type": "string", **more}


def record(*required: str, **properties: Object) -> Object:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def several(items: Object, most: int, **more: Any) -> Object:
    return {"type": "array", "items": items, "maxItems": most, "x-kubernetes-list-type": "atomic", **more}


PARENT = record(
    "name",
    group=text(default=HTTP_ROUTES.group, maxLength=253),
    kind=text(default="Gateway", maxLength=63),
    namespace=text(minLength=1, maxLength=63),
    name=text(minLength=1, maxLength=253),
    sectionName=text(minLength=1, maxLength=253),
    port={"type": "integer", "minimum": 1, "maximum": 65535},
)
BACKEND = record(
    "name",
    group=text(default=""),
    kind=text(default="Service"),
    namespace=text(),
    name=text(minLength=1, maxLength=253),
    port={"type": "integer", "minimum": 1, "maximum": 65535},
    weight={"type": "integer", "default": 1, "minimum": 0, "maximum": 1_000_000},
)
MATCH = record(
    path={**record(type=text(default="PathPrefix", enum=["Exact", "PathPrefix", "RegularExpression"]), value=text(default="/"))},
    method=text(enum=["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]),
)
CONDITION = record(
    "type",
    "status",
    "reason",
    "message",
    "lastTransitionTime",
    type=text(),
    status=text(enum=["True", "False", "Unknown"]),
    reason=text(),
    message=text(),
    observedGeneration={"type": "integer"},
    lastTransitionTime=text(format="date-time"),
)
ONCE = {"rule": "self.all(a, self.exists_one(b, a == b))", "message": "each parent once"}
SPEC = record(
    parentRefs=several(PARENT, 32, **{"x-kubernetes-validations": [ONCE]}),
    hostnames=several(text(minLength=1, maxLength=253), 16),
    rules=several(record(matches=several(MATCH, 64), backendRefs=several(BACKEND, 16)), 16),
)
ABOUT = record(
    "parentRef",
    "controllerName",
    "conditions",
    parentRef=PARENT,
    controllerName=text(),
    conditions=several(CONDITION, 8, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
)
SCHEMA = record("spec", spec=SPEC, status=record("parents", parents=several(ABOUT, 32)))


def definition() -> Object:
    version = {
        "name": HTTP_ROUTES.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": SCHEMA},
    }
    names = {"kind": HTTP_ROUTES.kind, "listKind": f"{HTTP_ROUTES.kind}List", "plural": HTTP_ROUTES.plural, "singular": "httproute"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "annotations": {"api-approved.kubernetes.io": "unapproved, a part of it for tests"}},
        "spec": {"group": HTTP_ROUTES.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@contextmanager
def installed(server: ApiServer, place: Place) -> Iterator[None]:
    """The kind, until the block ends: others may need a cluster without it."""
    server.apply(f"{DEFINITIONS}/{NAME}", definition())
    try:
        until(lambda: _answers(server, place), 120)
        yield
    finally:
        server.request("DELETE", f"{DEFINITIONS}/{NAME}")
        until(lambda: not _answers(server, place), 120)


def _answers(server: ApiServer, place: Place) -> bool:
    try:
        server.request("GET", place.path(HTTP_ROUTES.plural, group=HTTP_ROUTES.api_version))
    except RequestError as error:
        if error.status in (404, 429):
            return False
        raise
    return True


class Gateway:
    """What is stored of the HTTPRoute of a deployment, and the controller that speaks about it."""

    def __init__(self, place: Place, deployment: str) -> None:
        self._place = place
        self.path = place.path(HTTP_ROUTES.plural, f"finetune-{deployment}", HTTP_ROUTES.api_version)

    def route(self) -> Object:
        """Empty where there is none, or no such kind."""
        try:
            found: Object = self._place.server.request("GET", self.path)
        except RequestError as error:
            if error.status != 404:
                raise
            return {}
        return found

    def say(self, **conditions: tuple[str, str, str]) -> None:
        """Status, reason and message of conditions about the present generation, for every parent; the rest is accepted."""
        found = self.route()
        told = {"Accepted": ("True", "Accepted", ""), "ResolvedRefs": ("True", "ResolvedRefs", ""), **conditions}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        words = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": found["metadata"]["generation"],
                "lastTransitionTime": now,
            }
            for kind, (status, reason, message) in told.items()
        ]
        parents = [{"parentRef": parent, "controllerName": CONTROLLER, "conditions": words} for parent in found["spec"]["parentRefs"]]
        self._place.server.request("PATCH", f"{self.path}/status", {"status": {"parents": parents}}, MERGE)
