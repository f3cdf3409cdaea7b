"""Sections of a record about what came of the run: the training, its evaluation, and what was published."""

from typing import Annotated

from pydantic import Field

from finetune_record.agreement import Classification, Obligation
from finetune_record.bounds import Count, Decimal, Hex, Moment, Number, Reference, Text, Uri, Word
from finetune_record.materials import File
from finetune_trainer.contract import Digest, Document


class RunSection(Document):
    """The training itself."""

    started_at: Moment | None = None
    finished_at: Moment | None = None
    steps: Count | None = None
    epoch: Decimal | None = None
    loss: Decimal | None = None
    evaluation_loss: Decimal | None = None
    tokens: Count | None = None
    seconds: Count | None = Field(default=None, description="Running time of the pods that trained, over all attempts.")
    attempts: Count | None = None
    interruptions: Count | None = None
    resumed_from_step: Count | None = None
    loss_curve_digest: Digest | None = None
    accelerator_seconds: Count | None = None
    energy_joules: Count | None = None
    training_flop: Decimal | None = Field(default=None, description="Estimated floating point operations.")
    base_training_flop: Decimal | None = Field(default=None, description="Of the base model's own training, as its maker states it.")


class MetricOutcome(Document):
    """One metric on the same items for base and tuned, with a paired interval of the difference."""

    name: Word
    base: Decimal
    tuned: Decimal
    delta: Decimal
    low: Decimal
    high: Decimal
    verdict: Word = Field(description="Pass, Fail, Inconclusive or NotGated.")
    seed: Count | None = None


class GateOutcome(Document):
    """What one gate said; ``method`` is the statistical test by name."""

    name: Word
    verdict: Word
    items: Count | None = None
    method: Word | None = None
    estimate: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    message: Text = ""


class JudgeOutcome(Document):
    """Who was asked which of two answers is better, and so was shown questions and answers; each pair in both orders.

    ``model`` and ``fingerprint`` are what answered, by the endpoint's own words: it tells no digest of its weights.
    """

    endpoint: Uri
    model: Reference | None = None
    fingerprint: Reference | None = None
    prompt_digest: Digest = Field(description="Of all that every question has in common.")
    usable: bool = Field(
        description="Whether it was right about enough pairs whose better answer is known, and its verdicts could be read."
    )
    message: Text = ""
    calibration_pairs: Count
    calibration_right: Count
    wins: Count = Field(description="Pairs in which the tuned model's answer was better by both orders.")
    losses: Count
    ties: Count


class EvaluationSection(Document):
    """How the tuned model compares with its base, and what the gates made of it."""

    verdict: Word
    items: Count
    message: Text = ""
    metrics: list[MetricOutcome] = Field(default_factory=list, max_length=32)
    gates: list[GateOutcome] = Field(default_factory=list, max_length=64)
    profile_digest: Digest | None = Field(default=None, description="Of the gates as they were before anything was evaluated.")
    sealed_at: Moment | None = Field(default=None, description="When the gates were fixed.")
    dataset_digest: Digest | None = Field(default=None, description="Of the evaluation items.")
    looks: Count | None = Field(default=None, description="How often these items have been used to decide.")
    items_digest: Digest | None = Field(default=None, description="Of the outcome of every item.")
    harness: Annotated[dict[Word, Word], Field(max_length=16)] | None = Field(default=None, description="Versions of what measured.")
    judge: JudgeOutcome | None = None


class Retention(Document):
    record_until: Moment | None = None
    reports_until: Moment | None = None
    checkpoints_until: Moment | None = None


class OutputSection(Document):
    """What was published. ``documents`` lie beside the adapter's folder, in ``<digest hex>.meta``."""

    uri: Uri
    digest: Digest = Field(description="Over the sorted names and digests of the files.")
    bytes: Count | None = None
    promotable: bool | None = None
    classification: Classification | None = None
    obligations: list[Obligation] = Field(default_factory=list, max_length=32)
    record_digest: Digest | None = Field(
        default=None, description="Of the trainer's record.json, which has the digest of every other document."
    )
    documents: list[File] = Field(
        default_factory=list, max_length=32, description="Reports and settings, by digest; record.json has the digests of all others."
    )
    retention: Retention | None = None


class ChainLink(Document):
    """The record's place among those of its namespace."""

    namespace: Annotated[str, Field(min_length=1, max_length=63)]
    seq: Number = Field(description="Counted from 1.")
    prev: Digest | None = Field(default=None, description="SHA-256 of the statement before; absent in the first.")
    recorded_at: Moment
    key_id: Hex = Field(description="SHA-256 of the public key that signs, as DER.")
