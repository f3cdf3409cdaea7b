"""The facts that the contract's decision judges, gathered from the object, from what its run has found, and from the namespace."""

from typing import Any

from finetune_operator.api.findings import DatasetStatus, EvaluationStatus
from finetune_operator.api.governance.job import GovernanceStatus
from finetune_operator.api.governance.vocabulary import SUBMITTER_ANNOTATION
from finetune_operator.api.inputs import LicenceStatus
from finetune_operator.api.run import CurrentRun
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.datasets import classification_of, generators_of
from finetune_operator.domain.governance.egress import probed
from finetune_operator.domain.governance.view import GovernanceView, read_approval, unreadable_approval
from finetune_operator.manifests.names import CLEAN, run_hash
from finetune_trainer.contract import canonical_json, digest_of
from finetune_trainer.contract.governance import Facts, strictest
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.facts import (
    ApprovalFacts,
    DataReport,
    DatasetFacts,
    EntityHits,
    GateResult,
    ModelFacts,
    NamespaceFacts,
    ReviewFacts,
    ScanReport,
    Stage,
    SubjectFacts,
)
from finetune_trainer.contract.governance.vocabulary import Entity, Level, ScanProfile
from finetune_trainer.contract.model import Licence

_MOST_LABELS, _MOST_APPROVALS, _MOST_EXAMPLES, _MOST_NODES = 256, 64, 10**15, 512
_ENTITIES, _PROFILES = frozenset(each.value for each in Entity), frozenset(each.value for each in ScanProfile)
_HOW_IT_RUNS = frozenset({"suspend", "runPolicy", "healthPolicy", "queueName", "resources"})
"""Fields of the spec that are followed at once while a run lasts: no approval becomes stale by them."""


def gather(draft: Draft, view: GovernanceView, spec: FineTuneJobSpec, stage: Stage) -> Facts:
    """Everything that is known now; what only a later step finds out is left open."""
    speaking, run = speaking_run(draft), sealed_run(draft)
    return Facts(
        stage=stage,
        namespace=NamespaceFacts(name=draft.scene.owner.namespace, labels=_floor(view, draft.governance)),
        subject=_subject(draft, spec, run),
        site=view.site,
        datasets=datasets_of(view, spec, read=speaking is not None and speaking.outcome is not None),
        base_model=_base_model(spec, speaking),
        images=((speaking.image if speaking is not None else None) or draft.scene.settings.trainer_image,),
        trackers=trackers_of(spec),
        judges=judges_of(spec),
        nodes=_nodes(draft, view),
        bound_node=_bound_node(draft, view),
        egress=probed(speaking, view),
        data_report=_counted(draft.dataset) if run is not None else None,
        review=_drawn(draft.dataset) if run is not None else None,
        scan=_scanned(draft.dataset) if run is not None else None,
        gates=_gates(draft.evaluation) if stage is Stage.PROMOTE else (),
        approvals=_approvals(draft, view),
        unreadable_approvals=_unreadable(draft, view),
        accepted_under=tuple(draft.active_run.policies) if draft.active_run is not None else (),
    )


def speaking_run(draft: Draft) -> CurrentRun | None:
    """The run that a decision is about: under way, or ended and of the present spec."""
    run, accepted = draft.run, draft.accepted
    if run is None or (run.outcome is not None and (accepted is None or accepted.key != run.key)):
        return None
    return run


def _has_ended(draft: Draft) -> bool:
    run = speaking_run(draft)
    return run is not None and run.outcome is not None


def sealed_run(draft: Draft) -> CurrentRun | None:
    """The same, once its data are prepared."""
    run = speaking_run(draft)
    return run if run is not None and run.inputs.dataset_digest is not None else None


