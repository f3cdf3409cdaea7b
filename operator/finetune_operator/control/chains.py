"""The chains of records as they lie in the cluster: read and verified once, kept as short entries, and compared with their checkpoints.

What was seen and is gone stays an entry of the chain: the next record still names it as the one before, so that the gap can always be seen.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from finetune_operator.cluster.cache import Name, name_of, version_of
from finetune_operator.cluster.kube import Manifest
from finetune_record import chain, envelope
from finetune_record.keys import PublicKeys
from finetune_record.layout import CHECKPOINT_FILE, MODEL_SIGNATURE_FILE, RECORD_FILE
from finetune_record.outcome import ChainLink
from finetune_record.problems import Check, Problem
from finetune_trainer.contract import digest_of

log = logging.getLogger(__name__)

SHOWN: Final = 8
"""How many flaws of one chain are logged."""


class NoRecord(ValueError):
    """Why an object in the records' namespace is none."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record in its chain; ``entry.where`` is the name of its ConfigMap."""

    entry: chain.Entry
    uid: str
    """Of the FineTuneJob."""
    run_key: str
    artifact: str

    @property
    def namespace(self) -> str:
        return self.entry.link.namespace


@dataclass(frozen=True)
class StoredRecord:
    """A record with the texts that are published."""

    kept: Kept
    envelope: str
    model_signature: str


def read_record(manifest: Manifest, trusted: PublicKeys) -> StoredRecord:
    """The record in a ConfigMap. Raises `NoRecord`: it is none, it is of a key that is not known here, or it lies where another belongs."""
    name = manifest["metadata"]["name"]
    data = manifest.get("data") or {}
    text = data.get(RECORD_FILE)
    if not isinstance(text, str):
        raise NoRecord(f"it has no {RECORD_FILE}")
    try:
        payload = envelope.opened(envelope.Envelope.read(text.encode()), trusted)
    except envelope.EnvelopeError as error:
        raise NoRecord(str(error)) from error
    kept = _kept(payload, name)
    if name != chain.entry_name(kept.namespace, kept.entry.link.seq):
        raise NoRecord(f"it is record {kept.entry.link.seq} of namespace {kept.namespace}")
    return StoredRecord(kept, text, str(data.get(MODEL_SIGNATURE_FILE) or ""))


