"""What a record says about a run: status, spec, policies and approvals, section by section. Digests, counts and names; no text of any row.

What nobody knows is absent. Whoever reads it years later has neither the cluster nor this program.
"""

from finetune_operator.api.findings import EvaluationStatus, ReviewStatus, ScanStatus
from finetune_operator.api.governance.job import AgreementStatus, ClassificationStatus
from finetune_operator.api.run import CurrentRun, EgressStatus
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain import reading
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance import agreements
from finetune_operator.domain.governance.judge import Judged
from finetune_operator.domain.governance.signing import Signing
from finetune_operator.domain.governance.view import GovernanceView
from finetune_record.agreement import (
    Agreement,
    Classification,
    Identity,
    Obligation,
    PolicyReference,
    PolicySection,
    Program,
    RecordedFinding,
)
from finetune_record.materials import (
    BaseSection,
    CodeSection,
    DataSection,
    Dropped,
    EgressProbe,
    EnvironmentSection,
    File,
    Generator,
    Licence,
    Measured,
    Report,
    Source,
)
from finetune_record.outcome import EvaluationSection, GateOutcome, JudgeOutcome, MetricOutcome, OutputSection, RunSection
from finetune_record.sections import Sections
from finetune_trainer.contract import REVIEW_REPORT, SCAN_REPORT, Step, canonical_json, digest_of
from finetune_trainer.contract.governance import Classification as Classified
from finetune_trainer.contract.governance import Finding
from finetune_trainer.contract.governance.checks.place import host_of
from finetune_trainer.contract.governance.facts import ApprovalStage, DatasetFacts

_FINDINGS, _POLICIES, _MESSAGE = 32, 64, 1024
"""The worst first. A record of the longest texts still fits what a pod's annotations hold together, 256 KiB."""
_SETTINGS, _ITEMS = "resolved.json", "evaluation-items.jsonl"


def sections_of(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, judged: Judged, signing: Signing) -> Sections:
    """The record of a run whose adapter is trained. Raises ``pydantic.ValidationError`` for what a record has no place for."""
    view = draft.scene.observed.governance or GovernanceView()
    agreed = agreements.remembered(draft, run)
    return Sections(
        identity=_identity(draft, run, spec, judged, signing),
        policy=_policy(judged, view),
        data=_data(draft, run, spec, judged, view),
        base=_base(run, spec),
        code=CodeSection(
            trainer_image=run.inputs.image_digest or run.image, seed=spec.training.seed, settings_digest=_document(run, _SETTINGS)
        ),
        environment=_environment(run, spec),
        run=RunSection(
            started_at=run.started_at,
            steps=run.step,
            epoch=run.epoch,
            loss=run.loss,
            evaluation_loss=run.evaluation_loss,
        ),
        evaluation=_evaluation(draft, run, spec),
        approvals=[_agreement(each) for each in agreed if each.stage is not ApprovalStage.WAIVE],
        waivers=[_agreement(each) for each in agreed if each.stage is ApprovalStage.WAIVE],
        outputs=_outputs(draft, run, spec, judged),
    )


def _identity(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, judged: Judged, signing: Signing) -> Identity:
    owner = draft.scene.owner
    return Identity(
        namespace=owner.namespace,
        job=owner.name,
        uid=owner.uid,
        generation=run.generation,
        run_key=run.key,
        run_number=run.number,
        submitter=judged.facts.subject.submitter or None,
        authors=[author for author in judged.facts.subject.authors if author][:64],
        justification=spec.justification.strip() or None,
        cluster=signing.cluster or None,
        operator=Program(version=signing.version),
    )


def _policy(judged: Judged, view: GovernanceView) -> PolicySection:
    decision = judged.decision
    applied = frozenset(decision.policies)
    policies = [policy for policy in view.policies if f"{policy.name}@{policy.generation}" in applied]
    return PolicySection(
        decision=decision.outcome.value,
        decision_digest=decision.digest,
        classification=_effective(decision.classification),
        policies=[
            PolicyReference(name=policy.name, generation=policy.generation, uid=policy.uid or None, digest=policy.content)
            for policy in sorted(policies, key=lambda policy: (policy.name, policy.generation))[:_POLICIES]
        ],
        findings=[_finding(each) for each in decision.findings[:_FINDINGS]],
    )


