"""The objects behind an AdapterDeployment, seen to around each decision: servers and HTTPRoute before it, Jobs after it.

What stands against them is words for the status. Trouble that passes by itself is for the next look: it must not keep a canary that does
harm in traffic.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError
from finetune_operator.cluster.kube import Manifest
from finetune_operator.control.rollout.cache import ServingCache
from finetune_operator.control.rollout.children import Children
from finetune_operator.control.rollout.endings import ENDS
from finetune_operator.control.rollout.exposures import Exposures, condition_of
from finetune_operator.control.rollout.finalizer import Finalizer, is_held, serves
from finetune_operator.control.rollout.governing import is_labelled, sensitivity_of
from finetune_operator.control.rollout.jobs import Jobs
from finetune_operator.control.rollout.looking import Looking
from finetune_operator.control.rollout.observe import claims_of, merged_models
from finetune_operator.control.rollout.pace import Pace
from finetune_operator.domain.rollout.checking import awaits_check
from finetune_operator.domain.rollout.observed import Exposure, RolloutSettings
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.domain.rollout.target import is_refused

log = logging.getLogger(__name__)

_NO_OBJECTS: Final = (
    "spec.mode: Merged needs servers that the operator makes, and this one makes none. Ask whoever installed it to start it with "
    "--inference-image and --trainer-image, or create another AdapterDeployment in mode Shared."
)


class Upkeep:
    """One per process. ``children`` and ``jobs`` are None where somebody else makes the servers."""

    def __init__(
        self,
        cache: ServingCache,
        looking: Looking,
        finalizer: Finalizer,
        *,
        children: Children | None,
        jobs: Jobs | None,
        exposures: Exposures | None,
        settings: RolloutSettings,
        audit_seconds: float,
        is_ending: Callable[[str], bool] = lambda _namespace: False,
    ) -> None:
        self._cache = cache
        self._looking = looking
        self._finalizer = finalizer
        self._children = children
        self._jobs = jobs
        self._exposures = exposures
        self._settings = settings
        self._audit_seconds = audit_seconds
        self._is_ending = is_ending

    async def servers(self, key: Key, resource: Manifest, pace: Pace) -> tuple[Pace, str]:
        """What stands against the objects that serving runs as; those of an object being deleted are left as they are.

        What is refused, or is to be checked first, and serves nothing gets none; in a namespace that is being deleted nothing does.
        """
        if self._children is not None and self._is_ending(key.namespace):
            return await self._end(key, resource, self._children, pace)
        if resource["metadata"].get("deletionTimestamp"):
            return pace, ""
        spec = _spec_of(resource)
        if self._children is None or spec is None:
            return pace, _NO_OBJECTS if spec is not None and spec.merge is not None else ""
        refusal = self._jobs.refusal(key) if self._jobs is not None else ""
        if not serves(resource.get("status") or {}) and self._gets_no_servers(key, resource):
            return pace, self._children.mistake(spec) or refusal
        if self._looking.governs and not is_labelled(self._looking.known(key, resource), resource):
            return pace, refusal  # the status first, so that everything is made with its labels
        return await self._see_to(key, resource, spec, pace, refusal)

    async def _end(self, key: Key, resource: Manifest, children: Children, pace: Pace) -> tuple[Pace, str]:
        try:
            await children.end(key, resource["metadata"]["uid"])
        except ApiError as error:
            log.warning("the servers of a namespace that ends wait: %s", error, extra={"key": str(key)})
            pace = replace(pace, look_in=min(pace.look_in, self._settings.poll_seconds))
        return pace, ENDS.format(key.namespace)

    async def _see_to(self, key: Key, resource: Manifest, spec: AdapterDeploymentSpec, pace: Pace, refusal: str) -> tuple[Pace, str]:
        assert self._children is not None
        claims, models = claims_of(self._cache, key, resource), merged_models(resource)
        try:
            if not is_held(resource) and await self._finalizer.hold(key, resource) is None:
                return pace, ""
            labels = sensitivity_of(self._cache, key, resource)
            return pace, await self._children.ensure(key, resource["metadata"]["uid"], spec, claims, models, labels=labels) or refusal
        except ApiError as error:
            log.warning("the servers' objects wait: %s", error, extra={"key": str(key)})
            return replace(pace, look_in=min(pace.look_in, self._settings.look_seconds)), self._children.known_refusal(key) or refusal

    async def exposure(self, key: Key, resource: Manifest, pace: Pace) -> tuple[Pace, Exposure | None]:
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

    async def jobs(self, key: Key, resource: Manifest, plan: RolloutPlan) -> None:
        """After the status, which says which attempt it is: a process that dies in between finds the order again."""
        spec = _spec_of(resource)
        if self._jobs is None or spec is None:
            return
        order, uid = plan.check or plan.merge, resource["metadata"]["uid"]
        labels = sensitivity_of(self._cache, key, {**resource, "status": plan.status or resource.get("status")})
        asked = plan.check is not None and self._children is not None
        refusal = await self._children.ensure_check(key, uid, labels) if asked and self._children is not None else ""
        if refusal:
            self._jobs.refuse(key, refusal)
        elif order is None:
            self._jobs.forget(key)
        else:
            made = await self._jobs.begin(key, uid, spec, order, labels.own)
            if made is not None:
                self._cache.jobs.put_own(made)
        for reference in plan.ends:
            await self._jobs.end(reference)

    def forget(self, key: Key) -> None:
        for each in (self._children, self._jobs, self._exposures):
            if each is not None:
                each.forget(key)

    def _gets_no_servers(self, key: Key, resource: Manifest) -> bool:
        """Whether what is asked for may not be served, or nobody knows yet whether it may."""
        observed = self._looking.known(key, resource)
        return is_refused(observed) or awaits_check(observed)


def _spec_of(resource: Manifest) -> AdapterDeploymentSpec | None:
    """None where the decision says in the status what is wrong with it."""
    try:
        return AdapterDeploymentSpec.model_validate(resource.get("spec"))
    except ValidationError:
        return None
