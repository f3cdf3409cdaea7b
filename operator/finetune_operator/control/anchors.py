"""Where the head of a chain is told, so that whoever holds the key cannot rewrite the chain unseen: a place that it cannot change.

An anchor that does not take a head is reported and costs nothing: the next head vouches for every record before it.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from finetune_operator.api.base import FIELD_MANAGER, LABEL_MANAGED_BY
from finetune_operator.cluster.errors import Conflict
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CONFIG_MAPS, Resource
from finetune_operator.control.chains import Checkpoints, config_map
from finetune_record import chain, envelope, keys
from finetune_record.layout import CHECKPOINT_FILE

log = logging.getLogger(__name__)


class Anchor(Protocol):
    """One such place."""

    name: str

    async def keep(self, head: chain.Entry) -> bool:
        """Have it there, if it is time; whether it was. Raises `ApiError`."""


class LogLine:
    """The log of the operator, which a cluster usually ships to where the operator has no rights."""

    name = "log"

    async def keep(self, head: chain.Entry) -> bool:
        link = head.link
        where = {"namespace": link.namespace, "seq": link.seq, "digest": head.digest, "key_id": link.key_id}
        log.info("record %d of namespace %s is %s", link.seq, link.namespace, head.digest, extra=where)
        return True


def sealed_checkpoint(head: chain.Entry, now: datetime, key: keys.PrivateKey) -> bytes:
    """The operator's signed word that a chain has this head."""
    point = chain.checkpoint(head, now, keys.key_id(key.public_key()))
    return envelope.seal(point.to_payload(), key, envelope.CHECKPOINT).to_bytes()


class CheckpointApi(Protocol):
    """The part of `KubeApi` that checkpoints need."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...


class ConfigMaps:
    """A namespace in which the operator may create and nothing else: a signed checkpoint after ``every`` records."""

    name = "configmap"

    def __init__(
        self,
        api: CheckpointApi,
        known: Checkpoints,
        key: keys.PrivateKey,
        *,
        namespace: str,
        every: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._known = known
        self._key = key
        self._namespace = namespace
        self._every = every
        self._now = now

    async def keep(self, head: chain.Entry) -> bool:
        before = self._known.newest(head.link.namespace, self._namespace)
        if head.link.seq - (before.seq if before is not None else 0) < self._every:
            return False
        labels = {chain.NAMESPACE_LABEL: head.link.namespace, LABEL_MANAGED_BY: FIELD_MANAGER}
        data = {CHECKPOINT_FILE: sealed_checkpoint(head, self._now(), self._key).decode()}
        manifest = config_map(self._namespace, chain.entry_name(head.link.namespace, head.link.seq), labels, data)
        try:
            self._known.put(await self._api.create(CONFIG_MAPS, manifest))
        except Conflict as error:
            if not error.already_exists:
                raise
            return False
        return True
