"""One reconcile: observe, decide, execute. The order of the writes is what makes a crash between any two of them harmless.

Live checks first, then the record that a plan may ask for (after which it is decided anew), then deletes, applies and creates one after
another, then at most one status write, then events. What the API server refuses for a reason that a person can change goes back into the
decision of the same pass, so that the status says so at once.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from finetune_operator.cluster.cache import ClusterCache, Key, controller_of
from finetune_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CHILD_RESOURCES, FINETUNE_JOBS, JOBS, NETWORK_POLICIES, Resource
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.measures import Measures
from finetune_operator.control.notary import Notary
from finetune_operator.control.observe import observe
from finetune_operator.control.progress import ProgressPoller
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.transitions import condition_changes, measure
from finetune_operator.domain.observed import DomainSettings, Observed, Rejection
from finetune_operator.domain.plan import Child, Deletion, ObjectReference, Plan

log = logging.getLogger(__name__)

PASSES: Final = 3
"""How often a refused write may send a reconcile back to its decision before the queue takes over."""

Decide = Callable[[Observed, datetime], Plan]


class WriteApi(Protocol):
    """The part of `KubeApi` that a reconcile needs."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def apply(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def apply_status(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = ...) -> None: ...


@dataclass(frozen=True)
class Result:
    """How a reconcile ended: ``ok`` wrote something, ``idle`` had nothing to do, ``gone`` has no object any more."""

    outcome: Literal["ok", "idle", "gone"]
    again_now: bool = False
    requeue_after: float | None = None


class Stale(Exception):
    """A live read contradicts the cache, which knows better now: decide anew."""