def _subject(draft: Draft, spec: FineTuneJobSpec, sealed: CurrentRun | None) -> SubjectFacts:
    """``spec_digest`` covers what the run makes and of which bytes: an approval of other data is for another decision."""
    subject = draft.scene.subject
    manifest = spec.to_manifest()
    content: dict[str, Any] = {"spec": {name: value for name, value in manifest.items() if name not in _HOW_IT_RUNS}}
    if sealed is not None:
        content |= {"key": sealed.key, "data": sealed.inputs.dataset_digest, "base": sealed.inputs.base_digest}
    return SubjectFacts(
        name=subject.owner.name,
        uid=subject.owner.uid,
        labels=dict(list(subject.labels.items())[:_MOST_LABELS]),
        labels_before=_before(draft.governance),
        submitter=subject.annotations.get(SUBMITTER_ANNOTATION, "")[:253],
        spec_digest=digest_of(canonical_json(content).encode()),
        purpose=spec.purpose or "",
        justified=bool(spec.justification.strip()),
        gated=None if _has_ended(draft) else spec.evaluation.gates is not None and spec.evaluation.gates.improvement is not None,
    )


def _before(known: GovernanceStatus | None) -> dict[str, str] | None:
    """The object's labels when it was last let pass."""
    if known is None or known.declared is None:
        return None
    declared = known.declared
    labels = {f"{words.REGIME_LABELS}{regime}": words.YES for regime in declared.regimes}
    if declared.level is not None:
        labels[words.LABEL_LEVEL] = declared.level
    if declared.residency is not None:
        labels[words.LABEL_RESIDENCY] = declared.residency
    return labels


def _counted(found: DatasetStatus | None) -> DataReport | None:
    """None also of data that an older trainer prepared: what was not counted satisfies nobody."""
    if found is None or found.quality is None:
        return None
    return DataReport(**{name: min(count, _MOST_EXAMPLES) for name, count in found.quality.model_dump().items()})


def trackers_of(spec: FineTuneJobSpec) -> tuple[str, ...]:
    """Addresses that the training would log to."""
    return (spec.tracking.mlflow.uri,) if spec.tracking is not None else ()


def judges_of(spec: FineTuneJobSpec) -> tuple[str, ...]:
    """Addresses that questions and answers would be sent to for judging."""
    return (spec.evaluation.judge.endpoint,) if spec.evaluation.judge is not None else ()


def _nodes(draft: Draft, view: GovernanceView) -> tuple[dict[str, str], ...] | None:
    """Kinds of node that there are, for a run that still needs one: what is published stays what it is when a node goes."""
    if _has_ended(draft):
        return None
    kinds = {tuple(sorted(labels.items())[:_MOST_LABELS]) for labels in view.nodes.values()}
    return tuple(dict(kind) for kind in sorted(kinds)[:_MOST_NODES])


def _bound_node(draft: Draft, view: GovernanceView) -> dict[str, str] | None:
    """Of the node that a pod of the run is bound to, as long as that has not ended; None also for a node that is not known (yet)."""
    run = draft.active_run
    mark = run_hash(draft.scene.owner.uid, run.key) if run is not None else ""
    bound = [pod.node for pod in draft.scene.pods if pod.place.run == mark and pod.place.step != CLEAN and pod.node and not pod.ended]
    return next((dict(list(view.nodes[node].items())[:_MOST_LABELS]) for node in bound if node in view.nodes), None)


def _drawn(found: DatasetStatus | None) -> ReviewFacts | None:
    if found is None or found.review is None:
        return None
    return ReviewFacts(rows=min(found.review.rows, _MOST_EXAMPLES), report_digest=found.review.report_digest)


def _scanned(found: DatasetStatus | None) -> ScanReport | None:
    """What a trainer image of another release calls by a name that is unknown here counts as not seen."""
    scan = found.scan if found is not None else None
    if scan is None or scan.profile not in _PROFILES:
        return None
    known = [each for each in scan.found if each.entity in _ENTITIES]
    return ScanReport(
        profile=ScanProfile(scan.profile),
        entire=scan.entire and len(known) == len(scan.found),
        hits=tuple(
            EntityHits(
                entity=Entity(each.entity), rows=min(each.rows, _MOST_EXAMPLES), validated_rows=min(each.validated_rows, _MOST_EXAMPLES)
            )
            for each in known
        ),
    )


