"""What the record beside an adapter says of it, and whether it is to be believed."""

from typing import Annotated

from pydantic import Field, StringConstraints

from finetune_inference.contract.naming import VersionName
from finetune_trainer.contract import Digest, Document
from finetune_trainer.contract.governance import Classification
from finetune_trainer.contract.governance.facts import Proof
from finetune_trainer.contract.governance.vocabulary import LabelWord, Level
from finetune_trainer.contract.model import Licence


class RecordedData(Document):
    """Data that an adapter was trained on; ``namespace`` and ``name`` are those of the TrainingDataset, where there was one."""

    namespace: str | None = Field(default=None, max_length=63)
    name: str | None = Field(default=None, max_length=253)
    uri: str | None = Field(default=None, max_length=1024)
    digest: Digest | None = None


class AdapterRecord(Document):
    """``signature`` is valid where one of the keys that were asked about has signed; only then does the classification count."""

    signature: Proof = Proof.ABSENT
    record: Proof = Proof.ABSENT
    classification: Classification | None = None
    data: Annotated[list[RecordedData], Field(max_length=8)] = Field(default_factory=list)
    licences: Annotated[list[Licence], Field(max_length=4)] = Field(default_factory=list)


class RequiredProof(Document):
    """What has to be proven of the files of these versions before an engine sees them.

    The record beside them is signed with one of the keys (PEM), is about their digest, and says of no more than level and regimes.
    """

    public_keys: Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(min_length=1, max_length=8)]
    level: Level
    regimes: Annotated[list[LabelWord], Field(max_length=64)] = Field(default_factory=list)
    versions: Annotated[list[VersionName], Field(max_length=16)] = Field(default_factory=list)