class Reconciler:
    """Carries decisions out. One per process; the queue sees to it that no key is in work twice."""

    def __init__(
        self,
        api: WriteApi,
        cache: ClusterCache,
        decide: Decide,
        *,
        settings: DomainSettings,
        recorder: Recorder,
        poller: ProgressPoller,
        measures: Measures,
        governance: GovernanceCache | None = None,
        notary: Notary | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.unsettled: set[Key] = set()
        """Keys whose last plan asked to be looked at again."""
        self.advanced: set[Key] = set()
        """Keys whose last reconcile wrote something new, even if it failed afterwards: their next failure is a first one again."""
        self._api = api
        self._cache = cache
        self._recorder = recorder
        self._poller = poller
        self._measures = measures
        self._settings = settings
        self._governance = governance
        self._notary = notary
        self._decide = decide
        self._now = now
        self._rejections: dict[Key, dict[ObjectReference, Rejection]] = {}
        self._made: dict[Key, set[ObjectReference]] = {}
        """Children that are known to exist while the status that records them is still to be written: they are not asked for twice."""

    async def reconcile(self, key: Key) -> Result:
        """Bring one FineTuneJob closer to its spec. Raises `ApiError`, which the worker knows how to take."""
        refused: set[ObjectReference] = set()
        self.advanced.discard(key)
        for _ in range(PASSES):
            resource = self._cache.parents.get(key)
            if resource is None:
                return self._forget(key)
            plan = self._plan(key, resource)
            try:
                await self._check(key, resource, plan)
                if plan.record is not None and self._notary is not None:
                    await self._notary.record(key, plan.record)
                    self.advanced.add(key)
                    continue
                again = await self._write_children(key, resource, plan, refused)
            except Stale:
                continue
            if again:
                continue
            return await self._conclude(key, resource, plan)
        return Result("ok", again_now=True)

    def _plan(self, key: Key, resource: Manifest) -> Plan:
        rejections = self._rejections.get(key, {})
        view = self._governance.view(key) if self._governance is not None else None
        answers = self._poller.answers
        signing = self._notary.view(key) if self._notary is not None else None
        observed = observe(
            self._cache, key, resource, self._settings, answers=answers, rejections=rejections, governance=view, signing=signing
        )
        return self._decide(observed, self._now())

    def _forget(self, key: Key) -> Result:
        self._rejections.pop(key, None)
        self._made.pop(key, None)
        self.unsettled.discard(key)
        self._measures.forgotten(key.namespace, key.name)
        if self._notary is not None:
            self._notary.forget(key)
        return Result("gone")

    async def _check(self, key: Key, resource: Manifest, plan: Plan) -> None:
        """Read past every cache what the plan cannot be wrong about. Raises `Stale`."""
        if plan.live_checks.resource:
            await self._check_resource(key, resource)
        for reference in plan.live_checks.absent:
            kind = CHILD_RESOURCES[reference.kind]
            try:
                found = await self._api.get(kind, reference.namespace, reference.name)
            except NotFound:
                continue
            owner = controller_of(found)
            if kind is JOBS and owner is not None and owner.get("uid") == resource["metadata"]["uid"]:
                self._cache.jobs.put_own(found)
                if self._cache.jobs.get(reference.namespace, reference.name) is not None:
                    raise Stale

    async def _check_resource(self, key: Key, resource: Manifest) -> None:
        try:
            live = await self._api.get(FINETUNE_JOBS, key.namespace, key.name)
        except NotFound:
            self._cache.parents.remove(key, uid=resource["metadata"]["uid"])
            raise Stale from None
        self._cache.parents.put(live)
        if any(live["metadata"].get(field) != resource["metadata"].get(field) for field in ("uid", "generation", "deletionTimestamp")):
            raise Stale

    async def _write_children(self, key: Key, resource: Manifest, plan: Plan, refused: set[ObjectReference]) -> bool:
        """Deletes, applies, creates; true if something was refused and has to be decided upon before the status is written."""
        for deletion in plan.deletes:
            await self._delete(resource, deletion)
            self._made.get(key, set()).discard(replace(deletion.target, uid=""))
        for write, child in [(self._apply, child) for child in plan.applies] + [(self._create, child) for child in plan.creates]:
            if child.reference in refused or child.reference in self._made.get(key, ()):
                continue
            rejection = await write(resource, child)
            rejections = self._rejections.setdefault(key, {})
            if rejection is None:
                rejections.pop(child.reference, None)
                self._made.setdefault(key, set()).add(child.reference)
                self.advanced.add(key)
                continue
            known = rejections.get(child.reference)
            news = known is None or known.message != rejection.message
            rejections[child.reference] = rejection
            refused.add(child.reference)
            if news:
                log.warning(
                    "refused: %s", rejection.message, extra={"key": str(key), "child": rejection.target.name, "refusal": rejection.kind}
                )
            return True
        return False

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
                return self._rejection(reference, "NameTaken", f"{reference.kind} {reference.name} exists and belongs to somebody else")
        except Forbidden as error:
            return self._rejection(reference, "Forbidden", error.message, error)
        except Invalid as error:
            return self._rejection(reference, "Invalid", error.explain(), error)
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
                return self._rejection(reference, "NameTaken", f"{reference.kind} {reference.name} exists and belongs to somebody else")
        except NotFound:
            pass
        try:
            applied = await self._api.apply(kind, dict(child.manifest))
        except Forbidden as error:
            return self._rejection(reference, "Forbidden", error.message, error)
        except Invalid as error:
            return self._rejection(reference, "Invalid", error.explain(), error)
        if self._governance is not None and kind is NETWORK_POLICIES:
            self._governance.network_policies.put_own(applied)
        return None

    def _rejection(
        self, target: ObjectReference, kind: Literal["NameTaken", "Forbidden", "Invalid"], message: str, error: ApiError | None = None
    ) -> Rejection:
        causes = tuple(f"{cause.field}: {cause.message}" for cause in error.causes) if error else ()
        return Rejection(target=target, kind=kind, message=message, at=self._now(), causes=causes)

    async def _conclude(self, key: Key, resource: Manifest, plan: Plan) -> Result:
        wrote = False
        if plan.status is not None and _differs(plan.status, resource.get("status") or {}):
            wrote = await self._write_status(key, resource, plan.status)
            if not wrote:
                return self._forget(key)
        self._made.pop(key, None)
        if self._notary is not None:
            self._notary.settled(key)
        for note in plan.events:
            self._measures.event_recorded(await self._recorder.record(resource, note))
        if plan.requeue_after is None:
            self.unsettled.discard(key)
        else:
            self.unsettled.add(key)
        outcome: Literal["ok", "idle"] = "ok" if wrote or plan.applies or plan.creates or plan.deletes else "idle"
        return Result(outcome, again_now=wrote, requeue_after=plan.requeue_after)

    async def _write_status(self, key: Key, resource: Manifest, status: Any) -> bool:
        """The one status write; false if the object is gone."""
        metadata = resource["metadata"]
        manifest = {
            "apiVersion": FINETUNE_JOBS.api_version,
            "kind": FINETUNE_JOBS.kind,
            "metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": self._version(key, resource)},
            "status": applicable(status),
        }
        try:
            answer = await self._api.apply_status(FINETUNE_JOBS, manifest)
        except NotFound:
            self._cache.parents.remove(key, uid=metadata["uid"])
            return False
        except Conflict:
            await self._refresh(key, metadata["uid"])
            raise
        self._cache.parents.put(answer)
        before, after = resource.get("status") or {}, answer.get("status") or {}
        _log_transition(key, metadata.get("generation"), before, after)
        measure(self._measures, key, before, after, answer.get("spec") or {})
        return True

    def _version(self, key: Key, resource: Manifest) -> str:
        """The version a status must meet: a live check may have learned of one that differs in nothing we decided upon.

        A status that somebody else wrote meanwhile, such as a former leader whose write was under way, is something we decided upon.
        """
        current = self._cache.parents.get(key)
        if current is not None and _same_basis(current, resource):
            return str(current["metadata"]["resourceVersion"])
        return str(resource["metadata"]["resourceVersion"])

    async def _refresh(self, key: Key, uid: str) -> None:
        """Our copy is old: fetch the object, so that the next pass does not meet the same conflict."""
        try:
            self._cache.parents.put(await self._api.get(FINETUNE_JOBS, key.namespace, key.name))
        except NotFound:
            self._cache.parents.remove(key, uid=uid)


