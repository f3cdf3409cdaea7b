"""What the operator has signed about a governed run, as the publish step finds it: read, held against the artifact, and put beside it.

The key never comes here, and nothing here judges a signature: whoever loads the artifact does, with a public key that he trusts.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from finetune_trainer.contract import MODEL_SIGNATURE_FILE, RECORD_FILE
from finetune_trainer.pod.errors import StorageError
from finetune_trainer.pod.sealing import write_sealed

_HINT = "It is another run's, or was changed on its way. The next attempt brings the one that the operator keeps."


@dataclass(frozen=True)
class Signed:
    """The texts as they are published; ``model_signature`` is empty where the files were too many to sign one by one."""

    record: str
    model_signature: str = ""

    def write(self, folder: Path) -> None:
        """Put them into the folder that describes the artifact."""
        write_sealed(folder / RECORD_FILE, self.record)
        if self.model_signature:
            write_sealed(folder / MODEL_SIGNATURE_FILE, self.model_signature)

    def lies_in(self, folder: Path) -> bool:
        """Whether exactly this was published there."""
        return _text(folder / RECORD_FILE) == self.record and _text(folder / MODEL_SIGNATURE_FILE) == self.model_signature

    def require_subject(self, digest: str) -> None:
        """Raise ``StorageError`` unless the record is about the artifact with this digest."""
        if digest.removeprefix("sha256:") not in _subjects(self.record):
            raise StorageError("RecordMismatch", f"the signed record is not about {digest}", _HINT)


def read_signed(folder: Path) -> Signed | None:
    """What lies in the mounted folder; None for a run that is not signed. Raises ``OSError``."""
    record = _text(folder / RECORD_FILE)
    return Signed(record, _text(folder / MODEL_SIGNATURE_FILE)) if record else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _subjects(record: str) -> frozenset[str]:
    """SHA-256 of every subject of the in-toto statement in a DSSE envelope; raises ``StorageError`` for anything else."""
    try:
        statement = json.loads(base64.b64decode(json.loads(record)["payload"], validate=True))
        return frozenset(str(subject["digest"]["sha256"]) for subject in statement["subject"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError("RecordUnreadable", f"the signed record cannot be read ({type(error).__name__})", _HINT) from error
