"""The objects that serving runs as: applied when they are to be different, and looked at once in a while.

Each carries the hash of what was applied, so that an operator that has just started reads instead of writing. A look also finds
what somebody has changed by hand, and applies again; fields that were never applied stay whose they are. What the API server refuses
comes back as words for the status and is tried again later: a quota or a right may have changed.
"""

import hashlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.base import FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_PREFIX
from finetune_operator.cluster.cache import Key, controller_of
from finetune_operator.cluster.errors import Forbidden, Invalid, NotFound
from finetune_operator.cluster.kube import Manifest, Page, Selection
from finetune_operator.cluster.resources import DEPLOYMENTS, SERVING_RESOURCES, Resource
from finetune_operator.control.rollout.drift import is_as_applied, state_of
from finetune_operator.control.rollout.refusals import REFUSED_SECONDS, name_taken, refused
from finetune_operator.domain.plan import JsonObject
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import CHECK, MergedModel, classified, managed_selector

log = logging.getLogger(__name__)

APPLIED: Final = f"{LABEL_PREFIX}applied"
"""Annotation: hash of the manifest as it was applied."""
VERIFY_SECONDS: Final = 600.0


class ServingObjects(Protocol):
    """Builds manifests; pure. Those of a namespace belong to all its AdapterDeployments together."""

    def server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, claims: Sequence[str]) -> Iterable[JsonObject]:
        """What a managed server consists of; ``claims`` hold the versions that its pods are to load. Nothing where there is a mistake."""

    def merged_server_objects(self, owner: Owner, spec: AdapterDeploymentSpec, models: Sequence[MergedModel]) -> Iterable[JsonObject]:
        """The same in mode Merged, for the models that are to be served."""

    def namespace_objects(self, namespace: str) -> Iterable[JsonObject]:
        """What a namespace has once."""

    def check_objects(self, owner: Owner) -> Iterable[JsonObject]:
        """What has to be there before the Job that reads an adapter's files."""

    def mistake(self, spec: AdapterDeploymentSpec) -> str:
        """Why no server can be made of this spec, with field and remedy; empty where one can."""


class ApplyApi(Protocol):
    """The part of `KubeApi` that is needed."""

    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool = ...) -> Manifest: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...

    def pages(self, resource: Resource, selection: Selection) -> AsyncIterator[Page]: ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = ...) -> None: ...


@dataclass(frozen=True)
class Sensitivity:
    """Labels of classification: of what one AdapterDeployment owns, and of what all of its namespace share."""

    own: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)


UNCLASSIFIED: Final = Sensitivity()


@dataclass(frozen=True)
class _Verified:
    hashes: tuple[str, ...]
    at: float
    refusal: str = ""

    @property
    def holds_for(self) -> float:
        """Seconds until it is looked at again."""
        return REFUSED_SECONDS if self.refusal else VERIFY_SECONDS


