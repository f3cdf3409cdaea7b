"""Checkpoints in a bucket with object lock, which keeps them from everybody, the operator included, until their time is over.

A bucket may be away for hours, and no run waits for it: a head is only noted, and written by a loop of its own. What is due is read off the
chains and off what lies in the bucket, so that nothing is forgotten by a crash; what could not be written is a gap, told once when it opens
and once when a later checkpoint closes it, since that vouches for every record before it.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Final, Protocol

from finetune_operator.cluster.backoff import Backoff
from finetune_operator.cluster.bucketplace import BucketError, BucketPlace, KeyTaken, Mode, NoObjectLock, ObjectVersion, Retention
from finetune_operator.control.anchors import sealed_checkpoint
from finetune_operator.control.chains import Chains
from finetune_operator.control.measures import Measures
from finetune_operator.domain.plan import EventNote
from finetune_record import chain, keys

log = logging.getLogger(__name__)

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 300.0
"""Seconds between two tries of a bucket that does not take a checkpoint."""
LOOKED_AT: Final = 256
"""Of the newest keys of a namespace, until one has a checkpoint of ours: others may have put something there."""

_KEY: Final = re.compile(r"([-a-z0-9]{1,63})/\1-([0-9]{8,15})\.json")

Tell = Callable[[chain.Entry, EventNote], Awaitable[None]]
"""Where a gap of the chain with this head becomes an event."""


class CheckpointBucket(Protocol):
    """The part of `Bucket` that anchoring needs; each method raises `BucketError`."""

    place: BucketPlace

    async def require_lock(self) -> None: ...

    async def create(self, key: str, body: bytes, retention: Retention) -> str: ...

    async def retention(self, key: str, version: str) -> Retention | None: ...

    async def read(self, key: str, version: str) -> bytes: ...

    async def versions(self, prefix: str) -> list[ObjectVersion]: ...


def checkpoint_key(namespace: str, seq: int) -> str:
    """Below the bucket's prefix; in order of keys like in order of numbers."""
    return f"{namespace}/{chain.entry_name(namespace, seq)}.json"


