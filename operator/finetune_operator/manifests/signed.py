"""How a signed record reaches the pod that publishes: as annotations of the pod that it reads as files, without another object to write.

All annotations of an object together may hold 256 KiB; a record and a signature of 24 files take some 20.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_operator.api.base import ANNOTATION_MODEL_SIGNATURE, ANNOTATION_RECORD
from finetune_trainer.contract import MODEL_SIGNATURE_FILE, RECORD_FILE, RECORD_MOUNT

_FILES = {ANNOTATION_RECORD: RECORD_FILE, ANNOTATION_MODEL_SIGNATURE: MODEL_SIGNATURE_FILE}


@dataclass(frozen=True)
class SignedRecord:
    """The envelope, and the signature of the files; the latter is empty where they are not known one by one."""

    envelope: str
    model_signature: str = ""

    @property
    def annotations(self) -> Mapping[str, str]:
        texts = {ANNOTATION_RECORD: self.envelope, ANNOTATION_MODEL_SIGNATURE: self.model_signature}
        return {name: text for name, text in texts.items() if text}

    @property
    def volume(self) -> dict[str, Any]:
        items = [{"path": _FILES[name], "fieldRef": {"fieldPath": f"metadata.annotations['{name}']"}} for name in self.annotations]
        return {"name": "record", "downwardAPI": {"items": items}}

    @property
    def mount(self) -> dict[str, Any]:
        return {"name": "record", "mountPath": RECORD_MOUNT, "readOnly": True}
