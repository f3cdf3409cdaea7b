"""One reconcile: observe, decide, execute. The order of the writes is what makes a crash between any two of them harmless.

Live checks first, then the record that a plan may ask for (after which it is decided anew), then deletes, applies and creates one after
another, then at most one status write, then events. What the API server refuses for a reason that a person can change goes back into the
decision of the same pass, so that the status says so at once.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from finetune_operator.cluster.cache import ClusterCache, Key, controller_of
from finetune_operator.cluster.errors import NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CHILD_RESOURCES, FINETUNE_JOBS, JOBS
from finetune_operator.control.children import ChildApi, Children
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.measures import Measures
from finetune_operator.control.notary import Notary
from finetune_operator.control.observe import observe
from finetune_operator.control.progress import ProgressPoller
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.result import Result
from finetune_operator.control.statuses import differs
from finetune_operator.control.writes import StatusApi, StatusWrites
from finetune_operator.domain.observed import DomainSettings, Observed
from finetune_operator.domain.plan import ObjectReference, Plan

PASSES: Final = 3
"""How often a refused write may send a reconcile back to its decision before the queue takes over."""

Decide = Callable[[Observed, datetime], Plan]


class WriteApi(ChildApi, StatusApi, Protocol):
    """The part of `KubeApi` that a reconcile needs."""


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
        self._children = Children(api, cache, governance, advanced=self.advanced, now=now)
        self._writes = StatusWrites(api, cache.parents, measures)

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
                again = await self._children.write(key, resource, plan, refused)
            except Stale:
                continue
            if again:
                continue
            return await self._conclude(key, resource, plan)
        return Result("ok", again_now=True)

    def _plan(self, key: Key, resource: Manifest) -> Plan:
        rejections = self._children.rejections(key)
        view = self._governance.view(key) if self._governance is not None else None
        answers = self._poller.answers
        signing = self._notary.view(key) if self._notary is not None else None
        observed = observe(
            self._cache, key, resource, self._settings, answers=answers, rejections=rejections, governance=view, signing=signing
        )
        return self._decide(observed, self._now())

    def _forget(self, key: Key) -> Result:
        self._children.forget(key)
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

    async def _conclude(self, key: Key, resource: Manifest, plan: Plan) -> Result:
        wrote = False
        if plan.status is not None and differs(plan.status, resource.get("status") or {}):
            wrote = await self._writes.write(key, resource, plan.status)
            if not wrote:
                return self._forget(key)
        self._children.settled(key)
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
