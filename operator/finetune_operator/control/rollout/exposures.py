"""The HTTPRoutes of AdapterDeployments: applied, read back with what Gateways say about them, and removed with their field.

The Gateway API is not ours and may come and go while the operator runs. So nothing is watched: each look is one read (two while the kind or
the route is missing), every few seconds until Gateways have accepted, then as often as the audit. Nothing is written at rest, and what the
API server refuses is tried again after a minute.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from finetune_operator.api.adapterdeployment.conditions import ConditionType
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec, HttpRouteSpec
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import Forbidden, Invalid, NotFound
from finetune_operator.cluster.kube import Manifest, Selection
from finetune_operator.cluster.resources import HTTP_ROUTES
from finetune_operator.control.rollout.children import APPLIED, ApplyApi, is_ours, stamped_manifest
from finetune_operator.control.rollout.drift import contains
from finetune_operator.control.rollout.refusals import REFUSED_SECONDS, name_taken, refused
from finetune_operator.control.rollout.siblings import stored_classification
from finetune_operator.domain import reading
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.rollout.observed import Exposure
from finetune_operator.manifests.labels import classification_labels
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import classified, http_route_name

log = logging.getLogger(__name__)

_REMOVAL: Final = "removal"
_NO_ROUTER: Final = (
    "spec.traffic.httpRoute: this operator makes no routers, and an HTTPRoute leads to one. "
    "Have the operator started with --inference-image, or remove the field."
)


class RouteObjects(Protocol):
    """Builds manifests; pure."""

    def http_route(self, owner: Owner, route: HttpRouteSpec) -> JsonObject:
        """The HTTPRoute to the router of the owner's namespace."""


class Exposures:
    """One per process. ``objects`` is None where somebody else makes the routers."""

    def __init__(self, api: ApplyApi, objects: RouteObjects | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._objects = objects
        self._clock = clock
        self._refusals: dict[Key, tuple[str, float, str]] = {}
        self._settled: dict[Key, tuple[str, int | None]] = {}

    async def look(self, key: Key, resource: Manifest, spec: AdapterDeploymentSpec) -> Exposure | None:
        """See to the HTTPRoute of this generation; None before the status says that there is to be one.

        Raises `ApiError` for all that passes by itself.
        """
        generation, uid = resource["metadata"].get("generation") or 0, resource["metadata"]["uid"]
        route, owner = spec.traffic.http_route, Owner(key.namespace, key.name, uid)
        if not condition_of(resource):
            return None
        try:
            if route is None:
                return await self._remove(key, owner, generation)
            if self._objects is None:
                return Exposure(generation, refusal=_NO_ROUTER)
            if reading.at(resource.get("status"), "route") is None:
                return None
            wanted = classified(self._objects.http_route(owner, route), classification_labels(stored_classification(resource)))
            return await self._ensure(key, stamped_manifest(wanted), uid, generation)
        except (Forbidden, Invalid) as error:
            return Exposure(generation, refusal=f"HTTPRoute {http_route_name(owner)} cannot be read: {error.explain()}")

    def forget(self, key: Key) -> None:
        self._refusals.pop(key, None)
        self._settled.pop(key, None)

    async def _ensure(self, key: Key, manifest: Manifest, uid: str, generation: int) -> Exposure:
        found = await self._find(key, manifest["metadata"]["name"])
        if found is None and not await self._is_known(key.namespace):
            return Exposure(generation, missing=True)
        if found is not None and not is_ours(found, uid):
            return Exposure(generation, refusal=name_taken(manifest))
        if found is None or self._differs(key, found, manifest):
            digest = manifest["metadata"]["annotations"][APPLIED]
            refusal = self._known_refusal(key, digest) or await self._apply(key, manifest, digest)
            if refusal:
                return Exposure(generation, refusal=refusal)
            found = await self._find(key, manifest["metadata"]["name"])
        return Exposure(generation, route=found or {})

    def _differs(self, key: Key, found: Manifest, manifest: Manifest) -> bool:
        """From what we applied, or by somebody's edit; what stayed different right after our own write is not ours to decide."""
        digest = manifest["metadata"]["annotations"][APPLIED]
        if (found["metadata"].get("annotations") or {}).get(APPLIED) == digest and contains(found.get("spec"), manifest["spec"]):
            return False
        return self._settled.get(key) != (digest, found["metadata"].get("generation"))

    async def _apply(self, key: Key, manifest: Manifest, digest: str) -> str:
        """What stands against it, in words; empty once it is applied."""
        try:
            answer = await self._api.apply(HTTP_ROUTES, manifest)
        except (Forbidden, Invalid) as error:
            return self._remember_refusal(key, digest, refused(manifest, error))
        self._refusals.pop(key, None)
        self._settled[key] = (digest, answer["metadata"].get("generation"))
        return ""

    async def _remove(self, key: Key, owner: Owner, generation: int) -> Exposure:
        found = await self._find(key, http_route_name(owner))
        if found is not None and is_ours(found, owner.uid):
            refusal = self._known_refusal(key, _REMOVAL) or await self._delete(key, found)
            if refusal:
                return Exposure(generation, refusal=refusal)
        self.forget(key)
        return Exposure(generation)

    async def _delete(self, key: Key, found: Manifest) -> str:
        metadata = found["metadata"]
        try:
            await self._api.delete(HTTP_ROUTES, key.namespace, metadata["name"], uid=metadata["uid"])
        except (Forbidden, Invalid) as error:
            return self._remember_refusal(key, _REMOVAL, f"HTTPRoute {metadata['name']} cannot be removed: {error.explain()}")
        return ""

    def _remember_refusal(self, key: Key, what: str, text: str) -> str:
        log.warning("refused: %s", text, extra={"key": str(key)})
        self._refusals[key] = (what, self._clock(), text)
        return text

    def _known_refusal(self, key: Key, what: str) -> str:
        """Why the same was refused less than a minute ago."""
        before, at, text = self._refusals.get(key, ("", 0.0, ""))
        return text if before == what and self._clock() - at < REFUSED_SECONDS else ""

    async def _find(self, key: Key, name: str) -> Manifest | None:
        try:
            return await self._api.get(HTTP_ROUTES, key.namespace, name)
        except NotFound:
            return None

    async def _is_known(self, namespace: str) -> bool:
        """Whether there is such a kind: then even a list of nothing is an answer."""
        try:
            async for _page in self._api.pages(HTTP_ROUTES, Selection(namespace=namespace, fields="metadata.name=none")):
                return True
        except NotFound:
            return False
        return True


def condition_of(resource: Manifest) -> Mapping[str, Any]:
    """``Exposed`` as it is stored; empty where the status does not speak of an HTTPRoute, and then there is none of ours."""
    conditions = reading.objects(resource.get("status"), "conditions")
    return next((each for each in conditions if reading.text(each, "type") == ConditionType.EXPOSED.value), {})
