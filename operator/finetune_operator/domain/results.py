"""What a finished step reported goes into status: facts about data and need, figures of the comparison, the artifact's place.

Also the gate: the trainer measures and gives the verdict, the declared policy says what an inconclusive one means.
"""

from dataclasses import dataclass

from finetune_operator.api.findings import (
    DatasetStatus,
    DroppedRows,
    EstimateStatus,
    EvaluationStatus,
    Finding,
    IdentifiersFound,
    JudgeStatus,
    MetricStatus,
    NameModelStatus,
    QualityStatus,
    ReviewStatus,
    ScanStatus,
)
from finetune_operator.api.history import HeadlineMetric
from finetune_operator.api.inputs import BaseModelStatus, LicenceStatus
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import ArtifactFile, CurrentRun, Outcome
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import ArtifactStatus
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.progress import step_text
from finetune_trainer.contract import ArtifactPart, PrepareSummary, PublishSummary, ScanSummary, TrainSummary, Verdict
from finetune_trainer.contract.model import BaseModelFindings


@dataclass(frozen=True)
class GateDecision:
    """How a run whose evaluation is known will end, once it is published."""

    outcome: Outcome
    reason: Reason
    message: str

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED


def record_prepare(draft: Draft, run: CurrentRun, summary: PrepareSummary) -> CurrentRun:
    """Dataset, estimate and inputs; the micro-batch a retry would halve."""
    data, need = summary.dataset, summary.estimate
    draft.dataset = DatasetStatus(
        digest=data.digest,
        format=data.format,
        examples=data.examples,
        validation_examples=data.validation_examples,
        evaluation_items=data.evaluation_items,
        tokens=data.tokens,
        dropped=[DroppedRows(reason=row.reason, count=row.count) for row in data.dropped],
        findings=[Finding(rule=found.rule, severity=found.severity, message=found.message) for found in data.findings],
        review=ReviewStatus(**data.review.model_dump()) if data.review is not None and draft.governance is not None else None,
        quality=QualityStatus(**data.quality.model_dump()) if data.quality is not None and draft.governance is not None else None,
        scan=_scanned(summary.scan),
    )
    draft.estimate = EstimateStatus(**need.model_dump())
    if draft.governance is not None:
        draft.governance = draft.governance.model_copy(update={"licence": summary.licence})
    inputs = run.inputs.model_copy(update={"base_digest": summary.base_digest, "dataset_digest": data.digest})
    if draft.governance is not None:
        inputs = inputs.model_copy(update={"base_model": found_of(summary.base_model)})
    return run.model_copy(
        update={
            "inputs": inputs,
            "step": run.step or 0,
            "total_steps": summary.total_steps,
            "step_text": step_text(run.step, summary.total_steps),
            "micro_batch_size": summary.micro_batch_size,
        }
    )


def found_of(findings: BaseModelFindings) -> BaseModelStatus:
    """What the trainer read of the base model's files, as status says it; each licence once."""
    licences = {licence.key: LicenceStatus(**licence.model_dump()) for licence in findings.licences}
    claimed = LicenceStatus(**findings.claimed.model_dump()) if findings.claimed is not None else None
    formats = list(dict.fromkeys(findings.formats))
    return BaseModelStatus(licences=list(licences.values()), claimed=claimed, formats=formats, remote_code=findings.remote_code)


def _scanned(summary: ScanSummary | None) -> ScanStatus | None:
    """None where the trainer image of the run is of a release that does not scan."""
    if summary is None:
        return None
    found = [
        IdentifiersFound(entity=name, rows=rows, validated_rows=validated) for name, (rows, validated) in sorted(summary.found.items())
    ]
    model = NameModelStatus(**summary.name_model.model_dump()) if summary.name_model is not None else None
    return ScanStatus(**summary.model_dump(exclude={"found", "name_model"}), found=found, name_model=model)


def record_train(draft: Draft, run: CurrentRun, summary: TrainSummary) -> CurrentRun:
    """The adapter's digest, the last figures of training, and the comparison with the base model."""
    compared = summary.evaluation
    draft.evaluation = EvaluationStatus(
        verdict=compared.verdict,
        items=compared.items,
        items_to_decide=compared.items_to_decide,
        message=compared.message,
        metrics=[MetricStatus(**metric.model_dump()) for metric in compared.metrics],
        judge=JudgeStatus(**compared.judge.model_dump()) if compared.judge is not None else None,
    )
    governed = draft.governance is not None  # the names are for the record, which nobody else has
    return run.model_copy(
        update={
            "files": _files(summary.files) if governed else [],
            "documents": _files(summary.documents) if governed else [],
            "adapter_digest": summary.adapter_digest,
            "step": summary.steps,
            "total_steps": summary.steps,
            "step_text": step_text(summary.steps, summary.steps),
            "epoch": summary.epoch,
            "loss": summary.loss,
            "evaluation_loss": summary.evaluation_loss or run.evaluation_loss,
        }
    )


