"""Envelope, bundle and keys: what is signed verifies, and whatever is changed afterwards does not."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from finetune_record import bundle, envelope, keys
from tests.unit.record import examples

TRUSTED = {keys.key_id(examples.KEY.public_key()): examples.KEY.public_key()}
PAYLOAD = b'{"a":1}'


def test_what_was_sealed_opens_and_equal_payloads_have_equal_envelopes() -> None:
    sealed = envelope.seal(PAYLOAD, examples.KEY)
    assert envelope.opened(envelope.Envelope.read(sealed.to_bytes()), TRUSTED) == PAYLOAD
    assert envelope.seal(PAYLOAD, examples.KEY) == sealed


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"payloadType": "text/plain"}, envelope.PayloadTypeWrong),
        ({"signatures": []}, envelope.SignatureMissing),
        ({"payload": "eyJhIjoyfQ=="}, envelope.SignatureWrong),
        ({"payload": "eyJhIjoxfR=="}, envelope.EnvelopeMalformed),
        ({"payload": "%"}, envelope.EnvelopeMalformed),
        ({"signatures": [{"keyid": "00" * 32, "sig": "AAAA"}]}, envelope.KeyUnknown),
        ({"signatures": [{"keyid": next(iter(TRUSTED)), "sig": "AAAA"}]}, envelope.SignatureWrong),
        ({"more": 1}, envelope.EnvelopeMalformed),
    ],
)
def test_each_change_has_a_name(change: dict[str, object], error: type[Exception]) -> None:
    sealed = json.loads(envelope.seal(PAYLOAD, examples.KEY).to_bytes()) | change
    with pytest.raises(error):
        envelope.opened(envelope.Envelope.read(json.dumps(sealed, separators=(",", ":"), sort_keys=True).encode()), TRUSTED)


def test_a_byte_without_meaning_is_a_change_too() -> None:
    text = envelope.seal(PAYLOAD, examples.KEY).to_bytes()
    with pytest.raises(envelope.EnvelopeMalformed, match="bytes were changed"):
        envelope.Envelope.read(text.replace(b",", b", ", 1))


def test_every_signature_must_be_of_a_trusted_key() -> None:
    first, second = (envelope.seal(PAYLOAD, key) for key in (examples.KEY, examples.OTHER_KEY))
    both = first.model_copy(update={"signatures": [*first.signatures, *second.signatures]})
    with pytest.raises(envelope.KeyUnknown):
        envelope.opened(both, TRUSTED)
    other = examples.OTHER_KEY.public_key()
    assert envelope.opened(both, {**TRUSTED, keys.key_id(other): other}) == PAYLOAD


def test_the_bundle_vouches_for_the_files_and_for_no_other(tmp_path: Path) -> None:
    listed = {file.name: file.digest for file in examples.files()}
    made = bundle.sign_files("adapter", listed, examples.KEY)
    assert bundle.signed_files(bundle.Bundle.read(made.to_bytes()), TRUSTED) == listed
    with pytest.raises(envelope.KeyUnknown):
        bundle.signed_files(bundle.sign_files("adapter", listed, examples.OTHER_KEY), TRUSTED)
    foreign = made.model_copy(update={"dsse_envelope": envelope.seal(PAYLOAD, examples.KEY)})
    with pytest.raises(envelope.EnvelopeMalformed, match="no model signature"):
        bundle.signed_files(foreign, TRUSTED)


def test_keys_are_p_256_and_several_fit_into_one_file(tmp_path: Path) -> None:
    pem = b"".join(keys.public_pem(key.public_key()) for key in (examples.KEY, examples.OTHER_KEY))
    assert list(keys.public_keys(pem)) == [keys.key_id(key.public_key()) for key in (examples.KEY, examples.OTHER_KEY)]
    private = examples.KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert keys.key_id(keys.private_key(private).public_key()) == next(iter(TRUSTED))
    for wrong in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(keys.KeyUnusable, match="P-256"):
            keys.private_key(wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for text in (b"", private, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(keys.KeyUnusable):
            keys.public_keys(text)
    (tmp_path / "wrong.pem").write_bytes(b"nothing")
    with pytest.raises(keys.KeyUnusable, match=r"wrong\.pem"):
        keys.public_keys_of([tmp_path / "wrong.pem"])
