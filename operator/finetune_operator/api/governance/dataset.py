"""The ``TrainingDataset``: one version of data with what it is. Whoever may create one is who may classify."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from finetune_operator.api.base import API_VERSION, ApiModel, Timestamp
from finetune_operator.api.finetunejob import ObjectMeta
from finetune_operator.api.governance.status import TrainingDatasetStatus
from finetune_operator.api.governance.vocabulary import ONE_VERSION, WITHDRAWN_FOR_GOOD, LabelWord
from finetune_operator.api.markers import ListMap, ListSet, Rule
from finetune_operator.api.scalars import ContentDigest
from finetune_operator.api.uris import PvcUri
from finetune_trainer.contract import DataFormat
from finetune_trainer.contract.governance.vocabulary import ANY, Level

KIND = "TrainingDataset"
PLURAL = "trainingdatasets"
SINGULAR = "trainingdataset"
SHORT_NAMES = ("tds",)


class GeneratorSpec(ApiModel):
    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Name of the model.")
    licence: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Key of its licence, as SPDX or ScanCode spell it; some reach what the model has written."
    )


class WithdrawnSpec(ApiModel):
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="Why, for whoever was using the data.")


class TrainingDatasetSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = (ONE_VERSION, WITHDRAWN_FOR_GOOD)

    uri: PvcUri = Field(
        description="pvc://CLAIM/PATH of a file, or of a folder whose files are read in order of their names; a claim of this namespace."
    )
    format: DataFormat = Field(default=DataFormat.AUTO, description="How rows are spelled; Auto recognises it and reports why.")
    digest: ContentDigest | None = Field(
        default=None, description="Digest of the files; the prepare step refuses others. A policy may demand it."
    )
    level: Level = Field(description="How sensitive the data are, public to restricted.")
    regimes: Annotated[list[LabelWord], Field(max_length=32), ListSet()] = Field(
        default=[], description="Regimes the data stand under: pii, phi, pci, export, minors, and those that the installation adds."
    )
    residency: LabelWord = Field(default=ANY, description="The place where the data must stay; any leaves it open.")
    claims_safe_harbor: bool = Field(
        default=False,
        description="The data are said to be de-identified by Safe Harbor (45 CFR 164.514(b)(2)): a validated identifier refutes that, and "
        "one without a checksum, such as a full date, asks for a waiver.",
    )
    generated_by: Annotated[list[GeneratorSpec], Field(max_length=16), ListMap(("name",))] = Field(
        default=[], description="Models that have written rows; what their licences ask of the tuned model travels with it."
    )
    owner: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Whom to ask about the data; refusals because of them say so. It may change."
    )
    purposes: Annotated[list[LabelWord], Field(max_length=16), ListSet()] = Field(
        default=[], description="What the data may be used for: a job must state one of these in spec.purpose. None: anything."
    )
    retain_until: Timestamp | None = Field(
        default=None, description="From this moment on the data may not be read any more; what was trained before it stays."
    )
    withdrawn: WithdrawnSpec | None = Field(
        default=None,
        description="That nothing is to be made of these data any more. It can be added once and is never taken away; jobs that use "
        "the data, or others of the same digest or place, are refused from then on.",
    )


class TrainingDataset(ApiModel):
    """One version of data: where it lies, its digest, and its classification."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: TrainingDatasetSpec = Field(description="What the data are.")
    status: TrainingDatasetStatus = Field(default=TrainingDatasetStatus(), description="Who uses them.")

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> Self:
        """Read a stored object; raises ``pydantic.ValidationError`` whose locations name the field."""
        return cls.model_validate(manifest)