def _finding(finding: Finding) -> RecordedFinding:
    return RecordedFinding(
        rule=finding.rule.value,
        severity=finding.severity.value,
        field=finding.field,
        message=finding.reason[:_MESSAGE],
        policy=f"{finding.policy}@{finding.generation}" if finding.policy else None,
        blocks=finding.blocks,
        waived=finding.waived,
    )


def _data(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, judged: Judged, view: GovernanceView) -> DataSection:
    purpose = judged.facts.subject.purpose or None
    sources = [_source(each, spec, view).model_copy(update={"purpose": purpose}) for each in judged.facts.datasets]
    found = draft.dataset
    if found is None:
        return DataSection(digest=run.inputs.dataset_digest, sources=sources)
    return DataSection(
        digest=run.inputs.dataset_digest,
        format=found.format or None,
        examples=found.examples,
        validation_examples=found.validation_examples,
        evaluation_items=found.evaluation_items,
        tokens=found.tokens,
        dropped=[Dropped(reason=row.reason or "unknown", count=row.count) for row in found.dropped],
        duplicates=found.quality.duplicates if found.quality is not None else None,
        evaluation_overlap=found.quality.evaluation_overlap if found.quality is not None else None,
        sources=sources,
        reports=[
            *(_scan(found.scan) if found.scan is not None else []),
            *([_review(found.review)] if found.review is not None else []),
        ],
    )


def _review(review: ReviewStatus) -> Report:
    """Which rows somebody was to look at; the file lies with the adapter."""
    headlines = [Measured(name="rows", value=str(review.rows)), Measured(name="of", value=str(review.of))]
    return Report(kind="review", digest=review.report_digest, file=REVIEW_REPORT, headlines=headlines)


def _scan(scan: ScanStatus) -> list[Report]:
    """Rows by kind of identifier, in a file that lies with the adapter; and by its digest the model that looked for names, if one did."""
    counts = [("rows", scan.rows), *((f"{each.entity} rows", each.rows) for each in scan.found)]
    counts += [(f"{each.entity} validated", each.validated_rows) for each in scan.found if each.validated_rows]
    headlines = [Measured(name=name, value=str(count)) for name, count in counts[:32]]
    report = Report(kind="scan", digest=scan.report_digest, file=SCAN_REPORT, headlines=headlines)
    return [report] if scan.name_model is None else [report, Report(kind="name-model", digest=scan.name_model.digest)]


def _source(facts: DatasetFacts, spec: FineTuneJobSpec, view: GovernanceView) -> Source:
    """Rows as they were decided upon; the name of a registration only where the job refers to it."""
    reference = spec.dataset.ref if facts.field == "spec.dataset.ref" else None
    registered = facts.classification
    return Source(
        field=facts.field,
        uri=facts.uri,
        digest=facts.digest,
        dataset=reference.name if reference is not None else None,
        dataset_uid=reading.text(view.datasets.get(reference.name), "metadata", "uid")[:64] or None if reference is not None else None,
        classification=_effective(registered) if registered is not None else None,
        owner=facts.owner or None,
        generated_by=[Generator(name=each.name, licence=each.licence) for each in facts.generators] if registered is not None else None,
    )


def _base(run: CurrentRun, spec: FineTuneJobSpec) -> BaseSection:
    """Licences are those that its files name, which is not what the job says."""
    found = run.inputs.base_model
    licences = [Licence(key=each.key, category=each.category) for each in found.licences] if found is not None else None
    return BaseSection(uri=spec.base_model.uri, digest=run.inputs.base_digest, licences=licences)


