"""Fingerprints of adapters on the pod's disk, so that a re-load after any restart is held to the first one."""

from pathlib import Path

from pydantic import Field, ValidationError

from finetune_inference.artifact.sealing import write_sealed
from finetune_inference.artifact.store import digest_hex
from finetune_inference.contract import FingerprintToken
from finetune_trainer.contract import Digest, Document


class KeptFingerprint(Document):
    """Of one adapter on one base model."""

    base: str = Field(max_length=512)
    tokens: tuple[FingerprintToken, ...] = Field(max_length=16)


class Fingerprints:
    """Raises ``OSError`` when the disk refuses; an unreadable entry counts as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, digest: Digest, base: str) -> tuple[FingerprintToken, ...] | None:
        try:
            kept = KeptFingerprint.from_json(self._path(digest).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return kept.tokens if kept.base == base else None

    def write(self, digest: Digest, base: str, tokens: tuple[FingerprintToken, ...]) -> None:
        write_sealed(self._path(digest), KeptFingerprint(base=base, tokens=tokens).to_json())

    def _path(self, digest: Digest) -> Path:
        return self._folder / f"{digest_hex(digest)}.json"
