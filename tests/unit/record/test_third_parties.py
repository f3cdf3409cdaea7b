"""What we sign, verified by programs that are not ours: securesystemslib, model_signing and openssl."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from finetune_record.keys import public_pem
from tests.unit.record import examples
from tests.unit.record.published import Place, publish

MODEL_SIGNING = """
import sys
def guard(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"dialled: {event}")
sys.addaudithook(guard)
from model_signing import verifying
signature, *cases = sys.argv[1:]
for folder, key in zip(cases[::2], cases[1::2]):
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, signature)
        print("verified")
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return publish(tmp_path)


def test_securesystemslib_accepts_our_envelope_and_no_other(place: Place) -> None:
    sealed = json.loads(place.record.read_bytes())
    key = SSlibKey.from_crypto(examples.KEY.public_key(), keyid=sealed["signatures"][0]["keyid"])
    theirs = Envelope.from_dict(json.loads(place.record.read_bytes()))
    assert list(theirs.verify([key], 1)) == [key.keyid]
    assert json.loads(theirs.payload)["_type"] == "https://in-toto.io/Statement/v1"
    sealed["payload"] = base64.b64encode(theirs.payload.replace(b"jane", b"joan")).decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(sealed).verify([key], 1)


def test_model_signing_accepts_our_bundle_and_no_changed_file(place: Place) -> None:
    other, changed = place.root / "other.pem", place.root / "changed"
    other.write_bytes(public_pem(examples.OTHER_KEY.public_key()))
    shutil.copytree(place.adapter, changed)
    (changed / "adapter_config.json").write_bytes(b"{}\n")
    cases = [(place.adapter, place.key), (place.adapter, other), (changed, place.key)]
    command = [sys.executable, "-c", MODEL_SIGNING, place.meta / "model.sig", *(path for case in cases for path in case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole, with_another_key, with_another_file = done.stdout.splitlines()
    assert whole == "verified"
    assert "Key mismatch" in with_another_key
    assert "Hash mismatch for 'adapter_config.json'" in with_another_file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_openssl_verifies_the_record_by_hand_as_the_documentation_says(place: Place) -> None:
    script = _documented("openssl").replace("record.dsse.json", str(place.record)).replace("public.pem", str(place.key))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=place.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stdout
    assert examples.statement().predicate.chain.key_id in done.stdout


def _documented(word: str) -> str:
    """The block of docs/governance/record.md that uses this program."""
    text = (Path(__file__).parents[3] / "docs/governance/record.md").read_text()
    return next(block.removeprefix("sh\n") for block in text.split("```")[1::2] if block.startswith("sh\n") and word in block)