def _environment(run: CurrentRun, spec: FineTuneJobSpec) -> EnvironmentSection:
    """The node that the training ended on, and what was asked of it."""
    wanted, node = spec.resources, run.node
    probe = next((each for each in run.egress if each.step is Step.TRAIN), None)
    return EnvironmentSection(
        node=node.name if node is not None else None,
        node_labels=dict(node.labels) if node is not None else None,
        accelerator=wanted.gpu_resource_name if wanted.gpus_per_node else None,
        accelerators=wanted.gpus_per_node,
        runtime_class=wanted.runtime_class_name,
        tracker=host_of(spec.tracking.mlflow.uri) if spec.tracking is not None else None,
        egress=_egress(probe) if probe is not None else None,
    )


def _egress(probe: EgressStatus) -> EgressProbe:
    return EgressProbe(result=probe.result.value, log_digest=probe.digest, watch_digest=probe.watch_digest, watch_rounds=probe.rounds)


def _evaluation(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> EvaluationSection | None:
    """``profile_digest`` is of the declared evaluation, which has not changed since the run was accepted."""
    found = draft.evaluation
    if found is None:
        return None
    gate = spec.evaluation.gates.improvement if spec.evaluation.gates is not None else None
    metric = next((each for each in found.metrics if gate is not None and each.name is gate.metric), None)
    gates = [
        GateOutcome(
            name="improvement",
            verdict=found.verdict.value,
            items=found.items,
            estimate=metric.delta if metric is not None else None,
            low=metric.low if metric is not None else None,
            high=metric.high if metric is not None else None,
            message=found.message,
        )
    ]
    return EvaluationSection(
        verdict=found.verdict.value,
        items=found.items,
        message=found.message,
        metrics=[
            MetricOutcome(
                name=each.name.value,
                base=each.base,
                tuned=each.tuned,
                delta=each.delta,
                low=each.low,
                high=each.high,
                verdict=each.verdict.value,
            )
            for each in found.metrics
        ],
        gates=gates if gate is not None else [],
        profile_digest=digest_of(canonical_json(spec.evaluation.to_manifest()).encode()),
        sealed_at=run.started_at,
        items_digest=_document(run, _ITEMS),
        judge=_judge(found, spec),
    )


def _judge(found: EvaluationStatus, spec: FineTuneJobSpec) -> JudgeOutcome | None:
    if found.judge is None or spec.evaluation.judge is None:
        return None
    told = found.judge.model_dump(include=set(JudgeOutcome.model_fields))
    return JudgeOutcome(endpoint=spec.evaluation.judge.endpoint, **told)


def _outputs(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec, judged: Judged) -> OutputSection:
    digest = run.adapter_digest or ""
    return OutputSection(
        uri=f"{spec.artifact.uri.rstrip('/')}/{digest.removeprefix('sha256:')}",
        digest=digest,
        promotable=True,
        classification=_classified(draft.governance.classification if draft.governance is not None else None),
        obligations=[
            Obligation(licence=each.licence, name_prefix=each.name_prefix, notice=each.notice or each.attribution)
            for each in judged.decision.obligations[:32]
        ],
        documents=[File(name=each.name, digest=each.digest) for each in run.documents],
    )


def _document(run: CurrentRun, name: str) -> str | None:
    """Digest of a document that is published beside the adapter."""
    return next((each.digest for each in run.documents if each.name == name), None)


def _effective(found: Classified) -> Classification:
    return Classification(level=found.level, regimes=sorted(found.regimes)[:64], residencies=sorted(found.residencies)[:96])


def _classified(found: ClassificationStatus | None) -> Classification | None:
    if found is None:
        return None
    return Classification(level=found.level, regimes=list(found.regimes), residencies=list(found.residencies))


def _agreement(each: AgreementStatus) -> Agreement:
    return Agreement(
        approver=each.approver,
        stage=each.stage.value,
        given_at=each.given_at,
        subject_digest=each.subject_digest,
        name=each.name or None,
        uid=each.uid or None,
        reason=each.reason,
        expires_at=each.expires_at,
    )
