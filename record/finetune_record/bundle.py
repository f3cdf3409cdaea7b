"""``model.sig``: a signature over an adapter's files that OpenSSF's ``model_signing`` verifies with our public key.

Made from digests alone, so that whoever signs sees no file. Source: model-signing v1.0, an in-toto statement with the digest of every file
as DSSE in a Sigstore bundle v0.3 with a public key's hint.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationError

from finetune_record import envelope, keys
from finetune_record.bounds import FileName, Hex, Uri, hex_of
from finetune_record.canonical import canonical
from finetune_record.provenance import DigestSet
from finetune_record.statement import MOST_FILES, STATEMENT_TYPE
from finetune_trainer.contract import Digest, Document

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
_SERIALIZATION: Final = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}


class Hint(Document):
    hint: Annotated[str, StringConstraints(max_length=128)]


class Material(Document):
    public_key: Hint
    tlog_entries: list[str] = Field(default_factory=list, max_length=0)


class Bundle(Document):
    """A Sigstore bundle with a signature by a key, without certificate and transparency log."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = MEDIA_TYPE
    verification_material: Material
    dsse_envelope: envelope.Envelope

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The bundle in its one spelling. Raises ``envelope.EnvelopeMalformed``."""
        try:
            bundle = cls.from_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise envelope.EnvelopeMalformed(f"no signature bundle: {f'{place}: ' if place else ''}{first['msg']}") from error
        if bundle.to_bytes() != text:
            raise envelope.EnvelopeMalformed("not spelled as it was written: some bytes were changed that carry no meaning")
        return bundle

    def to_bytes(self) -> bytes:
        """The bundle's one spelling, RFC 8785 JSON."""
        return canonical(self.model_dump(mode="json", by_alias=True))


class _Resource(Document):
    name: FileName
    algorithm: Literal["sha256"]
    digest: Hex


class _Serialization(Document):
    method: Literal["files"]
    hash_type: Literal["sha256"] = Field(alias="hash_type")
    allow_symlinks: Literal[False] = Field(alias="allow_symlinks")


class _Predicate(Document):
    serialization: _Serialization
    resources: list[_Resource] = Field(max_length=MOST_FILES)


class _Subject(Document):
    name: Uri
    digest: DigestSet


class _Statement(Document):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1, max_length=1)
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


def sign_files(name: str, files: Mapping[str, Digest], key: keys.PrivateKey) -> Bundle:
    """The bundle for the folder ``name`` with these files."""
    listed = [(file, hex_of(files[file])) for file in sorted(files, key=lambda file: file.split("/"))]
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(digest for _, digest in listed)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": _SERIALIZATION,
            "resources": [{"name": file, "algorithm": "sha256", "digest": digest} for file, digest in listed],
        },
    }
    return Bundle(
        verification_material=Material(public_key=Hint(hint=hint_of(key.public_key()))),
        dsse_envelope=envelope.seal(canonical(statement), key),
    )


def signed_files(bundle: Bundle, trusted: keys.PublicKeys) -> dict[str, Digest]:
    """The files that the bundle vouches for. Raises ``envelope.EnvelopeError``."""
    payload = envelope.opened(bundle.dsse_envelope, trusted)
    signer = trusted[bundle.dsse_envelope.signatures[0].keyid]
    if bundle.verification_material.public_key.hint != hint_of(signer):
        raise envelope.KeyUnknown("verificationMaterial.publicKey.hint is not that of the key that signed")
    try:
        statement = _Statement.from_json(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise envelope.EnvelopeMalformed(f"no model signature: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    resources = statement.predicate.resources
    if statement.subject[0].digest.sha256 != _root(resource.digest for resource in resources):
        raise envelope.EnvelopeMalformed("subject[0].digest is not that of the listed files")
    return {resource.name: f"sha256:{resource.digest}" for resource in resources}


def hint_of(key: keys.PublicKey) -> Hex:
    """How a bundle names a key: SHA-256 of its PEM."""
    return hashlib.sha256(keys.public_pem(key)).hexdigest()


def _root(digests: Any) -> Hex:
    """SHA-256 over the bytes of all digests in their order."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()
