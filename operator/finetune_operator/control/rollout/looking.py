"""What a decision is made from: answers of routers, agents and engines, as old as the pace allows, and what the cache has."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from finetune_operator.api.adapterdeployment.status import Stage
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.rollout.cache import ServingCache, address_of
from finetune_operator.control.rollout.governing import view_of
from finetune_operator.control.rollout.observe import Warnings, from_prometheus, observe
from finetune_operator.control.rollout.own_engines import OwnEngines, own_engines
from finetune_operator.control.rollout.pace import Pace
from finetune_operator.control.rollout.probing import Prober
from finetune_operator.control.rollout.pushing import Pushes
from finetune_operator.control.rollout.readings import Readings
from finetune_operator.control.rollout.schemas import NO_SCHEMA, ReadSchema, Schemas
from finetune_operator.domain import reading
from finetune_operator.domain.rollout.observed import Exposure, RolloutObserved, RolloutSettings


class Looking:
    """One per process. ``pushes`` is None where nobody runs engines of his own."""

    def __init__(
        self,
        cache: ServingCache,
        *,
        readings: Readings,
        schemas: Schemas,
        prober: Prober,
        pushes: Pushes | None,
        settings: RolloutSettings,
        warnings: Warnings,
        now: Callable[[], datetime],
        governance: GovernanceCache | None = None,
    ) -> None:
        self._cache = cache
        self._readings = readings
        self._schemas = schemas
        self._prober = prober
        self._pushes = pushes
        self._settings = settings
        self._warnings = warnings
        self._now = now
        self._governance = governance

    @property
    def governs(self) -> bool:
        """Whether governance is looked after."""
        return self._governance is not None

    async def look(self, key: Key, pace: Pace, refusal: str, exposure: Exposure | None) -> tuple[Manifest, RolloutObserved] | None:
        """The newest copy of the object, which may have changed while others answered, and what is known of it; None where it is gone."""
        routers, servers = self._cache.routers(key.namespace), self._cache.servers(key)
        own, stored = self.own_engines(key), self._cache.deployments.get(key)
        scraped = stored is not None and from_prometheus(stored)
        async with asyncio.TaskGroup() as group:
            agents = servers if own is None else ()
            look = self._readings.look(key, routers, agents, max_age=pace.max_age, samples=pace.samples, scraped=scraped)
            group.create_task(look)
            if own is not None:
                group.create_task(own.pushes.look(servers, own.port, max_age=pace.max_age))
        resource = self._cache.deployments.get(key)
        if resource is None:
            return None
        schema = await self._schemas.read(key, resource, resting=pace.resting)
        return resource, self.known(key, resource, schema=schema, refusal=refusal, exposure=exposure)

    def known(
        self,
        key: Key,
        resource: Manifest,
        *,
        schema: ReadSchema = NO_SCHEMA,
        refusal: str = "",
        exposure: Exposure | None = None,
    ) -> RolloutObserved:
        """What is known without asking anybody."""
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
            engines=self.own_engines(key),
            warnings=self._warnings,
            governance=view_of(self._governance, self._cache, key, resource, self._settings.grace_seconds),
            now=self._now(),
        )

    def own_engines(self, key: Key) -> OwnEngines | None:
        """Those that the user runs himself, by what is stored now."""
        resource = self._cache.deployments.get(key)
        if resource is None or self._pushes is None:
            return None
        return own_engines(self._pushes, resource, self._cache.siblings.versions_of_others(key), self._now())

    def answering(self, key: Key) -> list[str]:
        """Addresses of the routers that answered the last time."""
        routers = [(pod, self._readings.router(pod)) for pod in self._cache.routers(key.namespace)]
        return [address_of(pod) for pod, answer in routers if answer is not None and answer.acknowledged is not None]

    def forget(self, key: Key) -> None:
        self._readings.forget(key)
        self._schemas.forget(key)
        if self._pushes is not None:
            self._pushes.forget(key)