def _floor(view: GovernanceView, known: GovernanceStatus | None) -> dict[str, str]:
    """The namespace's labels, raised to what the object was classified as before: a classification never falls."""
    labels = dict(list(view.namespace_labels.items())[:_MOST_LABELS])
    if known is None or not known.passed:
        return labels  # what was refused binds nobody: a mistyped level, which counts as the highest, can be corrected
    present = labels.get(words.LABEL_LEVEL)
    level = Level.PUBLIC if present is None else Level.read(present)
    if level is not None and known.classification.level > level:
        labels[words.LABEL_LEVEL] = known.classification.level.value
    regimes = set(known.classification.regimes) & view.site.known_regimes
    return {**{f"{words.REGIME_LABELS}{name}": words.YES for name in sorted(regimes)}, **labels}


def datasets_of(view: GovernanceView, spec: FineTuneJobSpec, *, read: bool = False) -> tuple[DatasetFacts, ...]:
    """Each source of rows that the spec names, with what is registered about it; the reference has been followed.

    ``read``: all that was to be read has been, and how long the data may be kept is no question any more.
    """
    rows, validation, items = spec.dataset.rows, spec.dataset.validation, spec.evaluation.dataset
    found = [_source(view, "spec.dataset.inline" if spec.dataset.ref is None else "spec.dataset.ref", rows.uri, rows.digest)]
    if validation.uri:
        found.append(_source(view, "spec.dataset.validation", validation.uri, validation.digest))
    if items is not None:
        found.append(_source(view, "spec.evaluation.dataset", items.uri, items.digest))
    return tuple(source.model_copy(update={"retain_until": None}) if read else source for source in found)


def _source(view: GovernanceView, field: str, uri: str, digest: str | None) -> DatasetFacts:
    """Where several records are about the same data, all of them hold, whichever of them the job refers to."""
    records = view.records(uri, digest)
    limits = [record.purposes for record in records if record.purposes]
    ends = [record.retain_until for record in records if record.retain_until is not None]
    return DatasetFacts(
        field=field,
        uri=uri,
        digest=digest,
        withdrawn=view.withdrawn(uri, digest),
        owner=next((record.owner for record in records if record.owner), ""),
        purposes=tuple(word for word in limits[0] if all(word in limit for limit in limits)) if limits else None,
        retain_until=min(ends, default=None),
        classification=strictest(classification_of(record) for record in records) if records else None,
        claims_safe_harbor=any(record.claims_safe_harbor for record in records),
        generators=tuple(generator for record in records for generator in generators_of(record))[:16],
    )


def _base_model(spec: FineTuneJobSpec, run: CurrentRun | None) -> ModelFacts:
    """What prepare has read of its files counts, and of what the job says itself only what speaks against it."""
    model, inputs = spec.base_model, run.inputs if run is not None else None
    found = inputs.base_model if inputs is not None else None
    if inputs is None or (found is None and inputs.base_digest is None):
        return ModelFacts(uri=model.uri, digest=model.digest, claimed=Licence(key=model.licence) if model.licence else None)
    return ModelFacts(
        uri=model.uri,
        digest=model.digest,
        found_digest=inputs.base_digest,
        claimed=_licence(found.claimed) if found is not None and found.claimed is not None else None,
        licences=tuple(_licence(each) for each in found.licences) if found is not None else (),
        formats=tuple(found.formats) if found is not None else (),
        remote_code=found.remote_code if found is not None else False,
    )


def _licence(found: LicenceStatus) -> Licence:
    return Licence(key=found.key, category=found.category)


def _gates(evaluation: EvaluationStatus | None) -> tuple[GateResult, ...]:
    return (GateResult(name="improvement", verdict=evaluation.verdict),) if evaluation is not None else ()


def _approvals(draft: Draft, view: GovernanceView) -> tuple[ApprovalFacts, ...]:
    """Newest first where there are more than a decision takes: a newer one is likelier to be for this decision."""
    found = [read_approval(manifest, draft.scene.owner.name) for manifest in view.approvals]
    given = sorted((each for each in found if each is not None), key=lambda each: each.given_at, reverse=True)
    return tuple(given[:_MOST_APPROVALS])


def _unreadable(draft: Draft, view: GovernanceView) -> tuple[str, ...]:
    """While somebody may be waiting for them."""
    if draft.active_run is None:
        return ()
    names = (unreadable_approval(manifest, draft.scene.owner.name) for manifest in view.approvals)
    return tuple(sorted(filter(None, names))[:_MOST_APPROVALS])
