"""Kubernetes Events about what happened to an object of ours: few, and each of them once.

Equal notes within ``WINDOW`` are one event with a growing series, and a series is written only when its count doubles, so that something
that repeats for ever costs a handful of writes. An event that cannot be written is logged and given up: the status says the same.
"""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from finetune_operator.api.base import FIELD_MANAGER
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import EVENTS, FINETUNE_JOBS, Resource
from finetune_operator.domain.plan import EventNote, ObjectReference

log = logging.getLogger(__name__)

WINDOW: Final = 600.0
REMEMBERED: Final = 4096
NOTE_LIMIT: Final = 1024

Recorded = Literal["written", "counted", "refused"]


class EventApi(Protocol):
    """The part of `KubeApi` that recording needs."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Manifest) -> Manifest: ...


@dataclass
class _Series:
    name: str
    last: float
    count: int = 1
    written: int = 1


class Recorder:
    """One per process and kind; ``instance`` names the process (pod name or host)."""

    def __init__(
        self,
        api: EventApi,
        *,
        instance: str,
        kind: Resource = FINETUNE_JOBS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._instance = instance[:128]
        self._kind = kind
        self._clock = clock
        self._now = now
        self._known: OrderedDict[str, _Series] = OrderedDict()

    async def record(self, regarding: Manifest, note: EventNote) -> Recorded:
        """Write the note about this object, or count it. ``regarding`` needs metadata with namespace, name and uid."""
        metadata = regarding["metadata"]
        identity = _identity(metadata["uid"], note)
        series = self._known.get(identity)
        moment = self._clock()
        try:
            if series is None or moment - series.last > WINDOW:
                await self._start(identity, metadata, note, moment)
                return "written"
            return await self._continue(series, metadata["namespace"], moment)
        except ApiError as error:
            log.warning("event not written: %s", error, extra={"key": f"{metadata['namespace']}/{metadata['name']}", "reason": note.reason})
            return "refused"

    async def _start(self, identity: str, metadata: Manifest, note: EventNote, moment: float) -> None:
        stamp = self._now()
        name = f"{metadata['name'][:200]}.{identity[:8]}{int(stamp.timestamp() * 1e6):x}"
        self._remember(identity, _Series(name, moment))
        await self._api.create(
            EVENTS,
            {
                "apiVersion": EVENTS.api_version,
                "kind": EVENTS.kind,
                "metadata": {"namespace": metadata["namespace"], "name": name},
                "eventTime": _micro_time(stamp),
                "reportingController": f"{self._kind.group or FINETUNE_JOBS.group}/{FIELD_MANAGER}",
                "reportingInstance": self._instance,
                "type": note.type,
                "reason": note.reason[:128],
                "action": note.action[:128],
                "note": note.message[:NOTE_LIMIT],
                "regarding": {
                    "apiVersion": self._kind.api_version,
                    "kind": self._kind.kind,
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
                **({"related": _reference(note.related)} if note.related else {}),
            },
        )

    async def _continue(self, series: _Series, namespace: str, moment: float) -> Recorded:
        series.last = moment
        series.count += 1
        if series.count < 2 * series.written:
            return "counted"
        series.written = series.count
        patch = {"series": {"count": series.count, "lastObservedTime": _micro_time(self._now())}}
        try:
            await self._api.merge(EVENTS, namespace, series.name, patch)
        except NotFound:
            series.last = -WINDOW  # it has aged away: the next one starts anew
        return "written"

    def _remember(self, identity: str, series: _Series) -> None:
        self._known[identity] = series
        self._known.move_to_end(identity)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _identity(uid: str, note: EventNote) -> str:
    parts = (uid, note.type, note.reason, note.action, note.message, note.related.name if note.related else "")
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def _reference(reference: ObjectReference) -> Manifest:
    document = {"apiVersion": reference.api_version, "kind": reference.kind, "namespace": reference.namespace, "name": reference.name}
    return {**document, "uid": reference.uid} if reference.uid else document


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
