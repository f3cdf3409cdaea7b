"""The desired set from the API server: a watch of the one AdapterDeployment whose pod this is.

An object that is gone changes nothing, as little as an API server that is away: this pod serves until somebody stops it. With its owner
the pod itself goes, and an object that was deleted by mistake and comes back finds everything loaded.
"""

import asyncio
from collections.abc import AsyncIterator

from finetune_inference.agent.deployment import desired_set
from finetune_inference.agent.sources import SourceAway
from finetune_inference.contract import DesiredSet
from finetune_inference.kubernetes.access import Access
from finetune_inference.kubernetes.client import ApiClient, Object
from finetune_inference.kubernetes.reflector import Reflector
from finetune_inference.kubernetes.reflectors import Reflectors
from finetune_inference.kubernetes.selection import adapter_deployments


class DeploymentSource:
    """``base_name``: what the engine calls the base model; ``only``: the one version that this pod serves, where it is made for one."""

    def __init__(self, access: Access, namespace: str, name: str, base_name: str, only: str | None = None) -> None:
        self._only = only
        self._access = access
        self._selection = adapter_deployments(namespace, name)
        self._namespace = namespace
        self._name = name
        self._base_name = base_name

    async def changes(self) -> AsyncIterator[DesiredSet | SourceAway]:
        """Also says that the source is back, with the set in force."""
        news = asyncio.Event()
        before: DesiredSet | SourceAway | None = None
        async with ApiClient(self._access, "finetune-agent") as api, Reflectors[Object](api, _whole, news) as reflectors:
            reflectors.follow([self._selection])
            while True:
                await news.wait()
                news.clear()
                reflectors.raise_defect()
                found = self._found(reflectors[self._selection])
                if found != before:
                    before = found
                    yield found

    def _found(self, reflector: Reflector[Object]) -> DesiredSet | SourceAway:
        if reflector.problem is not None:
            return SourceAway(reflector.problem.message[:400])
        deployment = reflector.objects.get(self._name)
        if deployment is None:
            return SourceAway(f"there is no AdapterDeployment {self._namespace}/{self._name}")
        return desired_set(deployment, self._base_name, self._only)


def _whole(found: Object) -> Object:
    return found
