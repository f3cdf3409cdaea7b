"""Requests of the operator's own, where users send too few: each asks one version through a router, which counts it as a probe.

They run beside the decisions and are few at a time: whether they came through is what the routers' counters say at the next look.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, cycle, islice, zip_longest
from typing import Final, Protocol

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.serving import NoAnswer
from finetune_operator.control.failures import leaves
from finetune_operator.domain.rollout.plan import Probes

log = logging.getLogger(__name__)

AT_A_LOOK: Final = 20
AT_ONCE: Final = 4
"""Of one deployment; probes must not be what makes an engine slow."""


class ProbeClient(Protocol):
    """The part of `PodClient` that is needed."""

    async def probe(self, ip: str, alias: str, version: str, token: str) -> None: ...


class Prober:
    """One per process; ``token`` gives what routers know the operator by, or nothing: then no probe can be sent."""

    def __init__(self, client: ProbeClient, token: Callable[[], str], *, sent: Callable[[str], None] = lambda _result: None) -> None:
        self._client = client
        self._token = token
        self._sent = sent
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._told: set[type[BaseException]] = set()

    def may_send(self) -> bool:
        """Whether there is a token now."""
        return bool(self._token())

    def send(self, key: Key, alias: str, probes: Probes, routers: Sequence[str]) -> None:
        """Begin to send what is wanted through the routers at these addresses, unless the last ones are still under way."""
        if key in self._running or not routers:
            return
        token = self._token()
        if not token:
            return  # decisions know, and say so in the status
        task = asyncio.create_task(self._send(key, alias, order_of(probes), routers, token))
        self._running[key] = task
        task.add_done_callback(partial(self._ended, key))

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        """A defect ends its round and nothing else; it is said once for each kind, since every look may meet it again."""
        self._running.pop(key, None)
        error = None if task.cancelled() else task.exception()
        for defect in leaves(error) if error is not None else ():
            if type(defect) not in self._told:
                self._told.add(type(defect))
                log.error("a defect ended a round of probes", exc_info=defect, extra={"key": str(key)})

    async def _send(self, key: Key, alias: str, versions: list[str], routers: Sequence[str], token: str) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(version: str, ip: str) -> None:
            async with turn:
                try:
                    await self._client.probe(ip, alias, version, token)
                except NoAnswer as error:
                    self._sent("failed")
                    log.debug("a probe failed: %s", error, extra={"key": str(key), "version": version})
                else:
                    self._sent("ok")

        async with asyncio.TaskGroup() as group:
            for version, ip in zip(versions, cycle(routers), strict=False):
                group.create_task(one(version, ip))


def order_of(probes: Probes) -> list[str]:
    """The first of the wanted requests, the versions taking turns."""
    lines = [[version] * count for version, count in probes.wanted]
    return list(islice((version for version in chain.from_iterable(zip_longest(*lines)) if version is not None), AT_A_LOOK))
