"""Sections of a record about what the adapter was made of and with: data, base model, code, environment."""

from typing import Annotated

from pydantic import Field

from finetune_record.agreement import Classification, Obligation
from finetune_record.bounds import Count, Decimal, FileName, Moment, Name, Reference, Text, Uri, Word
from finetune_trainer.contract import Digest, Document


class File(Document):
    name: FileName
    digest: Digest
    bytes: Count | None = None


class Generator(Document):
    """A model that has written rows."""

    name: Name
    licence: Annotated[str, Field(max_length=128)]


class Measured(Document):
    """A headline number of a report."""

    name: Word
    value: Decimal


class Report(Document):
    """A document that lies with the adapter or elsewhere; the record holds its digest and its headlines, never its text."""

    kind: Word = Field(description="scan, name-model (which looked for names), review, duplicates, overlap, and whatever else was made.")
    digest: Digest
    file: FileName | None = Field(default=None, description="Its name in the folder of documents.")
    headlines: list[Measured] = Field(default_factory=list, max_length=32)


class Source(Document):
    """One source of rows."""

    field: Word = Field(description="The field of the job that names it.")
    uri: Uri
    digest: Digest | None = None
    dataset: Name | None = Field(default=None, description="The TrainingDataset, if it is registered.")
    dataset_uid: Word | None = None
    snapshot: Name | None = None
    rows: Count | None = None
    tokens: Count | None = None
    classification: Classification | None = Field(default=None, description="As registered.")
    purpose: Text | None = None
    licence: Annotated[str, Field(max_length=128)] | None = None
    owner: Name | None = None
    consent: Reference | None = Field(default=None, description="Where consent is documented.")
    generated_by: list[Generator] | None = Field(default=None, max_length=16)
    share: Decimal | None = Field(default=None, description="Of all rows, between 0 and 1, where sources are mixed.")


class Dropped(Document):
    reason: Word
    count: Count


class DataSection(Document):
    """What was trained on, as the prepare step sealed it."""

    digest: Digest | None = Field(default=None, description="Of the sealed training data, which the trainer compared when it read them.")
    format: Word | None = None
    examples: Count | None = None
    validation_examples: Count | None = None
    evaluation_items: Count | None = None
    tokens: Count | None = None
    dropped: list[Dropped] | None = Field(default=None, max_length=16)
    duplicates: Count | None = Field(default=None, description="Examples that repeat another one.")
    evaluation_overlap: Count | None = Field(default=None, description="Evaluation items that also occur among the examples.")
    sources: list[Source] = Field(default_factory=list, max_length=32)
    reports: list[Report] = Field(default_factory=list, max_length=32)


class Licence(Document):
    key: Annotated[str, Field(min_length=1, max_length=128)]
    category: Word | None = None
    text_digest: Digest | None = None


class BaseSection(Document):
    """The model that was tuned."""

    uri: Uri
    digest: Digest | None = None
    revision: Name | None = None
    files: list[File] | None = Field(default=None, max_length=256)
    licences: list[Licence] | None = Field(default=None, max_length=16)
    obligations: list[Obligation] = Field(default_factory=list, max_length=16)
    signature: Word | None = Field(default=None, description="Valid, Invalid or Absent.")
    tokenizer_digest: Digest | None = None
    chat_template_digest: Digest | None = None
    adapter_digest: Digest | None = Field(default=None, description="The adapter that the run went on from.")


class CodeSection(Document):
    """What ran."""

    trainer_image: Reference | None = Field(default=None, description="As the node reports it, with its digest.")
    versions: Annotated[dict[Word, Word], Field(max_length=32)] | None = Field(default=None, description="Of libraries, by name.")
    settings_digest: Digest | None = Field(default=None, description="Of the effective settings.")
    command: list[Reference] | None = Field(default=None, max_length=32)
    seed: Count | None = None
    deterministic: bool | None = None


class EgressProbe(Document):
    """Whether the outside could be reached from where the data were."""

    result: Word = Field(description="Closed, Open or Inconclusive.")
    log_digest: Digest | None = Field(
        default=None, description="Of the report of the probe before the training, which its pod's log has too."
    )
    watch_digest: Digest | None = Field(
        default=None, description="Of the last report of the tries while it trained, likewise; absent where it ended before the first."
    )
    watch_rounds: Count | None = Field(default=None, description="How often it was tried again while it trained.")
    at: Moment | None = None


class EnvironmentSection(Document):
    """Where it ran."""

    node: Name | None = None
    node_labels: (
        Annotated[dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=256)]], Field(max_length=32)] | None
    ) = Field(default=None, description="Of the node, as they were read after the pod was bound.")
    accelerator: Name | None = None
    accelerators: Count | None = None
    driver: Word | None = None
    runtime_class: Name | None = None
    attestation_digest: Digest | None = None
    tracker: Name | None = Field(default=None, description="Host that the training logged its figures to.")
    egress: EgressProbe | None = None
