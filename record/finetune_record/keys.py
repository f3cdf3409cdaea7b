"""Keys that sign and verify: ECDSA on P-256, which signatures of models, cosign and hardware modules know too."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key

from finetune_record.bounds import Hex

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
PublicKeys = Mapping[Hex, PublicKey]
"""Public keys by their ids."""
_END = b"-----END PUBLIC KEY-----"


class KeyUnusable(ValueError):
    """Not a key of the kind that is asked for; the message never holds a part of it."""


def private_key(pem: bytes) -> PrivateKey:
    """The key in a PKCS #8 or SEC 1 PEM without a password. Raises `KeyUnusable`."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("no private key as PEM without a password") from error
    if not isinstance(key, PrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyUnusable("not an ECDSA key on P-256; make one with: openssl ecparam -name prime256v1 -genkey -noout")
    return key


def public_keys(pem: bytes) -> PublicKeys:
    """The keys in one or several PEM blocks. Raises `KeyUnusable`."""
    blocks = [block + _END for block in pem.split(_END)[:-1]]
    if not blocks:
        raise KeyUnusable("no public key as PEM (BEGIN PUBLIC KEY)")
    keys = [_public_key(block.lstrip()) for block in blocks]
    return {key_id(key): key for key in keys}


def public_keys_of(files: Iterable[Path]) -> PublicKeys:
    """The keys in all of the files. Raises `KeyUnusable` with the file's name, `OSError`."""
    found: dict[Hex, PublicKey] = {}
    for file in files:
        try:
            found.update(public_keys(file.read_bytes()))
        except KeyUnusable as error:
            raise KeyUnusable(f"{file}: {error}") from error
    return found


def key_id(key: PublicKey) -> Hex:
    """SHA-256 of the public key as DER, as ``openssl pkey -pubin -outform DER | sha256sum`` prints it."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_pem(key: PublicKey) -> bytes:
    """The public key as PEM, as ``openssl`` writes it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signature(key: PrivateKey, message: bytes) -> bytes:
    """ECDSA with SHA-256, as DER. The same bytes for the same message (RFC 6979), so that signing again writes nothing new."""
    return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the holder of the key has signed the message."""
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _public_key(pem: bytes) -> PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("a block is no public key") from error
    if not isinstance(key, PublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyUnusable("not an ECDSA key on P-256")
    return key
