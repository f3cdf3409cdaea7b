"""Writes what is to be said about policies and registered data into their statuses, and only what has changed.

News of a policy, of a namespace or of data are written within a second; counts of jobs, which change with every run, at most once in
``pace`` seconds for each object, so that they cost nothing where much is run. An operator of some namespaces only says nothing about
policies, which are everybody's: two of them would contradict each other for ever.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from finetune_operator.cluster.cache import Key, Store, name_of
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import GOVERNANCE_POLICIES, TRAINING_DATASETS, Resource
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.news import News
from finetune_operator.domain.governance.standing import JobStanding, Surroundings, dataset_status, policy_status, read_job
from finetune_operator.domain.reading import without_empty

log = logging.getLogger(__name__)

COALESCE, COALESCE_COUNTS = 0.5, 5.0
"""Seconds from news until they are written: of what a policy is and whom it concerns, and of jobs."""
PACE: Final = 300.0
RETRY: Final = 30.0
_FIGURES: Final = frozenset({"jobs", "deployments", "artifacts", "lastUsedAt"})

Wanted = tuple[Resource, Store, Manifest, dict[str, Any]]


class StatusApi(Protocol):
    async def apply_status(self, resource: Resource, manifest: Manifest) -> Manifest: ...


class Standings:
    """Told of FineTuneJobs and AdapterDeployments by who sees them, of the rest by the cache; `run` writes, in the leader only."""

    def __init__(
        self,
        api: StatusApi,
        cache: GovernanceCache,
        *,
        policies: bool = True,
        pace: float = PACE,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._cache = cache
        self._policies = policies
        self._pace = pace
        self._clock = clock
        self._now = now
        self._jobs: dict[Key, JobStanding] = {}
        self._deployments: dict[Key, JobStanding] = {}
        self._written: dict[tuple[str, str, str], float] = {}
        """When each object's status was last written, by this process's clock."""
        self._news = News()
        self._urgent = True
        cache.listeners.append(self._noted)

    def job_seen(self, key: Key, manifest: Manifest | None) -> None:
        """None for one that is gone."""
        self._remember(self._jobs, key, manifest)

    def deployment_seen(self, key: Key, manifest: Manifest | None) -> None:
        """None for one that is gone."""
        self._remember(self._deployments, key, manifest)

    def _remember(self, known: dict[Key, JobStanding], key: Key, manifest: Manifest | None) -> None:
        before = known.pop(key, None)
        found = read_job(manifest) if manifest is not None else None
        if found is not None and found.concerns:
            known[key] = found
        if before != known.get(key):
            self._news.tell()

    def _noted(self) -> None:
        self._urgent = True
        self._news.tell()

    @property
    def waiting(self) -> int:
        """Jobs that wait for people to approve."""
        return sum(job.waits for job in self._jobs.values())

    @property
    def audited(self) -> int:
        """Findings of auditing policies about jobs that exist now."""
        return sum(job.audited for job in self._jobs.values())

    async def run(self) -> None:
        """For ever; what the API server refuses is tried again later."""
        async for _ in self._news.each(lambda: COALESCE if self._urgent else min(COALESCE_COUNTS, self._pace)):
            self._urgent = False
            self._news.again = await self.write()

    async def write(self) -> float | None:
        """Write what differs and is due; seconds until something that differs is, None where nothing does."""
        waits = []
        for resource, store, manifest, status in self._wanted():
            wait = self._wait(resource, manifest, status)
            if wait == 0.0:
                wait = await self._write(resource, store, manifest, status)
            if wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    def _wanted(self) -> list[Wanted]:
        cache, now, jobs = self._cache, self._now(), tuple(self._jobs.values())
        wanted: list[Wanted] = []
        if self._policies:
            namespaces = {each["metadata"]["name"]: each["metadata"]["labels"] for each in cache.namespaces.values()}
            read = cache.read_policies()
            around = Surroundings(read, namespaces, jobs, cache.site, tuple(self._deployments.values()))
            for policy in read:
                manifest = cache.policies.get("", policy.name)
                if manifest is not None:
                    stands = policy_status(manifest, policy, around, now).to_manifest()
                    wanted.append((GOVERNANCE_POLICIES, cache.policies, manifest, stands))
        users: dict[tuple[str, str], list[JobStanding]] = {}
        for job in jobs:
            users.setdefault((job.namespace, job.dataset), []).append(job)
        for manifest in cache.datasets.values():
            used = dataset_status(manifest, users.get(name_of(manifest), ()), now).to_manifest()
            wanted.append((TRAINING_DATASETS, cache.datasets, manifest, used))
        return wanted

    def _wait(self, resource: Resource, manifest: Manifest, status: dict[str, Any]) -> float | None:
        """None where nothing differs; else seconds until it may be written."""
        present, wanted = without_empty(manifest["status"]), without_empty(status)
        if present == wanted:
            return None
        if _without_figures(present) != _without_figures(wanted):
            return 0.0
        last = self._written.get(_name(resource, manifest))
        return 0.0 if last is None else max(0.0, self._pace - (self._clock() - last))

    async def _write(self, resource: Resource, store: Store, manifest: Manifest, status: dict[str, Any]) -> float | None:
        metadata = {field: manifest["metadata"][field] for field in ("namespace", "name", "uid") if manifest["metadata"].get(field)}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "status": without_empty(status)}
        try:
            answer = await self._api.apply_status(resource, body)
        except NotFound:
            return None
        except ApiError as error:
            log.warning("status not written: %s", error, extra={"kind": resource.kind, "object": metadata["name"]})
            return RETRY
        self._written[_name(resource, manifest)] = self._clock()
        store.put_own(answer)
        return None


def _without_figures(status: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in status.items() if field not in _FIGURES}


def _name(resource: Resource, manifest: Manifest) -> tuple[str, str, str]:
    return resource.kind, str(manifest["metadata"].get("namespace") or ""), str(manifest["metadata"]["name"])
