"""Who may write: one process at a time, decided by a Lease that we compare and swap ourselves.

Two rules make it safe. The right to write ends ``duration`` after the *start* of the last renewal that succeeded, on this process's own
monotonic clock, so that a slow answer or a paused process never stretches it; and a successor waits ``duration`` after it last *saw* the
Lease change, on its own clock, so that the clocks of two machines need not agree. Before every write the right is asked for again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from finetune_operator.cluster.errors import ApiError, Conflict, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import LEASES, Resource

log = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """This process may not write any more; it must end, and start again as a follower."""


@dataclass(frozen=True)
class LeaseTerms:
    """Seconds. ``duration`` is how long a Lease holds without renewal, as seen by others; the holder itself gives up at ``deadline``."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0
    request: float = 3.0

    def __post_init__(self) -> None:
        if not self.retry < self.deadline < self.duration:
            raise ValueError("a lease needs retry < deadline < duration, else two processes can lead at once")


class LeaseApi(Protocol):
    """The part of `KubeApi` that the election needs; its requests are not fenced."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...

    async def replace(self, resource: Resource, manifest: Manifest, *, fenced: bool = ...) -> Manifest: ...

    async def create_unfenced(self, resource: Resource, manifest: Manifest) -> Manifest: ...


class Leadership:
    """The campaign of one process for one Lease. `run` ends only by `LeadershipLost` or cancellation, which gives the Lease back."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: LeaseTerms | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.identity = identity
        self.elected = asyncio.Event()
        self._api = api
        self._namespace = namespace
        self._name = name
        self._terms = terms or LeaseTerms()
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._valid_until = 0.0
        self._seen: tuple[str, str, float] | None = None
        """Holder, resource version and the moment we first saw that version."""

    @property
    def leads(self) -> bool:
        return self.elected.is_set() and self._clock() < self._valid_until

    def check(self) -> None:
        """The fence before every write. Raises `LeadershipLost`."""
        if not self.leads:
            raise LeadershipLost(f"{self.identity} does not hold lease {self._namespace}/{self._name} (any more)")

    async def run(self) -> None:
        """Campaign until elected, then renew until it fails for ``deadline`` seconds."""
        try:
            while not await self._attempt():
                await self._sleep(self._terms.retry)
            log.info("leading", extra={"lease": f"{self._namespace}/{self._name}", "identity": self.identity})
            self.elected.set()
            while True:
                await self._sleep(self._terms.retry)
                await self._attempt()
                self.check()
        finally:
            if self.leads:
                await self._release()

    async def _attempt(self) -> bool:
        """Take or renew the Lease; true if we hold it now. Trouble with the API server is an attempt that failed, no more."""
        started = self._clock()
        try:
            async with asyncio.timeout(self._terms.request):
                held = await self._take()
        except Conflict:
            return False  # somebody was faster: the next look tells who
        except (ApiError, TimeoutError) as error:
            log.warning("cannot reach the lease: %s", error or type(error).__name__)
            return False
        if held:
            self._valid_until = started + self._terms.deadline
        elif self.elected.is_set():
            self._valid_until = 0.0
        return held

    async def _take(self) -> bool:
        try:
            lease = await self._api.get(LEASES, self._namespace, self._name)
        except NotFound:
            await self._api.create_unfenced(LEASES, self._document(None, self._timestamp(), 0))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder and holder != self.identity and not self._expired(holder, lease["metadata"]["resourceVersion"], spec):
            return False
        ours = holder == self.identity
        acquired = spec.get("acquireTime") if ours else self._timestamp()
        transitions = int(spec.get("leaseTransitions") or 0) + (0 if ours else 1)
        await self._api.replace(LEASES, self._document(lease, acquired, transitions), fenced=False)
        return True

    def _expired(self, holder: str, version: str, spec: Manifest) -> bool:
        """Whether the Lease has stood still for its whole duration while we looked; only our own clock is asked."""
        if self._seen is None or self._seen[:2] != (holder, version):
            self._seen = (holder, version, self._clock())
            return False
        duration = float(spec.get("leaseDurationSeconds") or self._terms.duration)
        return self._clock() - self._seen[2] > duration

    async def _release(self) -> None:
        """An empty holder lets a successor in at once. Best effort: without it the Lease runs out by itself."""
        self._valid_until = 0.0
        try:
            async with asyncio.timeout(self._terms.request):
                lease = await self._api.get(LEASES, self._namespace, self._name)
                if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                    lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._timestamp()}
                    await self._api.replace(LEASES, lease, fenced=False)
        except (ApiError, TimeoutError) as error:
            log.warning("the lease was not given back: %s", error or type(error).__name__)

    def _document(self, lease: Manifest | None, acquired: str | None, transitions: int) -> Manifest:
        metadata = {"namespace": self._namespace, "name": self._name}
        if lease is not None:
            metadata = lease["metadata"]
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._terms.duration),
                "acquireTime": acquired,
                "renewTime": self._timestamp(),
                "leaseTransitions": transitions,
            },
        }

    def _timestamp(self) -> str:
        """``MicroTime`` as Kubernetes wants it: six digits, UTC."""
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