def _same_basis(current: Manifest, decided_upon: Manifest) -> bool:
    """Whether a decision about the one holds for the other: same object, same spec, same status."""
    metadata = (current["metadata"], decided_upon["metadata"])
    return all(metadata[0].get(field) == metadata[1].get(field) for field in ("uid", "generation", "labels")) and (
        current.get("status") or {}
    ) == (decided_upon.get("status") or {})


def _differs(wanted: Any, present: Any) -> bool:
    """Whether writing is worth it; most comparisons are of equal statuses, and that is a cheap one."""
    return bool(wanted != present) and bool(significant(wanted) != significant(present))


def significant(status: Any) -> Any:
    """A status without the moments at which it changed and without what is empty: neither is a reason to write."""
    if isinstance(status, Mapping):
        found = {key: significant(value) for key, value in status.items() if key not in {"lastTransitionTime", "updatedAt"}}
        return {key: value for key, value in found.items() if value not in ({}, [], None)}
    if isinstance(status, list | tuple):
        return [significant(item) for item in status]
    return status


def applicable(status: Mapping[str, Any]) -> Manifest:
    """A status as server-side apply can take it.

    Reordered conditions would count as a change, so they are sorted. A map or list that becomes empty is left out: where its entries were
    applied before, the API server merges an empty one to null, and then refuses that.
    """
    document: Manifest = _without_empty(status)
    if "conditions" in document:
        document["conditions"] = sorted(document["conditions"], key=lambda condition: str(condition["type"]))
    return document


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ({}, [], None)}
    if isinstance(value, list | tuple):
        return [_without_empty(item) for item in value]
    return value


def _controlled_by(child: Manifest, resource: Manifest) -> bool:
    owner = controller_of(child)
    return owner is not None and owner.get("uid") == resource["metadata"]["uid"]


def _log_transition(key: Key, generation: Any, before: Manifest, after: Manifest) -> None:
    changes = list(condition_changes(before, after))
    if not changes:
        return
    run = after.get("currentRun") or {}
    summary = next((change for change in changes if change.type == "Ready"), changes[-1])
    log.info(
        "%s %s: %s",
        key,
        after.get("phase") or summary.type,
        summary.message or summary.reason,
        extra={
            "key": str(key),
            "generation": generation,
            "run": run.get("name"),
            "attempt": run.get("attempt"),
            "conditions": {change.type: f"{change.status}/{change.reason}" for change in changes},
        },
    )
