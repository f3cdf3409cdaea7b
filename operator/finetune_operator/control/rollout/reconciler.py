"""Carries decisions about rollouts out: objects first, then the finalizer, at most one status write, and events only after it.

What a decision is made from may be old while nothing is under way. So a decision that would write is made once more, on new answers of
routers and agents; an idle deployment costs a few questions in five minutes and no write.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import Stage
from finetune_operator.api.base import LABEL_PREFIX
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, Conflict, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS, Resource
from finetune_operator.control.reconciler import Result, applicable
from finetune_operator.control.recorder import Recorder
from finetune_operator.control.rollout.cache import ServingCache, address_of
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.exposures import Exposures, condition_of
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.measures import RolloutMeasures, measure
from finetune_operator.control.rollout.observe import Warnings, claims_of, from_prometheus, merged_models, observe
from finetune_operator.control.rollout.own_engines import OwnEngines, own_engines
from finetune_operator.control.rollout.pace import Pace, pace_of
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.schemas import NO_SCHEMA, ReadSchema, Schemas
from finetune_operator.control.transitions import condition_changes
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.checking import awaits_check
from finetune_operator.domain.rollout.observed import Exposure, RolloutObserved, RolloutSettings
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.domain.rollout.target import is_refused

log = logging.getLogger(__name__)

FINALIZER: Final = f"{LABEL_PREFIX}drain"
"""Holds an object that is being deleted until open requests have ended and pods have unloaded."""
REST_SECONDS: Final = 300.0
AUDIT_SECONDS: Final = 15.0
_NO_OBJECTS: Final = "this operator makes no servers, and mode Merged needs them: start it with --inference-image"

Decide = Callable[[RolloutObserved, datetime], RolloutPlan]


class RolloutApi(Protocol):
    """The part of `KubeApi` that a reconcile needs itself."""

    async def apply_status(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest: ...


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
        rest_seconds: float = REST_SECONDS,
        audit_seconds: float = AUDIT_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.advanced: set[Key] = set()
        self._released: dict[Key, str] = {}
        self._api = api
        self._cache = cache
        self._decide = decide
        self._readings = readings
        self._schemas = schemas
        self._children = children
        self._jobs = jobs
        self._exposures = exposures
        self._prober = prober
        self._pushes = pushes
        self._recorder = recorder
        self._measures = measures
        self._settings = settings
        self._warnings = warnings
        self._rest_seconds = rest_seconds
        self._audit_seconds = audit_seconds
        self._now = now

    async def reconcile(self, key: Key) -> Result:
        """Bring one AdapterDeployment closer to its spec. Raises `ApiError`, which the worker knows how to take."""
        self.advanced.discard(key)
        resource = self._cache.deployments.get(key)
        if resource is None:
            return self._forget(key)
        pace = pace_of(resource, self._settings, self._rest_of(key))
        pace, refusal = await self._see_to_children(key, resource, pace)
        nothing_to_undo = resource["metadata"].get("deletionTimestamp") and not _serves(resource.get("status") or {})
        unlisted = self._cache.unlisted(key)
        if not nothing_to_undo and not unlisted and not self._cache.complete(key):
            return Result("idle", requeue_after=self._settings.poll_seconds)
        refusal = unlisted or refusal
        pace, exposure = await self._see_to_exposure(key, resource, pace)
        resource, plan = await self._look_and_decide(key, pace, refusal, exposure)
        if not plan.empty and pace.resting:
            resource, plan = await self._look_and_decide(key, self._awake(pace), refusal, exposure)
        if resource is None:
            return self._forget(key)
        return await self._carry_out(key, resource, plan, pace)

    def _rest_of(self, key: Key) -> float:
        """An agent sees by itself what its engine loses; an engine of the user's own has to be asked."""
        own = self._cache.selected is not None and self._cache.selected.follows(key)
        return min(self._rest_seconds, self._audit_seconds) if own else self._rest_seconds

    def _awake(self, pace: Pace) -> Pace:
        return Pace(self._settings.poll_seconds / 2, pace.look_in, pace.samples)

    async def _look_and_decide(self, key: Key, pace: Pace, refusal: str, exposure: Exposure | None) -> tuple[Manifest | None, RolloutPlan]:
        """From the newest copy of the object: answers take time, and it may have changed meanwhile."""
        routers, servers = self._cache.routers(key.namespace), self._cache.servers(key)
        own, stored = self._own_engines(key), self._cache.deployments.get(key)
        scraped = stored is not None and from_prometheus(stored)
        async with asyncio.TaskGroup() as group:
            agents = servers if own is None else ()
            look = self._readings.look(key, routers, agents, max_age=pace.max_age, samples=pace.samples, scraped=scraped)
            group.create_task(look)
            if own is not None:
                group.create_task(own.pushes.look(servers, own.port, max_age=pace.max_age))
        resource = self._cache.deployments.get(key)
        if resource is None:
            return None, RolloutPlan()
        schema = await self._schemas.read(key, resource, resting=pace.resting)
        observed = self._observe(key, resource, schema=schema, refusal=refusal, exposure=exposure)
        return resource, self._decide(observed, self._now())

    def _observe(
        self,
        key: Key,
        resource: Manifest,
        *,
        schema: ReadSchema = NO_SCHEMA,
        refusal: str = "",
        exposure: Exposure | None = None,
    ) -> RolloutObserved:
        own = self._own_engines(key)
        return observe(
            self._cache,
            self._readings,
            key,
            resource,
            self._settings,
            schema=schema,
            refusal=refusal,
            may_probe=reading.text(resource.get("status"), "rollout", "stage") != Stage.BAKING.value or self._prober.may_send(),
            exposure=exposure,
            engines=own,
            warnings=self._warnings,
        )

    def _own_engines(self, key: Key) -> OwnEngines | None:
        """Those that the user runs himself, by what is stored now."""
        resource = self._cache.deployments.get(key)
        if resource is None or self._pushes is None:
            return None
        return own_engines(self._pushes, resource, self._cache.siblings.versions_of_others(key), self._now())

    def _push(self, key: Key) -> float | None:
        """Have engines of the user's own hold what status names, beside everything else; seconds until that has to be seen to again."""
        own, servers = self._own_engines(key), self._cache.servers(key)
        if own is None:
            return None
        again = own.pushes.see_to(key, own.target, servers, own.port)
        if own.pushes.unreachable(servers, own.port):
            again = min(again or self._settings.poll_seconds, self._settings.poll_seconds)
        return again

    async def _see_to_children(self, key: Key, resource: Manifest, pace: Pace) -> tuple[Pace, str]:
        """What stands against the objects that serving runs as; those of an object being deleted are left as they are.

        What is refused, or is to be checked first, and serves nothing gets none.

        Trouble that passes by itself is for the next look: it must not keep a canary that does harm in traffic.
        """
        if resource["metadata"].get("deletionTimestamp"):
            return pace, ""
        spec = _spec_of(resource)
        if self._children is None or spec is None:
            return pace, _NO_OBJECTS if spec is not None and spec.merge is not None else ""
        refusal = self._jobs.refusal(key) if self._jobs is not None else ""
        if not _serves(resource.get("status") or {}) and self._gets_no_servers(key, resource):
            return pace, self._children.mistake(spec) or refusal
        claims, models = claims_of(self._cache, key, resource), merged_models(resource)
        try:
            if not _is_held(resource) and await self._hold(key, resource) is None:
                return pace, ""
            return pace, await self._children.ensure(key, resource["metadata"]["uid"], spec, claims, models) or refusal
        except ApiError as error:
            log.warning("the servers' objects wait: %s", error, extra={"key": str(key)})
            return replace(pace, look_in=min(pace.look_in, self._settings.look_seconds)), self._children.known_refusal(key)

    def _gets_no_servers(self, key: Key, resource: Manifest) -> bool:
        """Whether what is asked for may not be served, or nobody knows yet whether it may."""
        observed = self._observe(key, resource)
        return is_refused(observed) or awaits_check(observed)

    async def _see_to_exposure(self, key: Key, resource: Manifest, pace: Pace) -> tuple[Pace, Exposure | None]:
        """The HTTPRoute, which nothing else waits for; of an object being deleted it goes with the object."""
        spec = _spec_of(resource)
        if self._exposures is None or spec is None or resource["metadata"].get("deletionTimestamp"):
            return pace, None
        if spec.traffic.http_route is None and not condition_of(resource):
            return pace, None
        wait = self._audit_seconds if condition_of(resource).get("status") == "True" else self._settings.look_seconds
        pace = replace(pace, look_in=min(pace.look_in, wait))
        try:
            return pace, await self._exposures.look(key, resource, spec)
        except ApiError as error:
            log.warning("the HTTPRoute waits: %s", error, extra={"key": str(key)})
            return pace, None

    def _forget(self, key: Key) -> Result:
        self._released.pop(key, None)
        self._readings.forget(key)
        self._schemas.forget(key)
        if self._children is not None:
            self._children.forget(key)
        if self._jobs is not None:
            self._jobs.forget(key)
        if self._pushes is not None:
            self._pushes.forget(key)
        if self._exposures is not None:
            self._exposures.forget(key)
        self._measures.forgotten(key.namespace, key.name)
        return Result("gone")

    async def _carry_out(self, key: Key, resource: Manifest, plan: RolloutPlan, pace: Pace) -> Result:
        if plan.release:
            return await self._release(key, resource)
        wrote = False
        if plan.status is not None:
            if _serves(plan.status) and not _is_held(resource) and not resource["metadata"].get("deletionTimestamp"):
                resource = await self._hold(key, resource) or resource
            wrote = await self._write_status(key, resource, plan.status)
            if not wrote:
                return self._forget(key)
        for note in plan.events:
            self._measures.event_recorded(await self._recorder.record(resource, note))
        await self._see_to_jobs(key, resource, plan)
        if plan.probes is not None:
            self._prober.send(key, reading.text(resource.get("spec"), "modelName"), plan.probes, self._answering(key))
        pushing = self._push(key) if not wrote else None
        look_in = pace.look_in * (random.uniform(0.8, 1.0) if pace.resting else 1.0)  # noqa: S311  jitter, no secret
        requeue = min(wait for wait in (look_in, plan.requeue_after, pushing) if wait is not None)
        return Result("ok" if wrote else "idle", again_now=wrote, requeue_after=requeue)

    async def _see_to_jobs(self, key: Key, resource: Manifest, plan: RolloutPlan) -> None:
        """After the status, which says which attempt it is: a process that dies in between finds the order again."""
        spec = _spec_of(resource)
        if self._jobs is None or spec is None:
            return
        order, uid = plan.check or plan.merge, resource["metadata"]["uid"]
        refusal = await self._children.ensure_check(key, uid) if plan.check is not None and self._children is not None else ""
        if refusal:
            self._jobs.refuse(key, refusal)
        elif order is None:
            self._jobs.forget(key)
        else:
            made = await self._jobs.begin(key, uid, spec, order)
            if made is not None:
                self._cache.jobs.put_own(made)
        for reference in plan.ends:
            await self._jobs.end(reference)

    def _answering(self, key: Key) -> list[str]:
        """Addresses of the routers that answered the last time."""
        routers = [(pod, self._readings.router(pod)) for pod in self._cache.routers(key.namespace)]
        return [address_of(pod) for pod, answer in routers if answer is not None and answer.acknowledged is not None]

    async def _hold(self, key: Key, resource: Manifest) -> Manifest | None:
        """Add the finalizer; None where the object is gone.

        Before the first object that a namespace shares, and the first status that anybody acts upon: from then on a deletion has
        something to undo.
        """
        metadata = resource["metadata"]
        finalizers = [*(metadata.get("finalizers") or []), FINALIZER]
        return await self._patch_finalizers(key, resource, finalizers)

    async def _release(self, key: Key, resource: Manifest) -> Result:
        """Let a deleted object go; the last of a namespace takes with it what all of them shared.

        Each says that it needs nothing more before it looks who else does: of several that go at once, one at least sees nobody.
        """
        if not _is_held(resource):
            return Result("idle")
        self._released[key] = resource["metadata"]["uid"]
        if self._children is not None and self._is_last(key):
            await self._children.remove_shared(key.namespace, lambda: not self._is_last(key))
        finalizers = [each for each in resource["metadata"]["finalizers"] if each != FINALIZER]
        await self._patch_finalizers(key, resource, finalizers)
        return Result("ok")

    def _is_last(self, key: Key) -> bool:
        return not any(other != key and self._needs_shared(other) for other in self._cache.siblings.keys_of(key.namespace))

    def _needs_shared(self, key: Key) -> bool:
        """Whether it may have routers that answer for it: not without the finalizer, and not once it has been let go."""
        resource = self._cache.deployments.get(key)
        return resource is not None and _is_held(resource) and resource["metadata"]["uid"] != self._released.get(key)

    async def _patch_finalizers(self, key: Key, resource: Manifest, finalizers: list[str]) -> Manifest | None:
        """The object as it is then; None where it is gone. Raises `Conflict` where somebody was faster."""
        metadata = resource["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"], "finalizers": finalizers}}
        try:
            answer = await self._api.merge(ADAPTER_DEPLOYMENTS, key.namespace, key.name, patch)
        except NotFound:
            return None
        except Conflict:
            await self._refresh(key, metadata["uid"])
            raise
        self.advanced.add(key)
        if finalizers or not answer["metadata"].get("deletionTimestamp"):
            self._cache.deployments.put(answer)
        return answer

    async def _write_status(self, key: Key, resource: Manifest, status: Mapping[str, Any]) -> bool:
        """The one status write; false if the object is gone. Raises `Conflict` where it is not the one that was decided upon."""
        metadata = resource["metadata"]
        manifest = {
            "apiVersion": ADAPTER_DEPLOYMENTS.api_version,
            "kind": ADAPTER_DEPLOYMENTS.kind,
            "metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": metadata["resourceVersion"]},
            "status": _applicable(status),
        }
        try:
            answer = await self._api.apply_status(ADAPTER_DEPLOYMENTS, manifest)
        except NotFound:
            self._cache.deployments.remove(key, uid=metadata["uid"])
            return False
        except Conflict:
            await self._refresh(key, metadata["uid"])
            raise
        self.advanced.add(key)
        self._cache.deployments.put(answer)
        before, after = resource.get("status") or {}, answer.get("status") or {}
        _log_transition(key, metadata.get("generation"), before, after)
        measure(self._measures, key, before, after, self._now())
        return True

    async def _refresh(self, key: Key, uid: str) -> None:
        """Our copy is old: fetch the object, so that the next decision does not meet the same conflict."""
        try:
            self._cache.deployments.put(await self._api.get(ADAPTER_DEPLOYMENTS, key.namespace, key.name))
        except NotFound:
            self._cache.deployments.remove(key, uid=uid)


