"""Signs what decisions ask for and adds it to the chain of the namespace: one create per record, whose name is its number.

Creating is the whole of the append. A name that is taken by a record of this very run is that record, made before a crash or by another
replica, and is used as it lies there; one that is taken by another run's is the new head; one that is taken by anything else holds the
run, because a chain that goes around it would have a hole. The key stays in here: nothing that is written holds a part of it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from finetune_operator.api.base import FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_RUN
from finetune_operator.api.governance.job import RecordStatus
from finetune_operator.cluster.cache import Key
from finetune_operator.cluster.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from finetune_operator.cluster.kube import Manifest
from finetune_operator.cluster.resources import CONFIG_MAPS, Resource
from finetune_operator.control.anchors import Anchor
from finetune_operator.control.chains import Chains, Kept, NoRecord, StoredRecord, config_map, read_record
from finetune_operator.control.measures import Measures
from finetune_operator.domain.governance.signing import Recorded, RecordRequest, Refusal, Signing
from finetune_operator.manifests.signed import SignedRecord
from finetune_record import bundle, chain, envelope, keys
from finetune_record.layout import MODEL_SIGNATURE_FILE, RECORD_FILE, folder_name
from finetune_record.materials import File
from finetune_record.statement import Statement
from finetune_trainer.contract import digest_of

log = logging.getLogger(__name__)

TRIES: Final = 16
"""How many records of others may come between before the queue takes over."""


class RecordApi(Protocol):
    """The part of `KubeApi` that keeping records needs."""

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest: ...

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Manifest: ...


class Notary:
    """One per process; holds the key."""

    def __init__(
        self,
        api: RecordApi,
        chains: Chains,
        key: keys.PrivateKey,
        *,
        namespace: str,
        version: str,
        cluster: Callable[[], str],
        anchors: Sequence[Anchor],
        measures: Measures,
        wake: Callable[[Key], None] = lambda _key: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._chains = chains
        self._key = key
        self._key_id = keys.key_id(key.public_key())
        self._namespace = namespace
        self._version = version
        self._cluster = cluster
        self._anchors = anchors
        self._measures = measures
        self._wake = wake
        self._now = now
        self._recorded: dict[Key, Recorded] = {}
        self._refusals: dict[Key, Refusal] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One record of a chain at a time: two would only meet at the same name."""
        chains.on_loss = self._try_again

    def view(self, key: Key) -> Signing:
        """What a decision about this job may know."""
        return Signing(self._version, self._cluster(), self._recorded.get(key), self._refusals.get(key))

    def settled(self, key: Key) -> None:
        """What was recorded has been used: the texts are long, and the chain has them."""
        self._recorded.pop(key, None)

    def forget(self, key: Key) -> None:
        self.settled(key)
        self._refusals.pop(key, None)

    def _try_again(self) -> None:
        """What was refused may go on: somebody has taken something away."""
        waiting, self._refusals = self._refusals, {}
        for key in waiting:
            self._wake(key)

    async def record(self, key: Key, request: RecordRequest) -> None:
        """Have the record in its chain, or a refusal to tell. Raises `ApiError` for what passes by itself."""
        self._refusals.pop(key, None)
        async with self._turns[request.namespace]:
            try:
                stored, result = await self._stored(request)
            except _Refused as refused:
                self._refuse(key, str(refused))
                return
            self._recorded[key] = _recorded(stored)
            self._measures.recorded(request.namespace, result)
            if result == "written":
                for anchor in self._anchors:
                    await self._keep(anchor, stored.kept.entry)

    def _refuse(self, key: Key, text: str) -> None:
        self._measures.recorded(key.namespace, "refused")
        self._refusals[key] = Refusal(text, self._now())
        log.error("no record: %s", text, extra={"key": str(key)})

    async def _stored(self, request: RecordRequest) -> tuple[StoredRecord, str]:
        for _ in range(TRIES):
            known = self._chains.find(request.namespace, request.uid, request.run_key, request.artifact)
            stored = await self._read(known) if known is not None else await self._append(request)
            if stored is not None:
                return stored, "found" if known is not None else "written"
        raise Unavailable(f"the chain of {request.namespace} grows faster than this process can follow")

    async def _read(self, known: Kept) -> StoredRecord | None:
        """A record that was seen before, whole; None where it was removed meanwhile, which leaves a gap."""
        name = known.entry.where
        try:
            return read_record(await self._api.get(CONFIG_MAPS, self._namespace, name), self._chains.trusted)
        except NotFound:
            self._chains.lose(name)
            return None
        except NoRecord as error:
            raise _Refused(_squatted(self._namespace, name, error)) from error

    async def _append(self, request: RecordRequest) -> StoredRecord | None:
        """The new record; None where somebody else's came first, which is known then."""
        manifest = self._made(request)
        name = manifest["metadata"]["name"]
        try:
            created = await self._api.create(CONFIG_MAPS, manifest)
        except Conflict as error:
            if not error.already_exists:
                raise
            await self._learn(name)
            return None
        except NotFound:
            raise _Refused(f"there is no namespace {self._namespace} for records. Create it; the chart does.") from None
        except Forbidden as error:
            raise _Refused(f"may not create ConfigMap {name} in namespace {self._namespace}: {error.message}") from error
        except Invalid as error:
            raise _Refused(f"the API server refuses ConfigMap {self._namespace}/{name}: {error.explain()}") from error
        self._chains.put(created)
        return read_record(created, self._chains.trusted)

    def _made(self, request: RecordRequest) -> Manifest:
        head = self._chains.head(request.namespace)
        now = self._now()
        at = max(now, head.link.recorded_at) if head is not None else now  # two replicas' clocks may differ
        link = chain.next_link(request.namespace, head, at, self._key_id)
        files = [File(name=name, digest=digest) for name, digest in request.files.items()]
        try:
            payload = Statement.of(request.sections, files, link).to_payload()
        except ValueError as error:
            raise _Refused(f"the record cannot be stated: {error}"[:1024]) from error
        data = {RECORD_FILE: envelope.seal(payload, self._key).to_bytes().decode()}
        if files:
            data[MODEL_SIGNATURE_FILE] = bundle.sign_files(folder_name(request.artifact), request.files, self._key).to_bytes().decode()
        labels = {chain.NAMESPACE_LABEL: request.namespace, LABEL_RUN: request.mark, LABEL_MANAGED_BY: FIELD_MANAGER}
        return config_map(self._namespace, chain.entry_name(request.namespace, link.seq), labels, data)

    async def _learn(self, name: str) -> None:
        """Whose the name is that was taken."""
        try:
            found = await self._api.get(CONFIG_MAPS, self._namespace, name)
            read_record(found, self._chains.trusted)
        except NotFound:
            return
        except NoRecord as error:
            raise _Refused(_squatted(self._namespace, name, error)) from error
        self._chains.put(found)

    async def _keep(self, anchor: Anchor, head: chain.Entry) -> None:
        """The record stands without it; the next record's anchor vouches for this one too."""
        try:
            if await anchor.keep(head):
                self._measures.anchored(anchor.name, "kept")
        except ApiError as error:
            self._measures.anchored(anchor.name, "failed")
            log.warning("anchor %s does not take the head of %s: %s", anchor.name, head.link.namespace, error)


class _Refused(Exception):
    """A person has to act."""


def _squatted(namespace: str, name: str, error: NoRecord) -> str:
    return (
        f"ConfigMap {namespace}/{name} is in the place of a record and is none that this operator can verify ({error}). If another key has "
        "signed it, name that one's public half with --verification-key; else find out who made it, and move it away."
    )


def _recorded(stored: StoredRecord) -> Recorded:
    link = stored.kept.entry.link
    place = RecordStatus(sequence=link.seq, digest=digest_of(envelope.Envelope.read(stored.envelope.encode()).content), key_id=link.key_id)
    return Recorded(stored.kept.run_key, stored.kept.artifact, place, SignedRecord(stored.envelope, stored.model_signature))