def _files(parts: list[ArtifactPart]) -> list[ArtifactFile]:
    return [ArtifactFile(name=part.name, digest=part.digest) for part in parts]


def record_publish(draft: Draft, run: CurrentRun, summary: PublishSummary, decision: GateDecision) -> CurrentRun:
    """Where the artifact lies; the object's artifact moves only when the gate was passed. A record that does not lie beside it is none."""
    record = run.record if summary.signed else None
    if decision.passed:
        draft.artifact = ArtifactStatus(
            uri=summary.uri,
            digest=summary.digest,
            bytes=summary.bytes,
            run_number=run.number,
            classification=draft.governance.classification if draft.governance is not None else None,
            record_digest=record.digest if record is not None else None,
            signed=record is not None if draft.governance is not None else None,
            obligations=draft.governance.obligations if draft.governance is not None else [],
        )
    published = {"artifact_uri": summary.uri, "adapter_digest": summary.digest, "artifact_bytes": summary.bytes}
    return run.model_copy(update={**published, "record": record, "gate": decision.reason.value})


def gate_decision(evaluation: EvaluationStatus | None, spec: FineTuneJobSpec) -> GateDecision:
    """The verdict under the declared policy."""
    if evaluation is None or evaluation.verdict is Verdict.NOT_GATED:
        doubt = evaluation.judge.message if evaluation is not None and evaluation.judge is not None else ""
        aside = f", without Judge, which is not usable: {doubt}" if doubt else ""
        return GateDecision(Outcome.SUCCEEDED, Reason.NOT_GATED, f"no gate was asked for; the figures are in status.evaluation{aside}")
    figures = evaluation.message or f"verdict {evaluation.verdict.value} on {evaluation.items} items"
    if evaluation.verdict is Verdict.PASS:
        return GateDecision(Outcome.SUCCEEDED, Reason.GATE_PASSED, figures)
    if evaluation.verdict is Verdict.FAIL:
        hint = "Change data, learning rate or margin; the artifact is kept and marked as not promotable."
        return GateDecision(Outcome.GATE_REJECTED, Reason.GATE_REJECTED, f"{_sentence(figures)} {hint}")
    policy = spec.evaluation.on_inconclusive
    needed = f" About {evaluation.items_to_decide} items would decide." if evaluation.items_to_decide else ""
    if policy == "Pass":
        return GateDecision(
            Outcome.SUCCEEDED, Reason.GATE_PASSED, f"{_sentence(figures)}{needed} Accepted by evaluation.onInconclusive Pass."
        )
    if policy == "Fail":
        text = f"{_sentence(figures)}{needed} Rejected by evaluation.onInconclusive Fail."
        return GateDecision(Outcome.GATE_REJECTED, Reason.GATE_REJECTED, text)
    hint = "Add items to evaluation.dataset, or set evaluation.onInconclusive to Pass or Fail."
    return GateDecision(Outcome.GATE_HELD, Reason.GATE_INCONCLUSIVE, f"{_sentence(figures)}{needed} {hint}")


def headline(evaluation: EvaluationStatus | None) -> list[HeadlineMetric]:
    """Base against tuned, for the history."""
    metrics = evaluation.metrics if evaluation is not None else []
    return [HeadlineMetric(name=metric.name, base=metric.base, tuned=metric.tuned) for metric in metrics]


def prepared_message(dataset: DatasetStatus | None, estimate: EstimateStatus | None) -> str:
    """The data and what training them needs, in one line."""
    if dataset is None:
        return ""
    dropped = sum(row.count for row in dataset.dropped)
    text = f"{dataset.examples} examples, {dataset.tokens} tokens" + (f", {dropped} rows dropped" if dropped else "")
    if estimate is not None and not estimate.fits:
        text += "; will probably not fit" + (f": {estimate.cheapest_fix}" if estimate.cheapest_fix else "")
    return text


def _sentence(text: str) -> str:
    return f"{text.rstrip('. ')}."
