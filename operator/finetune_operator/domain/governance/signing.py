"""What a decision may know of the signing of records, and what it asks for: values only, the key is somebody else's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from finetune_operator.api.governance.job import RecordStatus
from finetune_operator.manifests.signed import SignedRecord
from finetune_record.sections import Sections


@dataclass(frozen=True)
class RecordRequest:
    """What is to be signed and chained, once: the sections of the record, and the adapter's files by name with their digests."""

    namespace: str
    uid: str
    run_key: str
    mark: str
    """Short hash of object and run, as on the labels of its children."""
    artifact: str
    sections: Sections
    files: Mapping[str, str]


@dataclass(frozen=True)
class Recorded:
    """A record that is in its chain."""

    run_key: str
    artifact: str
    place: RecordStatus
    signed: SignedRecord


@dataclass(frozen=True)
class Refusal:
    """Why a record could not be added, for a person to act upon, and when that was."""

    message: str
    at: datetime


@dataclass(frozen=True)
class Signing:
    """The installation signs. ``recorded`` is the record of the run under way, as soon as it is in the chain."""

    version: str
    """The operator's own."""
    cluster: str = ""
    """UID of the namespace kube-system; empty where it is not known."""
    recorded: Recorded | None = None
    refusal: Refusal | None = None
