"""DSSE: the envelope that holds a statement's bytes with signatures over them.

Source: Dead Simple Signing Envelope, protocol v1. What is signed is the pre-authentication encoding of payload type and payload, so that no
reader parses JSON before it is known whose it is.
"""

import base64
import binascii
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, ValidationError

from finetune_record import keys
from finetune_record.canonical import canonical
from finetune_trainer.contract import Document

IN_TOTO: Final = "application/vnd.in-toto+json"
CHECKPOINT: Final = "application/vnd.finetune.checkpoint+json"
LARGEST_ENVELOPE: Final = 1 << 20
"""A ConfigMap holds no more."""


class EnvelopeError(ValueError):
    """Why an envelope proves nothing."""


class EnvelopeMalformed(EnvelopeError):
    """It is no DSSE envelope, or not in its one spelling."""


class PayloadTypeWrong(EnvelopeError):
    """What it holds is something else."""


class SignatureMissing(EnvelopeError):
    """Nobody has signed it."""


class KeyUnknown(EnvelopeError):
    """It is signed, with none of the keys that are trusted here."""


class SignatureWrong(EnvelopeError):
    """A key that is trusted here has not signed this payload."""


class Signature(Document):
    keyid: Annotated[str, StringConstraints(max_length=128)]
    sig: Annotated[str, StringConstraints(max_length=1024)]


class Envelope(Document):
    """Payload and signatures in Base64."""

    payload_type: Annotated[str, StringConstraints(max_length=128)]
    payload: Annotated[str, StringConstraints(max_length=LARGEST_ENVELOPE)]
    signatures: list[Signature] = Field(max_length=8)

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The envelope in its one spelling. Raises `EnvelopeMalformed`."""
        if len(text) > LARGEST_ENVELOPE:
            raise EnvelopeMalformed(f"larger than {LARGEST_ENVELOPE} bytes")
        try:
            envelope = cls.from_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise EnvelopeMalformed(f"no DSSE envelope: {f'{place}: ' if place else ''}{first['msg']}") from error
        if envelope.to_bytes() != text:
            raise EnvelopeMalformed("not spelled as it was written: some bytes were changed that carry no meaning")
        return envelope

    def to_bytes(self) -> bytes:
        """The envelope's one spelling, RFC 8785 JSON."""
        return canonical(self.model_dump(mode="json", by_alias=True))

    @property
    def content(self) -> bytes:
        """The payload, whoever wrote it. Raises `EnvelopeMalformed`."""
        return _decoded(self.payload)


def seal(payload: bytes, key: keys.PrivateKey, payload_type: str = IN_TOTO) -> Envelope:
    """The payload, signed. Equal payloads make equal envelopes."""
    made = keys.signature(key, encoded(payload_type, payload))
    signature = Signature(keyid=keys.key_id(key.public_key()), sig=base64.b64encode(made).decode())
    return Envelope(payload_type=payload_type, payload=base64.b64encode(payload).decode(), signatures=[signature])


def opened(envelope: Envelope, trusted: keys.PublicKeys, payload_type: str = IN_TOTO) -> bytes:
    """The payload, if each signature is of a trusted key. Raises a subclass of `EnvelopeError` otherwise."""
    if envelope.payload_type != payload_type:
        raise PayloadTypeWrong(f"payloadType is {envelope.payload_type!r}, not {payload_type!r}")
    if not envelope.signatures:
        raise SignatureMissing("signatures is empty: nobody has signed it")
    payload = envelope.content
    message = encoded(payload_type, payload)
    for position, signature in enumerate(envelope.signatures):
        key = trusted.get(signature.keyid)
        if key is None:
            raise KeyUnknown(f"signatures[{position}].keyid is {signature.keyid}, which is none of the given keys: {', '.join(trusted)}")
        if not keys.signed(key, _decoded(signature.sig), message):
            raise SignatureWrong(
                f"signatures[{position}]: payload, payloadType or signature was changed after key {signature.keyid} signed"
            )
    return payload


def encoded(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (DSSE's PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EnvelopeMalformed("not Base64") from error
    if base64.b64encode(content).decode() != text:
        raise EnvelopeMalformed("Base64 with bits that carry no meaning")
    return content
