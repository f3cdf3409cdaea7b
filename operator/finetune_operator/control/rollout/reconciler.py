"""Carries decisions about rollouts out: the finalizer first, then objects, at most one status write, and events only after it.

What a decision is made from may be old while nothing is under way. So a decision that would write is made once more, on new answers of
routers and agents; an idle deployment costs a few questions in five minutes and no write.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.result import Result
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.exposures import Exposures
from finetune_operator.control.rollout.finalizer import Finalizer, is_held, serves
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.looking import Looking
from finetune_operator.control.rollout.measures import RolloutMeasures
from finetune_operator.control.rollout.observe import Warnings
from finetune_operator.control.rollout.pace import Pace, pace_of
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.refusals import REFUSED_SECONDS
from finetune_operator.control.rollout.schemas import Schemas
from finetune_operator.control.rollout.upkeep import Upkeep
from finetune_operator.control.rollout.writes import RolloutApi, Writes
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.observed import Exposure, RolloutObserved, RolloutSettings
from finetune_operator.domain.rollout.plan import RolloutPlan

REST_SECONDS: Final = 300.0
AUDIT_SECONDS: Final = 15.0

Decide = Callable[[RolloutObserved, datetime], RolloutPlan]


class RolloutReconciler:
    """One per process; the queue sees to it that no key is in work twice."""

    def __init__(
        self,
        api: RolloutApi,
        cache: ServingCache,
        decide: Decide,
        *,
        readings: Readings,
        schemas: Schemas,
        children: Children | None,
        prober: Prober,
        pushes: Pushes | None = None,
        recorder: Recorder,
        measures: RolloutMeasures,
        settings: RolloutSettings,
        jobs: Jobs | None = None,
        exposures: Exposures | None = None,
        warnings: Warnings = lambda _uid: (),
        governance: GovernanceCache | None = None,
        rest_seconds: float = REST_SECONDS,
        audit_seconds: float = AUDIT_SECONDS,
        is_ending: Callable[[str], bool] = lambda _namespace: False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache = cache
        self._decide = decide
        self._prober = prober
        self._recorder = recorder
        self._measures = measures
        self._settings = settings
        self._rest_seconds = rest_seconds
        self._audit_seconds = audit_seconds
        self._now = now
        self._writes = Writes(api, cache.deployments, measures, now)
        self._finalizer = Finalizer(self._writes, cache, children)
        self._looking = Looking(
            cache,
            readings=readings,
            schemas=schemas,
            prober=prober,
            pushes=pushes,
            settings=settings,
            warnings=warnings,
            now=now,
            governance=governance,
        )
        self._upkeep = Upkeep(
            cache,
            self._looking,
            self._finalizer,
            children=children,
            jobs=jobs,
            exposures=exposures,
            settings=settings,
            audit_seconds=audit_seconds,
            is_ending=is_ending,
        )
        self.advanced = self._writes.advanced

    async def reconcile(self, key: Key) -> Result:
        """Bring one AdapterDeployment closer to its spec. Raises `ApiError`, which the worker knows how to take."""
        self.advanced.discard(key)
        resource = self._cache.deployments.get(key)
        if resource is None:
            return self._forget(key)
        pace = pace_of(resource, self._settings, self._rest_of(key))
        pace, refusal = await self._upkeep.servers(key, resource, pace)
        nothing_to_undo = resource["metadata"].get("deletionTimestamp") and not serves(resource.get("status") or {})
        unlisted = self._cache.unlisted(key)
        if not nothing_to_undo and not unlisted and not self._cache.complete(key):
            return Result("idle", requeue_after=self._settings.poll_seconds)
        refusal = unlisted or refusal
        pace, exposure = await self._upkeep.exposure(key, resource, pace)
        found = await self._look_and_decide(key, pace, refusal, exposure)
        if found is not None and not found[1].empty and pace.resting:
            awake = replace(pace, max_age=self._settings.poll_seconds / 2, resting=False)
            found = await self._look_and_decide(key, awake, refusal, exposure)
        return self._forget(key) if found is None else await self._carry_out(key, *found, pace, refusal)

    def _rest_of(self, key: Key) -> float:
        """An agent sees by itself what its engine loses; an engine of the user's own has to be asked."""
        own = self._cache.selected is not None and self._cache.selected.follows(key)
        return min(self._rest_seconds, self._audit_seconds) if own else self._rest_seconds

    async def _look_and_decide(self, key: Key, pace: Pace, refusal: str, exposure: Exposure | None) -> tuple[Manifest, RolloutPlan] | None:
        """None where the object is gone."""
        found = await self._looking.look(key, pace, refusal, exposure)
        if found is None:
            return None
        resource, observed = found
        return resource, self._decide(observed, self._now())

    async def _carry_out(self, key: Key, resource: Manifest, plan: RolloutPlan, pace: Pace, refusal: str) -> Result:
        if plan.release:
            return await self._release(key, resource)
        wrote = False
        if plan.status is not None:
            if serves(plan.status) and not is_held(resource) and not resource["metadata"].get("deletionTimestamp"):
                resource = await self._finalizer.hold(key, resource) or resource
            wrote = await self._writes.status(key, resource, plan.status)
            if not wrote:
                return self._forget(key)
        for note in plan.events:
            self._measures.event_recorded(await self._recorder.record(resource, note))
        await self._upkeep.jobs(key, resource, plan)
        if plan.probes is not None:
            self._prober.send(key, reading.text(resource.get("spec"), "modelName"), plan.probes, self._looking.answering(key))
        pushing = self._push(key) if not wrote else None
        look_in = pace.look_in * (random.uniform(0.8, 1.0) if pace.resting else 1.0)  # noqa: S311  jitter, no secret
        retry = REFUSED_SECONDS if refusal else None
        requeue = min(wait for wait in (look_in, plan.requeue_after, pushing, retry) if wait is not None)
        return Result("ok" if wrote else "idle", again_now=wrote, requeue_after=requeue)

    async def _release(self, key: Key, resource: Manifest) -> Result:
        if not is_held(resource):
            return Result("idle")
        await self._finalizer.release(key, resource)
        return Result("ok")

    def _push(self, key: Key) -> float | None:
        """Have engines of the user's own hold what status names, beside everything else; seconds until that has to be seen to again."""
        own, servers = self._looking.own_engines(key), self._cache.servers(key)
        if own is None:
            return None
        again = own.pushes.see_to(key, own.target, servers, own.port)
        if own.pushes.unreachable(servers, own.port):
            again = min(again or self._settings.poll_seconds, self._settings.poll_seconds)
        return again

    def _forget(self, key: Key) -> Result:
        self._finalizer.forget(key)
        self._looking.forget(key)
        self._upkeep.forget(key)
        self._measures.forgotten(key.namespace, key.name)
        return Result("gone")
