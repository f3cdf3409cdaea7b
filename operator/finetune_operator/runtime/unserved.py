"""What an operator without ``--serving`` does about AdapterDeployments: it lets go of those that are deleted."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import KubeApi, Selection
from finetune_operator.cluster.reflector import Reflector
from finetune_operator.cluster.resources import ADAPTER_DEPLOYMENTS
from finetune_operator.control.intake import Intake
from finetune_operator.control.queue import WorkQueue
from finetune_operator.control.rollout.unserved import LettingGo
from finetune_operator.control.worker import work
from finetune_operator.runtime.metrics import Metrics

log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 600.0
"""Seconds between two looks whether the kind is defined: until it is, there is nothing to let go of."""
TROUBLE: Final = 10.0
"""Seconds until the next look where the API server gave no answer to that."""


class Unserved:
    """Belongs to a process that may write; `run` ends only by cancellation."""

    def __init__(
        self,
        kube: KubeApi,
        metrics: Metrics,
        namespaces: tuple[str, ...],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._metrics = metrics
        self._sleep = sleep
        self._known = ParentStore()
        self._queue: WorkQueue[Key] = WorkQueue(metrics)
        self._selections = [Selection(namespace=namespace, metadata_only=True) for namespace in namespaces or (None,)]

    async def run(self) -> None:
        """Wait until the kind is defined, then watch it; metadata is all that is asked for."""
        while wait := await self._wait_for_definition():
            await self._sleep(wait)
        intake, on_restart = Intake(self._known, self._queue), partial(self._metrics.watch_restarted, ADAPTER_DEPLOYMENTS.plural)
        reflectors = [
            Reflector(self._kube, intake, ADAPTER_DEPLOYMENTS, selection, on_restart=on_restart) for selection in self._selections
        ]
        async with asyncio.TaskGroup() as group:
            for reflector in reflectors:
                group.create_task(reflector.run())
            group.create_task(work(self._queue, LettingGo(self._kube, self._known), self))
            for reflector in reflectors:
                await reflector.synced.wait()
            if len(self._known):
                log.warning("%d AdapterDeployments are not looked after: serving is off", len(self._known))

    def reconciled(self, result: str, seconds: float) -> None:
        self._metrics.reconciled(result, seconds, ADAPTER_DEPLOYMENTS.kind)

    async def _wait_for_definition(self) -> float:
        """Seconds until it is worth asking again; 0 once the API server knows the kind."""
        try:
            async for _page in self._kube.pages(ADAPTER_DEPLOYMENTS, self._selections[0], page_size=1):
                break
        except NotFound:
            return LOOK_AGAIN
        except ApiError as error:
            log.warning("cannot tell whether there are AdapterDeployments: %s", error)
            return TROUBLE
        return 0.0
