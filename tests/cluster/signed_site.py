"""A place for records beside a governed namespace, a key that signs them, and what an auditor reads out of it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from finetune_record import chain, envelope, keys
from finetune_record.statement import Statement
from finetune_record.stored import read_records
from finetune_testbed.apiserver import ApiServer
from finetune_trainer.contract import digest_of

Object = dict[str, Any]


def write_key(folder: Path, name: str = "signing.pem") -> Path:
    """A new private key, as ``openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`` makes one."""
    path = folder / name
    path.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public_keys(*files: Path) -> keys.PublicKeys:
    found = [keys.private_key(file.read_bytes()).public_key() for file in files]
    return {keys.key_id(key): key for key in found}


def write_public_key(private: Path) -> Path:
    path = private.with_suffix(".pub")
    path.write_bytes(keys.public_pem(keys.private_key(private.read_bytes()).public_key()))
    return path


@dataclass(frozen=True)
class Registry:
    """The namespaces that an operator is told to keep records and checkpoints in."""

    server: ApiServer
    records: str
    checkpoints: str
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        where = ("--records-namespace", self.records, "--checkpoint-namespace", self.checkpoints, "--checkpoint-every", "2")
        return ("--signing-key", str(self.key), *where)

    def objects(self, of: str, namespace: str = "") -> list[Object]:
        """ConfigMaps of a chain, or all there are without a namespace."""
        selector = chain.NAMESPACE_LABEL + (f"%3D{namespace}" if namespace else "")
        items: list[Object] = self.server.request("GET", f"/api/v1/namespaces/{of}/configmaps?labelSelector={selector}")["items"]
        return items

    def statements(self, namespace: str, trusted: keys.PublicKeys | None = None) -> list[tuple[Statement, chain.Entry]]:
        """The chain of a namespace in order, every signature verified."""
        found = []
        for item in self.objects(self.records, namespace):
            text = item["data"]["record.dsse.json"].encode()
            payload = envelope.opened(envelope.Envelope.read(text), trusted or public_keys(self.key))
            statement = Statement.from_json(payload)
            found.append((statement, chain.Entry(statement.predicate.chain, digest_of(payload), item["metadata"]["name"])))
        return found

    def export(self, namespace: str, to: Path) -> Path:
        """What ``kubectl get configmaps -o json`` prints of a chain."""
        to.write_text(json.dumps({"items": self.objects(self.records, namespace)}))
        assert read_records(to)
        return to


@contextmanager
def registry(server: ApiServer, folder: Path) -> Iterator[Registry]:
    """Two namespaces of their own, and a key."""
    suffix = uuid.uuid4().hex[:8]
    made = Registry(server, f"records-{suffix}", f"checkpoints-{suffix}", write_key(folder))
    for name in (made.records, made.checkpoints):
        server.request("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield made
    for name in (made.records, made.checkpoints):
        server.request("DELETE", f"/api/v1/namespaces/{name}")
