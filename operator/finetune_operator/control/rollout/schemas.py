"""The JSON Schemas that answers are held against: read from the API server when a decision needs one, and kept for a short while.

One that cannot be read just now is the one from before, and not an absent one: without it the route would change, and a canary that
does harm has to be taken back whatever can be read.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CONFIG_MAPS, Resource
from finetune_operator.domain import reading

log = logging.getLogger(__name__)

KEPT_SECONDS: Final = 30.0


class GetApi(Protocol):
    """The part of `KubeApi` that is needed."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


@dataclass(frozen=True)
class ReadSchema:
    """``text`` is None where there is none; ``problem`` says why, in words that follow its name."""

    text: str | None = None
    problem: str = ""


NO_SCHEMA: Final = ReadSchema()


@dataclass(frozen=True)
class _Kept:
    place: tuple[str, str]
    found: ReadSchema
    at: float


class Schemas:
    """One per process."""

    def __init__(self, api: GetApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}

    async def read(self, key: Key, deployment: Manifest, *, resting: bool) -> ReadSchema:
        """What is behind ``checks.schema.configMapRef``; nothing where there is no such check.

        While nothing is under way the one from before will do, whatever its age.
        """
        reference = reading.at(deployment.get("spec"), "analysis", "checks", "schema", "configMapRef")
        name, entry = reading.text(reference, "name"), reading.text(reference, "key") or "schema.json"
        if not name:
            self._kept.pop(key, None)
            return NO_SCHEMA
        known = self._kept.get(key)
        if known is not None and known.place == (name, entry) and (resting or self._clock() - known.at < KEPT_SECONDS):
            return known.found
        try:
            found = _read(await self._api.get(CONFIG_MAPS, key.namespace, name), entry)
        except NotFound:
            found = ReadSchema(problem="cannot be read: there is no such ConfigMap in this namespace")
        except ApiError as error:
            log.warning("the schema stays as it was: %s", error, extra={"key": str(key)})
            return known.found if known is not None else _applied(deployment, error)
        self._kept[key] = _Kept((name, entry), found, self._clock())
        return found

    def forget(self, key: Key) -> None:
        self._kept.pop(key, None)


def _read(config_map: Manifest, entry: str) -> ReadSchema:
    text = reading.text(config_map, "data", entry) or None
    return ReadSchema(text, "" if text is not None else "cannot be read: the ConfigMap has no such key under data, or nothing in it")


def _applied(deployment: Manifest, error: ApiError) -> ReadSchema:
    """What the routers have."""
    text = reading.text(deployment.get("status"), "route", "schemaCheck", "outputSchema") or None
    return ReadSchema(text, "" if text is not None else f"cannot be read: {error.explain()}")