class Children:
    """One per process."""

    def __init__(self, api: ApplyApi, objects: ServingObjects, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._objects = objects
        self._clock = clock
        self._verified: dict[Key | str, _Verified] = {}
        self._settled: dict[Key | str, dict[tuple[str, str], object]] = {}
        self._ended: dict[Key, str] = {}

    async def ensure(
        self,
        key: Key,
        uid: str,
        spec: AdapterDeploymentSpec,
        claims: Sequence[str],
        models: Sequence[MergedModel] | None = None,
        *,
        labels: Sensitivity = UNCLASSIFIED,
    ) -> str:
        """See to it that everything is there; what stands against it, in words. Raises `ApiError` for all that passes by itself.

        ``models`` are what mode Merged is to serve, and no others; None where no status says which: then none goes.
        """
        shared = [classified(made, labels.shared) for made in self._objects.namespace_objects(key.namespace)]
        refusal = await self._see_to(key.namespace, shared, "")
        if refusal or spec.server.managed is None:
            return refusal
        mistake = self._objects.mistake(spec)
        if mistake:
            return mistake
        owner = Owner(key.namespace, key.name, uid)
        if not spec.merged:
            made = [classified(each, labels.own) for each in self._objects.server_objects(owner, spec, claims)]
            return await self._see_to(key, made, uid)
        made = [classified(each, labels.own) for each in self._objects.merged_server_objects(owner, spec, models or ())]
        return await self._see_to(key, made, uid, prune=models is not None)

    def mistake(self, spec: AdapterDeploymentSpec) -> str:
        """Why no server can be made of this spec; empty where one can, or where the user runs his own."""
        return self._objects.mistake(spec) if spec.server.managed is not None else ""

    async def ensure_check(self, key: Key, uid: str, labels: Sensitivity = UNCLASSIFIED) -> str:
        """What belongs to the Jobs that read an adapter's files; what stands against it. Raises `ApiError` for what passes by itself."""
        made = [classified(each, labels.own) for each in self._objects.check_objects(Owner(key.namespace, key.name, uid))]
        return await self._see_to(_check_of(key), made, uid)

    def known_refusal(self, key: Key) -> str:
        """What was refused the last time."""
        kept = [self._verified.get(whose) for whose in (key.namespace, key)]
        return next((each.refusal for each in kept if each is not None and each.refusal), "")

    async def remove_shared(self, namespace: str, wanted: Callable[[], bool]) -> None:
        """Delete a namespace's own objects; stops as soon as they are wanted again. Raises `ApiError` for what passes by itself.

        What may not be deleted stays, with a word in the log: it must not keep a deployment from going.
        """
        try:
            await self._remove(namespace, wanted)
        finally:
            self._drop(namespace)  # what somebody saw to meanwhile may be gone since

    async def _remove(self, namespace: str, wanted: Callable[[], bool]) -> None:
        for manifest in reversed(tuple(self._objects.namespace_objects(namespace))):
            resource, name = SERVING_RESOURCES[manifest["kind"]], manifest["metadata"]["name"]
            try:
                found = await self._api.get(resource, namespace, name)
                if wanted():
                    return
                if is_ours(found, ""):
                    await self._api.delete(resource, namespace, name, uid=found["metadata"]["uid"])
            except NotFound:
                continue
            except (Forbidden, Invalid) as error:
                log.warning("%s %s stays: %s", resource.kind, name, error, extra={"key": namespace})

    async def end(self, key: Key, uid: str) -> None:
        """Delete what runs pods, of this AdapterDeployment and of its namespace, where all others end too. Raises `ApiError`.

        What open requests are promised is the pods' to keep, as whenever one ends. Network policies stay: they are about those pods.
        """
        if self._ended.get(key) == uid:
            return
        await self._prune(key, uid, ())
        shared = (made["metadata"]["name"] for made in self._objects.namespace_objects(key.namespace) if made["kind"] == DEPLOYMENTS.kind)
        for name in shared:
            with suppress(NotFound):
                found = await self._api.get(DEPLOYMENTS, key.namespace, name)
                if is_ours(found, "") and not found["metadata"].get("deletionTimestamp"):
                    await self._api.delete(DEPLOYMENTS, key.namespace, name, uid=found["metadata"]["uid"])
        self._ended[key] = uid

    def forget(self, key: Key) -> None:
        self._drop(key)
        self._drop(_check_of(key))
        self._ended.pop(key, None)

    def _drop(self, whose: Key | str) -> None:
        self._verified.pop(whose, None)
        self._settled.pop(whose, None)

    async def _see_to(self, whose: Key | str, manifests: Iterable[JsonObject], uid: str, *, prune: bool = False) -> str:
        """``prune``: Deployments of this owner that are not among the manifests go, first: what takes their place may need their room."""
        stamped = [stamped_manifest(manifest) for manifest in manifests]
        hashes = tuple(manifest["metadata"]["annotations"][APPLIED] for manifest in stamped)
        known = self._verified.get(whose)
        if known is not None and known.hashes == hashes and self._clock() - known.at < known.holds_for:
            return known.refusal
        if prune and isinstance(whose, Key):
            await self._prune(whose, uid, {manifest["metadata"]["name"] for manifest in stamped if manifest["kind"] == DEPLOYMENTS.kind})
        refusal = ""
        for manifest in stamped:
            refusal = await self._apply(whose, manifest, uid)
            if refusal:
                if known is None or known.refusal != refusal:
                    log.warning("refused: %s", refusal, extra={"key": str(whose)})
                break
        self._verified[whose] = _Verified(hashes, self._clock(), refusal)
        return refusal

    async def _prune(self, key: Key, uid: str, wanted: Container[str]) -> None:
        """Servers of versions that nobody wants any more."""
        labels = ",".join(f"{name}={value}" for name, value in managed_selector(Owner(key.namespace, key.name, uid)).items())
        async for page in self._api.pages(DEPLOYMENTS, Selection(namespace=key.namespace, labels=labels)):
            for found in page.items:
                metadata = found["metadata"]
                if metadata["name"] not in wanted and is_ours(found, uid) and not metadata.get("deletionTimestamp"):
                    await self._api.delete(DEPLOYMENTS, key.namespace, metadata["name"], uid=metadata["uid"])

    async def _apply(self, whose: Key | str, manifest: Manifest, uid: str) -> str:
        resource, metadata = SERVING_RESOURCES[manifest["kind"]], manifest["metadata"]
        try:
            found: Manifest | None = await self._api.get(resource, metadata["namespace"], metadata["name"])
        except NotFound:
            found = None
        if found is not None and not is_ours(found, uid):
            return name_taken(manifest)
        if found is not None and not self._differs(whose, found, manifest):
            return ""
        try:
            applied = await self._api.apply(resource, manifest)
        except (Forbidden, Invalid) as error:
            return refused(manifest, error)
        self._settled.setdefault(whose, {})[_place(manifest)] = _settlement(applied, manifest)
        return ""

    def _differs(self, whose: Key | str, found: Manifest, manifest: Manifest) -> bool:
        """From what we applied, or by somebody's edit; what stayed different right after our own write is not ours to decide."""
        stamp = (found["metadata"].get("annotations") or {}).get(APPLIED)
        if stamp == manifest["metadata"]["annotations"][APPLIED] and is_as_applied(found, manifest):
            return False
        return self._settled.get(whose, {}).get(_place(manifest)) != _settlement(found, manifest)


def _place(manifest: JsonObject) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _settlement(found: Manifest, manifest: Manifest) -> object:
    return manifest["metadata"]["annotations"][APPLIED], state_of(found)


def _check_of(key: Key) -> str:
    """No namespace is called like this."""
    return f"{key} {CHECK}"


def stamped_manifest(manifest: JsonObject) -> dict[str, Any]:
    digest = hashlib.sha256(orjson.dumps(manifest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), APPLIED: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def is_ours(found: Manifest, uid: str) -> bool:
    """Controlled by this AdapterDeployment; or, for what all of a namespace share, marked as managed by this operator."""
    if not uid:
        return bool((found["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == FIELD_MANAGER)
    owner = controller_of(found)
    return owner is not None and owner.get("uid") == uid
