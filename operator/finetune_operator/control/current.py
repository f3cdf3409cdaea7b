"""Keeps ``GovernanceFacts/current`` of each governed namespace as things stand, and writes nothing while they stand still.

The API server reads it at admission, also while no operator runs. A namespace that is governed no more loses it, so that one which becomes
governed again begins with nothing rather than with what was once true.
"""

import logging
from typing import Any, Final, Protocol

from pydantic import ValidationError

from finetune_operator.api.base import API_VERSION
from finetune_operator.api.governance.current import CURRENT, KIND, GovernanceFactsSpec
from finetune_operator.cluster.cache import Store
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import GOVERNANCE_FACTS, Resource
from finetune_operator.control.governance import GovernanceCache
from finetune_operator.control.news import News
from finetune_operator.domain.governance.snapshot import snapshot
from finetune_trainer.contract.governance.vocabulary import LABEL_GOVERNED

log = logging.getLogger(__name__)

COALESCE: Final = 0.05
"""Seconds that one change waits for the next one: short, because a job may be refused for what is not written yet."""
RETRY: Final = 5.0


class FactsApi(Protocol):
    async def apply(self, resource: Resource, manifest: Manifest, *, force: bool = True) -> Manifest: ...

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str, propagation: str = "Background") -> None: ...


class CurrentFacts:
    """``stored`` is filled by a reflector; `run` writes, in the leader only. ``namespaces`` are those it looks after; none: all."""

    def __init__(self, api: FactsApi, cache: GovernanceCache, namespaces: tuple[str, ...] = ()) -> None:
        self._api = api
        self._cache = cache
        self._namespaces = frozenset(namespaces)
        self._news = News()
        self.stored = Store(_kept, lambda _facts: self._news.tell(), index=lambda _facts: None, by_namespace=bool(namespaces))
        cache.listeners.append(self._news.tell)

    async def run(self) -> None:
        """For ever; what the API server refuses is tried again soon."""
        async for _ in self._news.each(lambda: COALESCE):
            self._news.again = None if await self.write() else RETRY

    async def write(self) -> bool:
        """Write and delete what differs; whether all of it went well."""
        done = [await self._tend(namespace) for namespace in self._cache.namespaces.values()]
        return all(done)

    async def _tend(self, namespace: Manifest) -> bool:
        name, labels = str(namespace["metadata"]["name"]), namespace["metadata"]["labels"]
        if (self._namespaces and name not in self._namespaces) or namespace["metadata"].get("deletionTimestamp"):
            return True
        present = self.stored.get(name, CURRENT)
        try:
            if LABEL_GOVERNED not in labels:
                if present is not None:
                    await self._api.delete(GOVERNANCE_FACTS, name, CURRENT, uid=str(present["metadata"]["uid"]))
                    self.stored.forget(name, CURRENT, str(present["metadata"]["uid"]))
                return True
            wanted = snapshot(self._cache.surroundings(name))
            if present is None or _read(present) != wanted:
                self.stored.put_own(await self._api.apply(GOVERNANCE_FACTS, _document(name, wanted)))
        except NotFound:
            return True  # the namespace itself is gone
        except ApiError as error:
            log.warning("facts not written: %s", error, extra={"namespace": name})
            return False
        return True


def _document(namespace: str, spec: GovernanceFactsSpec) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": CURRENT, "namespace": namespace},
        "spec": spec.to_manifest(),
    }


def _read(facts: Manifest) -> GovernanceFactsSpec | None:
    try:
        return GovernanceFactsSpec.model_validate(facts["spec"])
    except ValidationError:
        return None


def _kept(manifest: Manifest) -> Manifest | None:
    metadata = manifest["metadata"]
    fields = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {field: metadata[field] for field in fields if field in metadata}, "spec": manifest.get("spec") or {}}
