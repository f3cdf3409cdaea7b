"""kopf, and nothing else of it than the stream of our own kind.

One low-level handler puts an event into the cache and its key into the queue. There is no change handler, index, timer or daemon: they
write annotations or cost a task per object. Deletion needs no finalizer: garbage collection stops the pods, and artifacts are to stay.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import kopf

from finetune_operator.api.base import GROUP
from finetune_operator.cluster.cache import Key, ParentStore, name_of
from finetune_operator.cluster.kube import Credentials
from finetune_operator.cluster.resources import FINETUNE_JOBS
from finetune_operator.control.queue import Priority, WorkQueue

log = logging.getLogger(__name__)

CHUNK: Final = 100
RELOGIN: Final = 5.0
TRUSTED: Final = 60.0
"""Seconds after which credentials that were refused once may be offered again unchanged."""


class NoDiffBase(kopf.DiffBaseStorage):
    """No copy of the last configuration is kept: nothing here is driven by differences.

    Building the copy, which kopf would do for each event, took two thirds of its time per event with objects of 15 KB.
    """

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is written."""


class Jitter(Iterable[float]):
    """Waits between repeated requests, in seconds; can be iterated again and again."""

    def __iter__(self) -> Iterator[float]:
        for nominal in (0.1, 0.2, 0.4, 0.8, 1.5, 1.5, 1.5, 1.5):
            yield nominal * random.uniform(0.5, 1.0)  # noqa: S311


class Everything:
    """Contains every task: kopf must not cancel those of the host process when it stops."""

    def __contains__(self, _task: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Stream:
    """Feeds cache and queue with our own kind. ``last_event`` is on the monotonic clock."""

    def __init__(
        self,
        parents: ParentStore,
        queue: WorkQueue[Key],
        credentials: Callable[[], Awaitable[Credentials]],
        namespaces: tuple[str, ...] = (),
        *,
        on_put: Callable[[Key, dict[str, Any]], None] = lambda _key, _manifest: None,
        on_spawned: Callable[[], None] = lambda: None,
    ) -> None:
        self.last_event = time.monotonic()
        self._parents = parents
        self._queue = queue
        self._credentials = credentials
        self._namespaces = namespaces
        self._on_put = on_put
        self._on_spawned = on_spawned
        self._stop = asyncio.Event()
        self._held: list[Key] | None = []
        self._offered: tuple[Credentials, float] | None = None

    def stop(self) -> None:
        self._stop.set()

    def release(self) -> None:
        """Look at what was at rest when we came, now that everything is known; what was under way went first."""
        held, self._held = self._held, None
        for key in held or ():
            self._queue.add(key, Priority.BACKLOG)

    async def run(self) -> None:
        """Until `stop`; raises what ended kopf otherwise."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, id="login")(self._login)
        kopf.on.event(FINETUNE_JOBS.group, FINETUNE_JOBS.version, FINETUNE_JOBS.plural, registry=registry, id="stream")(self._event)
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=operator_settings(),
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            standalone=True,
            stop_flag=self._stop,
        )
        self._on_spawned()
        await kopf.run_tasks(tasks, ignored=Everything())

    async def _event(self, *, type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002  kopf's name
        manifest = dict(body)
        key = Key(*name_of(manifest))
        self.last_event = time.monotonic()
        if type == "DELETED":
            changed = self._parents.remove(key, uid=manifest["metadata"]["uid"])
        else:
            changed = self._parents.put(manifest)
            self._on_put(key, manifest)
        if not changed:
            return
        if type is None and self._held is not None and at_rest(manifest):
            self._held.append(key)
        else:
            self._queue.add(key)

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """The credentials of our own client; the same ones again right after a refusal would end kopf, so it has to wait for new ones."""
        credentials = await self._credentials()
        moment = time.monotonic()
        if self._offered is not None and self._offered[0] == credentials and moment - self._offered[1] < TRUSTED:
            raise kopf.TemporaryError("waiting for other credentials", delay=RELOGIN)
        self._offered = (credentials, moment)
        return kopf.ConnectionInfo(
            server=credentials.server,
            ca_path=credentials.ca_path,
            insecure=credentials.insecure,
            certificate_path=credentials.certificate_path,
            private_key_path=credentials.key_path,
            scheme="Bearer" if credentials.token else None,
            token=credentials.token,
        )


def at_rest(manifest: dict[str, Any]) -> bool:
    """Whether its own status says that nothing is under way for the spec it has now."""
    status = manifest.get("status") or {}
    settled = any(c.get("type") == "Reconciling" and c.get("status") == "False" for c in status.get("conditions") or [])
    return settled and status.get("observedGeneration") == manifest["metadata"].get("generation")


def operator_settings() -> kopf.OperatorSettings:
    """Everything off that writes, scans or competes; see the module's docstring."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.inactivity_timeout = 90.0
    settings.watching.initial_streaming = False  # loses objects when the connection is cut in the list
    settings.watching.chunk_size = CHUNK
    settings.queueing.idle_timeout = 0.5
    settings.queueing.error_delays = (1, 2, 5, 10, 30, 60)
    settings.networking.connect_timeout = 10.0
    settings.networking.request_timeout = 30.0
    settings.networking.error_backoffs = Jitter()
    settings.networking.enforce_retry_after = True
    settings.persistence.finalizer = f"{GROUP}/cleanup"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.process.ultimate_exiting_timeout = None
    return settings
