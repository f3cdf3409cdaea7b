"""The one status write of a reconcile.

It names the version of the object that was decided upon, so that nobody's newer word is overwritten; what it meets instead is fetched, and
decided upon anew.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from finetune_operator.cluster.cache import Key, ParentStore
from finetune_operator.cluster.errors import Conflict, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import FINETUNE_JOBS, Resource
from finetune_operator.control.measures import Measures
from finetune_operator.control.statuses import applicable, same_basis
from finetune_operator.control.transitions import condition_changes, measure

log = logging.getLogger(__name__)


class ReadApi(Protocol):
    """The part of `KubeApi` that asks for one object."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


class StatusApi(ReadApi, Protocol):
    """The part of `KubeApi` that writes a status."""

    async def apply_status(self, resource: Resource, manifest: Manifest) -> Manifest: ...


class StatusWrites:
    """Writes the status of FineTuneJobs, and tells logs and metrics what has changed with it."""

    def __init__(self, api: StatusApi, parents: ParentStore, measures: Measures) -> None:
        self._api = api
        self._parents = parents
        self._measures = measures

    async def write(self, key: Key, resource: Manifest, status: Mapping[str, Any]) -> bool:
        """False if the object is gone. Raises `Conflict` where it is not the one that was decided upon."""
        metadata = resource["metadata"]
        manifest = {
            "apiVersion": FINETUNE_JOBS.api_version,
            "kind": FINETUNE_JOBS.kind,
            "metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": self._version(key, resource)},
            "status": applicable(status),
        }
        try:
            answer = await self._api.apply_status(FINETUNE_JOBS, manifest)
        except NotFound:
            self._parents.remove(key, uid=metadata["uid"])
            return False
        except Conflict:
            await refresh(self._api, FINETUNE_JOBS, self._parents, key, metadata["uid"])
            raise
        self._parents.put(answer)
        before, after = resource.get("status") or {}, answer.get("status") or {}
        _log_transition(key, metadata.get("generation"), before, after)
        measure(self._measures, key, before, after, answer.get("spec") or {})
        return True

    def _version(self, key: Key, resource: Manifest) -> str:
        """The version a status must meet: a live check may have learned of one that differs in nothing we decided upon.

        A status that somebody else wrote meanwhile, such as a former leader whose write was under way, is something we decided upon.
        """
        current = self._parents.get(key)
        if current is not None and same_basis(current, resource):
            return str(current["metadata"]["resourceVersion"])
        return str(resource["metadata"]["resourceVersion"])


async def refresh(api: ReadApi, resource: Resource, parents: ParentStore, key: Key, uid: str) -> None:
    """Our copy is old: fetch the object, so that the next decision does not meet the same conflict."""
    try:
        parents.put(await api.get(resource, key.namespace, key.name))
    except NotFound:
        parents.remove(key, uid=uid)


def _log_transition(key: Key, generation: Any, before: Manifest, after: Manifest) -> None:
    changes = list(condition_changes(before, after))
    if not changes:
        return
    run = after.get("currentRun") or {}
    summary = next((change for change in changes if change.type == "Ready"), changes[-1])
    log.info(
        "%s %s: %s",
        key,
        after.get("phase") or summary.type,
        summary.message or summary.reason,
        extra={
            "key": str(key),
            "generation": generation,
            "run": run.get("name"),
            "attempt": run.get("attempt"),
            "conditions": {change.type: f"{change.status}/{change.reason}" for change in changes},
        },
    )