def _spec_of(resource: Manifest) -> AdapterDeploymentSpec | None:
    """None where the decision says in the status what is wrong with it."""
    try:
        return AdapterDeploymentSpec.model_validate(resource.get("spec"))
    except ValidationError:
        return None


def _applicable(status: Mapping[str, Any]) -> Manifest:
    """As server-side apply can take it; in the route an empty list says something (``stickiness.fallback``), and its lists are atomic."""
    document = applicable(status)
    return {**document, "route": dict(status["route"])} if status.get("route") else document


def _serves(status: Mapping[str, Any]) -> bool:
    """Whether routers or agents would act upon it."""
    return status.get("route") is not None or status.get("desired") is not None


def _is_held(resource: Manifest) -> bool:
    return FINALIZER in (resource["metadata"].get("finalizers") or [])


def _log_transition(key: Key, generation: Any, before: Manifest, after: Manifest) -> None:
    rollout, step = after.get("rollout") or {}, after.get("step") or {}
    changes = list(condition_changes(before, after))
    if not changes and (before.get("rollout") or {}).get("stage") == rollout.get("stage"):
        return
    ready: Manifest = next((condition for condition in after.get("conditions") or [] if condition.get("type") == "Ready"), {})
    log.info(
        "%s %s: %s",
        key,
        after.get("phase") or "",
        ready.get("message") or ready.get("reason") or "",
        extra={
            "key": str(key),
            "generation": generation,
            "version": rollout.get("version"),
            "stage": rollout.get("stage"),
            "step": step.get("text"),
            "conditions": {change.type: f"{change.status}/{change.reason}" for change in changes},
        },
    )
