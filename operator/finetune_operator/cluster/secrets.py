"""One Secret of each namespace, read when it is needed: the key of engines that want one. Its value never leaves the process otherwise."""

import base64
import binascii
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from finetune_operator.cluster.errors import ApiError, NotFound
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import SECRETS, Resource

log = logging.getLogger(__name__)

KEPT_SECONDS: Final = 30.0
FORGOTTEN_SECONDS: Final = 3600.0
"""A key that nobody has asked for in an hour is not kept for a time without the API server either."""


class GetApi(Protocol):
    """The part of `KubeApi` that is needed."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


class NamespaceSecret:
    """One per process: the entry ``entry`` of the Secret ``name``, by namespace."""

    def __init__(self, api: GetApi, name: str, entry: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._name = name
        self._entry = entry
        self._clock = clock
        self._kept: dict[str, tuple[float, str | None]] = {}

    async def value(self, namespace: str) -> str | None:
        """None where there is no such Secret or entry; what was known before where it cannot be read just now."""
        known = self._kept.get(namespace)
        if known is not None and self._clock() - known[0] < KEPT_SECONDS:
            return known[1]
        try:
            found: str | None = _decoded((await self._api.get(SECRETS, namespace, self._name)).get("data"), self._entry)
        except NotFound:
            found = None
        except ApiError as error:
            log.warning("Secret %s cannot be read: %s", self._name, error, extra={"namespace": namespace})
            return known[1] if known is not None else None
        now = self._clock()
        self._kept = {other: entry for other, entry in self._kept.items() if now - entry[0] < FORGOTTEN_SECONDS}
        self._kept[namespace] = (now, found)
        return found

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self, namespace: str) -> None:
        """Read it anew the next time."""
        self._kept.pop(namespace, None)


def _decoded(data: object, entry: str) -> str | None:
    text = data.get(entry) if isinstance(data, dict) else None
    try:
        return base64.b64decode(text, validate=True).decode("utf-8").strip() or None if isinstance(text, str) else None
    except (binascii.Error, UnicodeDecodeError):
        return None
