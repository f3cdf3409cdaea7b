"""The Jobs of checks and merges: created once where a decision orders one, and deleted where it runs for nothing."""

from collections.abc import Mapping
from typing import Protocol

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import Conflict, Forbidden, Invalid
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import JOBS, Resource
from finetune_operator.control.rollout.children import is_ours
from finetune_operator.control.rollout.refusals import name_taken, refused
from finetune_operator.domain.plan import JsonObject, ObjectReference
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.serving import CheckOrder, MergeOrder, classified


class JobObjects(Protocol):
    """Builds the manifest; pure."""

    def check_job(self, owner: Owner, spec: AdapterDeploymentSpec, order: CheckOrder) -> JsonObject:
        """The Job of one attempt to read an adapter's files."""

    def merge_job(self, owner: Owner, spec: AdapterDeploymentSpec, order: MergeOrder) -> JsonObject:
        """The Job of one attempt to merge."""


class JobApi(Protocol):
    """The part of `KubeApi` that is needed."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = ...) -> None: ...


class Jobs:
    """One per process."""

    def __init__(self, api: JobApi, objects: JobObjects) -> None:
        self._api = api
        self._objects = objects
        self._refusals: dict[Key, str] = {}

    async def begin(
        self, key: Key, uid: str, spec: AdapterDeploymentSpec, order: CheckOrder | MergeOrder, labels: Mapping[str, str] | None = None
    ) -> Manifest | None:
        """The Job of an attempt as it is there then, whoever created it; None where it is refused. Raises `ApiError` for what passes."""
        manifest = dict(classified(self._build(Owner(key.namespace, key.name, uid), spec, order), labels or {}))
        try:
            made = await self._api.create(JOBS, manifest)
        except Conflict as error:
            if not error.already_exists:
                raise
            made = await self._api.get(JOBS, key.namespace, manifest["metadata"]["name"])
            if not is_ours(made, uid):
                self._refusals[key] = name_taken(manifest)
                return None
        except (Forbidden, Invalid) as error:
            self._refusals[key] = refused(manifest, error)
            return None
        self._refusals.pop(key, None)
        return made

    def refuse(self, key: Key, why: str) -> None:
        """What has to be there before the Job is refused."""
        self._refusals[key] = why

    async def end(self, reference: ObjectReference) -> None:
        """Delete a Job that nobody waits for. Raises `ApiError`."""
        await self._api.delete(JOBS, reference.namespace, reference.name, uid=reference.uid)

    def refusal(self, key: Key) -> str:
        """Why the last attempt could not even begin; empty where it could."""
        return self._refusals.get(key, "")

    def forget(self, key: Key) -> None:
        self._refusals.pop(key, None)

    def _build(self, owner: Owner, spec: AdapterDeploymentSpec, order: CheckOrder | MergeOrder) -> JsonObject:
        if isinstance(order, CheckOrder):
            return self._objects.check_job(owner, spec, order)
        return self._objects.merge_job(owner, spec, order)