def _kept(payload: bytes, name: str) -> Kept:
    """Only what the chain needs: a newer operator may have stated more."""
    try:
        statement = json.loads(payload)
        predicate = statement["predicate"]
        link = ChainLink.model_validate(predicate["chain"])
        artifact = f"sha256:{statement['subject'][0]['digest']['sha256']}"
        identity = predicate["identity"]
        return Kept(chain.Entry(link, digest_of(payload), name), str(identity["uid"]), str(identity["runKey"]), artifact)
    except (ValueError, KeyError, TypeError, IndexError, ValidationError) as error:
        raise NoRecord(f"its statement cannot be read ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class _Object:
    """A ConfigMap that is there; ``found`` is its record, or what is wrong with it."""

    uid: str
    version: int
    found: Kept | str


class Chains:
    """A sink of reflectors: records from one namespace, checkpoints from another."""

    def __init__(self, trusted: PublicKeys) -> None:
        self.trusted = trusted
        self.on_loss: Callable[[], None] = lambda: None
        """Called when something is not there any more: what it stood in the way of may go on."""
        self.checkpoints = Checkpoints(trusted)
        self._records: dict[str, dict[int, Kept]] = {}
        self._objects: dict[str, _Object] = {}
        """What lies there now, by name."""
        self._flaws: dict[str, tuple[int, list[Problem]]] = {}
        self._changes = 0

    def put(self, manifest: Manifest) -> None:
        self._changes += 1
        name, uid, version = manifest["metadata"]["name"], manifest["metadata"].get("uid") or "", version_of(manifest)
        try:
            kept = read_record(manifest, self.trusted).kept
        except NoRecord as error:
            self._objects[name] = _Object(uid, version, str(error))
            return
        self._objects[name] = _Object(uid, version, kept)
        self._records.setdefault(kept.namespace, {})[kept.entry.link.seq] = kept

    def remove(self, manifest: Manifest) -> None:
        """A deletion; one that concerns a predecessor of the same name changes nothing."""
        metadata = manifest["metadata"]
        known = self._objects.get(metadata["name"])
        if known is not None and known.uid == (metadata.get("uid") or ""):
            self.lose(metadata["name"])

    def lose(self, name: str) -> None:
        """It is not there any more."""
        self._changes += 1
        self._objects.pop(name, None)
        self.on_loss()

    def bookmark(self, resource_version: str, namespace: str | None) -> None:
        """Nothing depends on how far the watch has come: records do not change."""

    def replace(self, seen: set[Name], resource_version: str, namespace: str | None) -> None:
        """The end of a list: what it did not bring is gone, unless it is younger."""
        for name, known in list(self._objects.items()):
            if (namespace or "", name) not in seen and known.version <= int(resource_version):
                self.lose(name)

    def find(self, namespace: str, uid: str, run_key: str, artifact: str) -> Kept | None:
        """The newest record of this run about this artifact that is there."""
        known = self._records.get(namespace, {})
        found = (known[seq] for seq in sorted(known, reverse=True) if _is_of(known[seq], uid, run_key, artifact))
        return next((kept for kept in found if kept.entry.where in self._objects), None)

    def head(self, namespace: str) -> chain.Entry | None:
        """What the next record comes after: the newest that was ever seen, or that a checkpoint vouches for."""
        known = self._records.get(namespace)
        newest = known[max(known)].entry if known else None
        point = self.checkpoints.newest(namespace)
        if point is None or (newest is not None and newest.link.seq >= point.seq):
            return newest
        link = ChainLink(namespace=namespace, seq=point.seq, recorded_at=point.at, key_id=point.key_id)
        return chain.Entry(link, point.head, "checkpoint")

    def uid_of(self, name: str) -> str:
        """Of the ConfigMap that lies there now; empty where there is none."""
        known = self._objects.get(name)
        return known.uid if known is not None else ""

    def namespaces(self) -> list[str]:
        return sorted({*self._records, *self.checkpoints.namespaces()})

    def length(self, namespace: str) -> int:
        head = self.head(namespace)
        return head.link.seq if head is not None else 0

    def flaws(self, namespace: str) -> list[Problem]:
        """What is wrong with a chain as it lies there: gaps, records that do not verify, checkpoints that it does not meet."""
        changes, found = self._flaws.get(namespace, (-1, []))
        moment = self._changes + self.checkpoints.changes
        if changes != moment:
            found = list(self._look(namespace))
            self._flaws[namespace] = (moment, found)
        return found

    def report(self) -> None:
        """Log what is wrong, once; nothing ends for it, because everything that is there can still be read."""
        for namespace in self.namespaces():
            found = self.flaws(namespace)
            for problem in found[:SHOWN]:
                log.error("records of namespace %s: %s", namespace, problem, extra={"namespace": namespace, "flaws": len(found)})

    def _look(self, namespace: str) -> Iterator[Problem]:
        prefix = f"{namespace}-"
        there = []
        for name, known in sorted(self._objects.items()):
            if isinstance(known.found, Kept):
                there += [known.found.entry] if known.found.namespace == namespace else []
            elif name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                yield Problem(Check.SIGNATURE, name, f"it is no record of ours: {known.found}")
        yield from chain.flaws(there)
        yield from self._removed(namespace, there)
        yield from chain.unmet(self.checkpoints.of(namespace), there)

    def _removed(self, namespace: str, there: list[chain.Entry]) -> Iterator[Problem]:
        """The end of the chain that was seen and is gone; a gap before a later record is told with that one."""
        last = max((entry.link.seq for entry in there), default=0)
        for seq, kept in sorted(self._records.get(namespace, {}).items()):
            if seq > last:
                yield Problem(Check.CHAIN, kept.entry.where, f"record {seq} was there and was removed")


class Checkpoints:
    """The heads that were anchored, by namespace of their chains; a sink of a reflector."""

    def __init__(self, trusted: PublicKeys) -> None:
        self._trusted = trusted
        self._known: dict[Name, chain.Checkpoint] = {}
        self.changes = 0

    def put(self, manifest: Manifest) -> None:
        self.see(name_of(manifest), str((manifest.get("data") or {}).get(CHECKPOINT_FILE)).encode())

    def see(self, name: Name, text: bytes) -> chain.Checkpoint | None:
        """One that lies under this name, wherever that is; None for what none of the known keys has signed as a checkpoint."""
        self.changes += 1
        try:
            payload = envelope.opened(envelope.Envelope.read(text), self._trusted, envelope.CHECKPOINT)
            point = chain.Checkpoint.from_json(payload)
        except (envelope.EnvelopeError, ValidationError) as error:
            log.warning("checkpoint %s is none of ours: %s", name[1], type(error).__name__)
            return None
        self._known[name] = point
        return point

    def remove(self, manifest: Manifest) -> None:
        """It was seen: whoever takes it away does not unsay it."""

    def bookmark(self, resource_version: str, namespace: str | None) -> None:
        """Nothing depends on how far the watch has come: checkpoints do not change."""

    def replace(self, seen: set[Name], resource_version: str, namespace: str | None) -> None:
        """The end of a list; see `remove`."""

    def of(self, namespace: str) -> list[tuple[str, chain.Checkpoint]]:
        return [(name, point) for (_, name), point in sorted(self._known.items()) if point.namespace == namespace]

    def namespaces(self) -> set[str]:
        return {point.namespace for point in self._known.values()}

    def newest(self, namespace: str, place: str = "") -> chain.Checkpoint | None:
        """Of all places, or of one."""
        points = (point for (where, _), point in self._known.items() if point.namespace == namespace and place in ("", where))
        return max(points, key=lambda point: point.seq, default=None)


def _is_of(kept: Kept, uid: str, run_key: str, artifact: str) -> bool:
    return (kept.uid, kept.run_key, kept.artifact) == (uid, run_key, artifact)


def config_map(namespace: str, name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> dict[str, Any]:
    """A ConfigMap that nobody can change; it can only be removed, and that leaves a gap."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": dict(data)}
