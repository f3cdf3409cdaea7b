"""The namespace of records in a dict, with a real notary before it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, Conflict, NotFound
from finetune_operator.cluster.resources import Resource
from finetune_operator.control.anchors import ConfigMaps
from finetune_operator.control.chains import Chains
from finetune_operator.control.notary import Notary
from finetune_operator.domain.governance.signing import RecordRequest, Signing
from finetune_record import keys
from tests.unit.record.examples import KEY, NOW

RECORDS, CHECKPOINTS = "finetune-records", "finetune-checkpoints"
JOB = Key("support", "ticket-router")
Manifest = dict[str, Any]


class Silent:
    """Counts what is measured."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        def count(*words: Any) -> None:
            said = " ".join([name, *map(str, words)])
            self.counts[said] = self.counts.get(said, 0) + 1

        return count


class Registry:
    """``objects`` are by namespace and name; ``refusal`` answers every create; ``write`` is called before anything is stored."""

    def __init__(self, key: keys.PrivateKey = KEY, trusted: keys.PublicKeys | None = None, every: int = 0) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.refusal: ApiError | None = None
        self.measures = Silent()
        self.write: Callable[[], None] = lambda: None
        self.key = key
        self.every = every
        self.now = NOW
        self._trusted = {keys.key_id(key.public_key()): key.public_key(), **(trusted or {})}
        self.forget()

    def forget(self) -> None:
        """Another process: what it knows is what lies here."""
        self.chains = Chains(self._trusted)
        self.read()
        points = self.chains.checkpoints
        anchors = [ConfigMaps(self, points, self.key, namespace=CHECKPOINTS, every=self.every, now=lambda: self.now)] if self.every else []
        self.notary = Notary(
            self,
            self.chains,
            self.key,
            namespace=RECORDS,
            version="0.1.0",
            cluster=lambda: "cluster-uid",
            anchors=anchors,
            measures=self.measures,
            now=lambda: self.now,
        )

    def read(self) -> None:
        """What a reflector brings."""
        for (namespace, _), manifest in self.objects.items():
            (self.chains if namespace == RECORDS else self.chains.checkpoints).put(manifest)

    def view(self, key: Key = JOB) -> Signing:
        return self.notary.view(key)

    def settled(self, key: Key = JOB) -> None:
        self.notary.settled(key)

    def record(self, request: RecordRequest, write: Callable[[], None], now: datetime, key: Key = JOB) -> None:
        self.write, self.now = write, now
        asyncio.run(self.notary.record(key, request))

    @property
    def records(self) -> list[Manifest]:
        return [manifest for (namespace, _), manifest in sorted(self.objects.items()) if namespace == RECORDS]

    def take_away(self, name: str) -> None:
        self.chains.remove(self.objects.pop((RECORDS, name)))

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        assert resource.kind == "ConfigMap"
        assert manifest["immutable"]
        if self.refusal is not None:
            raise self.refusal
        place = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        if place in self.objects:
            raise Conflict("already exists", status=409, reason="AlreadyExists")
        self.write()
        version = str(len(self.objects) + 1)
        metadata = {**manifest["metadata"], "uid": f"uid-{version}", "resourceVersion": version}
        self.objects[place] = {**manifest, "metadata": metadata}
        return self.objects[place]

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest:
        assert resource.kind == "ConfigMap"
        if (namespace or "", name) not in self.objects:
            raise NotFound("not found", status=404)
        return self.objects[namespace or "", name]
