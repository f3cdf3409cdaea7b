"""Writes the children that a plan asks for, one after another: deletes, applies, creates.

What the API server refuses for a reason that a person can change is kept, for the next decision; what exists already and is ours is a
success.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from finetune_operator.cluster.cache import ClusterCache, Key, controller_of
from finetune_operator.cluster.errors import Conflict, Forbidden, Invalid, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CHILD_RESOURCES, JOBS, NETWORK_POLICIES, Resource
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.writes import ReadApi
from finetune_operator.domain.observed import Rejection
from finetune_operator.domain.plan import Child, Deletion, ObjectReference, Plan

log = logging.getLogger(__name__)


class ChildApi(ReadApi, Protocol):
    """The part of `KubeApi` that writes children."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def apply(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = ...) -> None: ...


class Children:
    """Of all FineTuneJobs; ``advanced`` gets the keys for which one was made."""

    def __init__(
        self,
        api: ChildApi,
        cache: ClusterCache,
        governance: GovernanceCache | None,
        *,
        advanced: set[Key],
        now: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._cache = cache
        self._governance = governance
        self._advanced = advanced
        self._now = now
        self._rejections: dict[Key, dict[ObjectReference, Rejection]] = {}
        self._made: dict[Key, set[ObjectReference]] = {}
        """Children that are known to exist while the status that records them is still to be written: they are not asked for twice."""

    def rejections(self, key: Key) -> Mapping[ObjectReference, Rejection]:
        """What is refused at present."""
        return self._rejections.get(key, {})

    def settled(self, key: Key) -> None:
        """The status that records what was made is written: a later plan may ask for it anew."""
        self._made.pop(key, None)

    def forget(self, key: Key) -> None:
        self._rejections.pop(key, None)
        self._made.pop(key, None)

    async def write(self, key: Key, resource: Manifest, plan: Plan, refused: set[ObjectReference]) -> bool:
        """True if something was refused and has to be decided upon before the status is written; ``refused`` gets it, and is left alone."""
        for deletion in plan.deletes:
            await self._delete(resource, deletion)
            self._made.get(key, set()).discard(replace(deletion.target, uid=""))
        for write, child in [(self._apply, child) for child in plan.applies] + [(self._create, child) for child in plan.creates]:
            if child.reference in refused or child.reference in self._made.get(key, ()):
                continue
            rejection = await write(resource, child)
            if rejection is not None:
                refused.add(child.reference)
                self._keep(key, child.reference, rejection)
                return True
            self._rejections.get(key, {}).pop(child.reference, None)
            self._made.setdefault(key, set()).add(child.reference)
            self._advanced.add(key)
        return False

    def _keep(self, key: Key, child: ObjectReference, rejection: Rejection) -> None:
        rejections = self._rejections.setdefault(key, {})
        known = rejections.get(child)
        rejections[child] = rejection
        if known is None or known.message != rejection.message:
            log.warning(
                "refused: %s", rejection.message, extra={"key": str(key), "child": rejection.target.name, "refusal": rejection.kind}
            )

    async def _delete(self, resource: Manifest, deletion: Deletion) -> None:
        target = deletion.target
        kind = CHILD_RESOURCES[target.kind]
        uid = target.uid
        if not uid:
            try:
                found = await self._api.get(kind, target.namespace, target.name)
            except NotFound:
                return
            if not _controlled_by(found, resource):
                return
            uid = found["metadata"]["uid"]
        await self._api.delete(kind, target.namespace, target.name, uid=uid, propagation=deletion.propagation)

    async def _create(self, resource: Manifest, child: Child) -> Rejection | None:
        """Create once. A name that is taken by our own child is a success, also after an answer that never came."""
        reference = child.reference
        kind = CHILD_RESOURCES[reference.kind]
        try:
            created = await self._api.create(kind, dict(child.manifest))
        except Conflict as error:
            if not error.already_exists:
                raise
            created = await self._api.get(kind, reference.namespace, reference.name)
            if not _controlled_by(created, resource):
                return self._name_taken(reference)
        except (Forbidden, Invalid) as error:
            return self._refusal(reference, error)
        if kind is JOBS:
            self._cache.jobs.put_own(created)
        return None

    async def _apply(self, resource: Manifest, child: Child) -> Rejection | None:
        """Bring a mutable child to what is wanted; what somebody else made by that name is left alone."""
        reference = child.reference
        kind = CHILD_RESOURCES[reference.kind]
        try:
            found = await self._api.get(kind, reference.namespace, reference.name)
            if not _controlled_by(found, resource):
                return self._name_taken(reference)
        except NotFound:
            pass
        try:
            applied = await self._api.apply(kind, dict(child.manifest))
        except (Forbidden, Invalid) as error:
            return self._refusal(reference, error)
        if self._governance is not None and kind is NETWORK_POLICIES:
            self._governance.network_policies.put_own(applied)
        return None

    def _name_taken(self, target: ObjectReference) -> Rejection:
        message = f"{target.kind} {target.name} exists and belongs to somebody else"
        return Rejection(target=target, kind="NameTaken", message=message, at=self._now())

    def _refusal(self, target: ObjectReference, error: Forbidden | Invalid) -> Rejection:
        causes = tuple(f"{cause.field}: {cause.message}" for cause in error.causes)
        if isinstance(error, Invalid):
            return Rejection(target=target, kind="Invalid", message=error.explain(), at=self._now(), causes=causes)
        return Rejection(target=target, kind="Forbidden", message=error.message, at=self._now(), causes=causes)


def _controlled_by(child: Manifest, resource: Manifest) -> bool:
    owner = controller_of(child)
    return owner is not None and owner.get("uid") == resource["metadata"]["uid"]
