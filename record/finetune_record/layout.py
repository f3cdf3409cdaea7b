"""Where things lie: an adapter's folder is named by its digest, and what describes it is beside it."""

from typing import Final

from finetune_record.bounds import hex_of
from finetune_trainer.contract import Digest

META_SUFFIX: Final = ".meta"
RECORD_FILE: Final = "record.dsse.json"
"""In the folder of documents, and the key in every ConfigMap of a chain: the signed record."""
MODEL_SIGNATURE_FILE: Final = "model.sig"
TRAINER_RECORD_FILE: Final = "record.json"
"""The trainer's own record, unsigned; the signed one holds its digest."""
CHECKPOINT_FILE: Final = "checkpoint.dsse.json"
"""Key in the ConfigMap of a checkpoint: the signed `chain.Checkpoint`."""


def folder_name(digest: Digest) -> str:
    return hex_of(digest)


def meta_name(digest: Digest) -> str:
    return hex_of(digest) + META_SUFFIX
