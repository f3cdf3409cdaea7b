"""``spec.dataset.ref`` followed: the rows of a TrainingDataset in the place of inline ones, or why that cannot be."""

from dataclasses import dataclass

from finetune_operator.api.governance.dataset import TrainingDatasetSpec
from finetune_operator.api.reasons import Reason
from finetune_operator.api.spec import FineTuneJobSpec, InlineDataset
from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract import DataFormat, Stage
from finetune_trainer.contract.governance import Classification
from finetune_trainer.contract.governance.facts import Generator
from finetune_trainer.contract.governance.vocabulary import ANY


@dataclass(frozen=True)
class Unresolved:
    """Why a reference leads nowhere, and what to do."""

    reason: Reason
    message: str


def follow(spec: FineTuneJobSpec, view: GovernanceView | None) -> FineTuneJobSpec | Unresolved:
    """The spec with the rows that it refers to; the reference stays in it, so that a run still says what it was accepted with."""
    reference = spec.dataset.ref
    if reference is None:
        return spec
    if view is None:
        text = "spec.dataset.ref needs an operator that looks after TrainingDatasets. Install with governance.enabled, or use inline."
        return Unresolved(Reason.GOVERNANCE_OFF, text)
    dataset = view.dataset(reference.name)
    if dataset is None:
        text = f"spec.dataset.ref: there is no TrainingDataset {reference.name} in this namespace. Have its steward register it."
        return Unresolved(Reason.DATASET_MISSING, text)
    inline = InlineDataset(uri=dataset.uri, format=dataset.format, digest=dataset.digest)
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"inline": inline})})


def classification_of(record: TrainingDatasetSpec) -> Classification:
    """What a record says that its data are."""
    residencies = frozenset() if record.residency == ANY else frozenset({record.residency})
    return Classification(level=record.level, regimes=frozenset(record.regimes), residencies=residencies)


def generators_of(record: TrainingDatasetSpec) -> tuple[Generator, ...]:
    return tuple(Generator(name=each.name, licence=each.licence) for each in record.generated_by)


def unusable(spec: FineTuneJobSpec) -> str:
    """What the definition's rules say about inline rows, said of rows that were referred to; empty where nothing is wrong."""
    dataset = spec.dataset
    if dataset.ref is None:
        return ""
    rows = dataset.rows
    if spec.stage is Stage.CONTINUED_PRETRAINING and rows.format not in (DataFormat.AUTO, DataFormat.TEXT):
        return f"spec.dataset.ref: stage ContinuedPretraining reads raw text, and this TrainingDataset is {rows.format.value}"
    if spec.stage is Stage.SFT and rows.format is DataFormat.TEXT:
        return "spec.dataset.ref: stage SFT learns answers, and this TrainingDataset is raw text"
    if dataset.validation.uri == rows.uri:
        return "spec.dataset.validation.uri is the training data itself: give rows of their own, or hold out a share"
    if spec.evaluation.dataset is not None and spec.evaluation.dataset.uri == rows.uri:
        return "spec.evaluation.dataset.uri is the training data itself: give held-out items"
    return ""