class BucketAnchor:
    """One such bucket; ``run`` is the leader's."""

    name = "bucket"

    def __init__(
        self,
        bucket: CheckpointBucket,
        chains: Chains,
        key: keys.PrivateKey,
        *,
        mode: Mode,
        days: int,
        every: int,
        measures: Measures,
        tell: Tell,
        delays: Backoff | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bucket = bucket
        self._chains = chains
        self._key = key
        self._mode = mode
        self._days = days
        self._every = every
        self._measures = measures
        self._tell = tell
        self._delays = delays or Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._now = now
        self._asked = asyncio.Event()
        self._opened = False
        self._newest: dict[str, int] = {}
        """Number of the newest record that a checkpoint in the bucket vouches for, by namespace."""
        self._gaps: set[str] = set()

    async def keep(self, head: chain.Entry) -> bool:
        """False: it is noted, and `run` writes and counts it."""
        if self._behind(head.link.namespace) >= self._every:
            self._asked.set()
        return False

    def gaps(self) -> Iterable[tuple[str, float]]:
        """For each chain, how many of its records are due in the bucket and are not vouched for there."""
        return [(namespace, float(self._behind(namespace) if namespace in self._gaps else 0)) for namespace in self._chains.namespaces()]

    async def open(self) -> None:
        """Learn what lies there. Raises `NoObjectLock`, `NoSuchBucket`, or another `BucketError` for what may pass."""
        await self._bucket.require_lock()
        by_namespace: defaultdict[str, list[ObjectVersion]] = defaultdict(list)
        for one in await self._bucket.versions(self._bucket.place.prefix):
            match = _KEY.fullmatch(one.key.removeprefix(self._bucket.place.prefix))
            if match and not one.marker:
                by_namespace[match[1]].append(one)
        for namespace, there in by_namespace.items():
            await self._read_newest(namespace, there)
        self._opened = True

    async def run(self) -> None:
        """Write what is due, for ever."""
        self._opened = False  # another replica may have led until now
        while True:
            self._asked.clear()
            if await self._round():
                self._delays.reset()
                await self._asked.wait()
            else:
                await asyncio.sleep(self._delays.next())

    async def _round(self) -> bool:
        """Whether everything that is due lies in the bucket now."""
        try:
            if not self._opened:
                await self._open_and_report()
        except BucketError as error:
            for head in self._due():
                await self._miss(head, error)
            return False
        written = [await self._anchor(head) for head in self._due()]
        return all(written)

    async def _open_and_report(self) -> None:
        """What the bucket knows better than what was known at the start is logged."""
        before = self._flaws()
        await self.open()
        if self._flaws() > before:
            self._chains.report()

    def _flaws(self) -> int:
        return sum(len(self._chains.flaws(namespace)) for namespace in self._chains.namespaces())

    def _behind(self, namespace: str) -> int:
        return self._chains.length(namespace) - self._newest.get(namespace, 0)

    def _due(self) -> list[chain.Entry]:
        heads = [self._chains.head(namespace) for namespace in self._chains.namespaces() if self._behind(namespace) >= self._every]
        return [head for head in heads if head is not None]

    async def _anchor(self, head: chain.Entry) -> bool:
        try:
            await self._write(head)
        except BucketError as error:
            self._opened = self._opened and not isinstance(error, NoObjectLock)
            await self._miss(head, error)
            return False
        self._measures.anchored(self.name, "kept")
        self._newest[head.link.namespace] = head.link.seq
        if head.link.namespace in self._gaps:
            self._gaps.discard(head.link.namespace)
            text = f"a checkpoint of record {head.link.seq} lies in {self._bucket.place} and vouches for all before it"
            await self._tell(head, EventNote("Normal", "RecordsAnchored", "Anchor", text))
        return True

    async def _miss(self, head: chain.Entry, error: BucketError) -> None:
        self._measures.anchored(self.name, "failed")
        namespace, seq = head.link.namespace, head.link.seq
        log.warning("anchor bucket does not take the head of %s: %s", namespace, error, extra={"namespace": namespace, "seq": seq})
        if namespace in self._gaps:
            return
        self._gaps.add(namespace)
        text = f"{self._bucket.place} has no checkpoint of record {seq} of namespace {namespace}, and it is tried again: {error}"
        await self._tell(head, EventNote("Warning", "RecordsNotAnchored", "Anchor", text))

    async def _write(self, head: chain.Entry) -> None:
        """Have it there, locked. Raises `BucketError`."""
        key = self._bucket.place.prefix + checkpoint_key(head.link.namespace, head.link.seq)
        asked = Retention.from_now(self._mode, self._now(), self._days)
        text = sealed_checkpoint(head, self._now(), self._key)
        try:
            version = await self._bucket.create(key, text, asked)
        except KeyTaken:
            version = await self._mine(key, head)
            asked = Retention(asked.mode, self._now())  # it may have been written long ago
        found = await self._bucket.retention(key, version)
        if found is None or not found.holds(asked):
            raise NoObjectLock(f"{self._bucket.place} took {key} and does not keep it as asked, so that it can be removed")
        self._see(key, version, text)
        extra = {"namespace": head.link.namespace, "seq": head.link.seq, "key": key, "version": version, "until": found.until.isoformat()}
        log.info("a checkpoint of record %d of namespace %s lies in the bucket", head.link.seq, head.link.namespace, extra=extra)

    async def _mine(self, key: str, head: chain.Entry) -> str:
        """The first version of a key that was taken, if a crash or another replica left this very head there."""
        first = next((one for one in await self._bucket.versions(key) if one.key == key and not one.marker), None)
        if first is None:
            raise BucketError(f"{key} is taken and cannot be read")
        text = await self._bucket.read(key, first.version)
        point = self._see(key, first.version, text)
        if point is None or (point.namespace, point.seq, point.head) != (head.link.namespace, head.link.seq, head.digest):
            raise BucketError(f"{key} has version {first.version}, which vouches for something else: find out who wrote it")
        return first.version

    async def _read_newest(self, namespace: str, there: list[ObjectVersion]) -> None:
        """Every version of the newest key that has a checkpoint of ours: where the chain does not meet one, it has a flaw."""
        for key in sorted({one.key for one in there}, reverse=True)[:LOOKED_AT]:
            versions = [one.version for one in there if one.key == key]
            points = [self._see(key, version, await self._bucket.read(key, version)) for version in versions]
            mine = [point.seq for point in points if point is not None and point.namespace == namespace]
            if mine:
                self._newest[namespace] = max(mine)
                return

    def _see(self, key: str, version: str, text: bytes) -> chain.Checkpoint | None:
        return self._chains.checkpoints.see((str(self._bucket.place), f"{key}@{version}"), text)
