"""What the declared sources of a run turned out to be, as status tells it."""

from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel
from finetune_operator.api.markers import ListMap, ListSet
from finetune_operator.api.scalars import ContentDigest
from finetune_trainer.contract.model import LicenceCategory, WeightsFormat


class LicenceStatus(ApiModel):
    key: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="As SPDX or ScanCode spell it; else as the files do.")
    category: LicenceCategory | None = Field(default=None, description="Of the ScanCode licence database; absent: not in it.")


class BaseModelStatus(ApiModel):
    licences: Annotated[list[LicenceStatus], Field(max_length=8), ListMap(("key",))] = Field(
        default=[], description="Licences that its files name; all of them hold."
    )
    claimed: LicenceStatus | None = Field(default=None, description="What the job says itself.")
    formats: Annotated[list[WeightsFormat], Field(max_length=3), ListSet()] = Field(
        default=[], description="Of the weights that are there."
    )
    remote_code: bool = Field(default=False, description="Whether loading it would run code that lies beside its weights.")


class TrainedOn(ApiModel):
    """Data as they were declared: what a withdrawal is held against."""

    namespace: Annotated[str, Field(max_length=63)] | None = Field(default=None, description="Namespace of the claim; absent: this one.")
    name: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="The TrainingDataset, where there is one.")
    uri: Annotated[str, Field(max_length=2048)] | None = Field(default=None, description="Where they lie.")
    digest: ContentDigest | None = Field(default=None, description="Their digest, where it was declared or read.")


class RunInputs(ApiModel):
    """What the declared sources turned out to be."""

    base_uri: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="URI of the base model that was declared.")
    base_digest: ContentDigest | None = Field(default=None, description="Digest of the base model's files.")
    base_model: BaseModelStatus | None = Field(
        default=None, description="What the base model's files say about it; absent where governance has no say."
    )
    dataset_digest: ContentDigest | None = Field(default=None, description="Digest of the sealed dataset.")
    dataset: TrainedOn | None = Field(
        default=None, description="The training data as they were declared; absent where governance has no say."
    )
    image_digest: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Trainer image that ran, as the node reports it."
    )
