"""A small FineTuneJob and what its trainer reports, for the tests of decisions."""

import copy
from datetime import UTC, datetime
from typing import Any

from finetune_operator.domain.observed import DomainSettings
from finetune_operator.manifests.egressprobe import EgressProbe
from finetune_record.statement import content_digest
from finetune_trainer.contract import (
    CLASS_OF_EXIT,
    PREFLIGHT_STEP,
    ArtifactPart,
    DataQuality,
    DataSummary,
    EgressReport,
    Estimate,
    EvaluationSummary,
    ExitCode,
    JudgeSummary,
    Metric,
    MetricResult,
    PrepareSummary,
    PublishSummary,
    ReviewSample,
    ScanSummary,
    SealedCheckpoint,
    Summary,
    TerminationMessage,
    TrainSummary,
    Verdict,
)
from finetune_trainer.contract.model import BaseModelFindings, Licence, LicenceCategory, WeightsFormat

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
UID = "0b6e1c1e-1111-4222-8333-444455556666"
FILES = {"adapter_config.json": "sha256:" + "a1" * 32, "adapter_model.safetensors": "sha256:" + "a2" * 32}
DOCUMENTS = {"evaluation-items.jsonl": "sha256:" + "b1" * 32, "resolved.json": "sha256:" + "b2" * 32}
ADAPTER = content_digest(FILES.items())
APACHE = BaseModelFindings(licences=(Licence(key="Apache-2.0", category=LicenceCategory.PERMISSIVE),), formats=(WeightsFormat.SAFETENSORS,))
PROBE = EgressProbe("192.0.2.1:443")
SETTINGS = DomainSettings(trainer_image="registry.example/trainer:1", progress_key=b"k" * 32, egress_probe=PROBE)

SPEC: dict[str, Any] = {
    "baseModel": {"uri": "pvc://models/tiny-chat"},
    "dataset": {"inline": {"uri": "pvc://tickets/train.jsonl", "format": "Auto"}, "validation": {"percent": 10}, "maxDroppedPercent": 10},
    "task": {"type": "Format", "outputSchema": {"configMapRef": {"name": "ticket-schema", "key": "schema.json"}}},
    "tuner": {"type": "LoRA", "lora": {"rank": 8}},
    "training": {"epochs": "1", "learningRate": "1e-3"},
    "evaluation": {"gates": {"improvement": {"metric": "SchemaCompliance", "minDelta": "0.05"}}},
    "artifact": {"uri": "pvc://adapters/support"},
}


def spec(**changes: Any) -> dict[str, Any]:
    """The sample spec; ``a__b=value`` sets ``spec.a.b``."""
    document = copy.deepcopy(SPEC)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return document


def summary_of(
    step: str,
    *,
    verdict: Verdict = Verdict.PASS,
    promotable: bool | None = None,
    quality: DataQuality | None = None,
    signed: bool = False,
    base_model: BaseModelFindings | None = None,
    scan: ScanSummary | None = None,
    judge: JudgeSummary | None = None,
) -> Summary:
    if step == "prepare":
        data = DataSummary(
            digest="sha256:" + "da" * 32,
            examples=240,
            validation_examples=24,
            evaluation_items=24,
            tokens=20_000,
            format="Messages",
            review=ReviewSample(rows=264, of=264, report_digest="sha256:" + "4e" * 32),
            quality=quality or DataQuality(examples=240, task_minimum=200, duplicates=12, evaluation_overlap=0),
        )
        estimate = Estimate(memory_bytes=10**9, disk_bytes=10**8, seconds=60, confidence="Fitted")
        base = "sha256:" + "ba" * 32
        prepared = PrepareSummary(
            dataset=data,
            estimate=estimate,
            base_digest=base,
            base_model=base_model or APACHE,
            total_steps=300,
            micro_batch_size=8,
            scan=scan,
        )
        return Summary(prepare=prepared)
    if step == "train":
        metric = MetricResult(name=Metric.SCHEMA_COMPLIANCE, base="0", tuned="0.98", delta="0.98", low="0.9", high="1", verdict=verdict)
        evaluation = EvaluationSummary(
            verdict=verdict, items=24, metrics=[metric], message="SchemaCompliance 0 -> 0.98", items_to_decide=60, judge=judge
        )
        train = TrainSummary(
            steps=300, epoch="1", loss="0.2", tokens=20_000, seconds=50, adapter_digest=ADAPTER, evaluation=evaluation,
            files=[ArtifactPart(name=name, digest=digest) for name, digest in FILES.items()],
            documents=[ArtifactPart(name=name, digest=digest) for name, digest in DOCUMENTS.items()],
        )  # fmt: skip
        return Summary(train=train)
    accepted = verdict in (Verdict.PASS, Verdict.NOT_GATED) if promotable is None else promotable
    uri = f"pvc://adapters/support/{ADAPTER[7:]}"
    return Summary(publish=PublishSummary(uri=uri, digest=ADAPTER, bytes=10**6, promotable=accepted, signed=signed))


def words(
    step: str, key: str, code: int = 0, *, sealed: int | None = None, verdict: Verdict = Verdict.PASS, signed: bool = False, **fields: Any
) -> str:
    """A termination message as the trainer writes it."""
    outcome = CLASS_OF_EXIT[ExitCode(code)]
    message = TerminationMessage(
        step=step,
        run_key=key,
        outcome=outcome,
        reason=fields.get("reason", outcome.value),
        message=fields.get("message", f"ended as {outcome.value}"),
        hint=fields.get("hint", "" if code == 0 else "Do something about it."),
        checkpoint=SealedCheckpoint(step=sealed, digest="sha256:" + "cc" * 32) if sealed is not None else None,
        skipped_checkpoints=fields.get("skipped", []),
        summary=summary_of(
            step,
            verdict=verdict,
            quality=fields.get("quality"),
            base_model=fields.get("base_model"),
            signed=signed,
            scan=fields.get("scan"),
            judge=fields.get("judge"),
        )
        if code == 0
        else None,
        base_model=fields.get("base_model") if code else None,
        egress=fields.get("egress"),
        tracker=fields.get("tracker"),
    )
    return message.to_bounded_json()


def probed(*answering: str, rounds: int = 3) -> EgressReport:
    """What a probe of egress reports."""
    targets = (PROBE.outside, "169.254.169.254:80", PROBE.name)
    tried = [{"target": target, "tries": rounds, "answered": rounds if target in answering else 0} for target in targets]
    return EgressReport.model_validate({"result": "Open" if answering else "Closed", "rounds": rounds, "tried": tried})


def preflight_words(*answering: str) -> str:
    """Its termination message."""
    code, reason = (ExitCode.NOT_CONTAINED, "EgressNotEnforced") if answering else (ExitCode.DONE, "Succeeded")
    message = f"egress is not closed: {', '.join(answering)} answered from inside the pod" if answering else "preflight finished"
    return TerminationMessage(
        step=PREFLIGHT_STEP, run_key="", outcome=CLASS_OF_EXIT[code], reason=reason, message=message, egress=probed(*answering)
    ).to_bounded_json()
