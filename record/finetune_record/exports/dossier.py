"""The dossier: one Markdown file for an adapter, laid out as Annex IV of the EU AI Act asks for technical documentation.

A heading that a record has nothing for says so: whoever keeps the dossier has to write that part, and nobody is led to think it was done.
Source: Regulation (EU) 2024/1689, Annex IV, points 1 to 9.
"""

from collections.abc import Callable, Iterator

from finetune_record.agreement import Agreement, Obligation
from finetune_record.exports.words import NOT_RECORDED, classified, listed, moment, plain, record_digest, title
from finetune_record.statement import Predicate, Statement

Rows = Iterator[tuple[str, object]]
"""What is told, and what the record has for it; None for nothing."""

OWN_WORDS = "Not in the record. To be written by the provider"


def dossier(statement: Statement) -> str:
    """The whole file."""
    predicate = statement.predicate
    link = predicate.chain
    place = f"number {link.seq} of namespace {plain(link.namespace)}, {moment(link.recorded_at)}"
    derived = f"Derived from the signed record `{record_digest(statement)}` ({place}). That record rules; verify it with `finetune verify`."
    lines = [f"# Technical documentation: {plain(title(statement))}", "", derived, ""]
    for heading, rows, left in _PARTS:
        lines += [f"## {heading}", ""]
        for name, value in rows(predicate):
            lines.append(f"- {name}: {_told(value)}")
        if left:
            lines.append(f"- {OWN_WORDS}: {left}.")
        lines.append("")
    return "\n".join(lines)


def _told(value: object) -> str:
    if value is None or value == "":
        return NOT_RECORDED
    return plain(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))


def _general(predicate: Predicate) -> Rows:
    identity, outputs, data = predicate.identity, predicate.outputs, predicate.data
    yield "Adapter", f"{outputs.uri}, {outputs.digest}"
    yield "Made by", f"FineTuneJob {identity.namespace}/{identity.job} (uid {identity.uid}, generation {identity.generation})"
    yield "Version", f"run {identity.run_number}"
    yield "Submitted by", identity.submitter
    yield "Why", identity.justification
    yield "Purpose of the data", listed(source.purpose for source in data.sources if source.purpose)
    yield "Program", f"finetune-operator {identity.operator.version}" if identity.operator else None
    yield "Classification", classified(outputs.classification)
    yield "Obligations of licences", listed(map(_obligation, outputs.obligations))


def _methods(predicate: Predicate) -> Rows:
    base, code, run, environment = predicate.base, predicate.code, predicate.run, predicate.environment
    yield "Base model", f"{base.uri}, {base.digest or 'digest ' + NOT_RECORDED}"
    yield "Licences of the base model", listed(licence.key for licence in base.licences or [])
    yield "Adapter that the run went on from", base.adapter_digest
    yield "Training program", code.trainer_image
    yield "Libraries", listed(f"{name} {version}" for name, version in sorted((code.versions or {}).items()))
    yield "Run spec", predicate.identity.spec_digest
    yield "Effective settings", code.settings_digest
    yield "Seed", code.seed
    yield "Node", environment.node if environment else None
    yield "Accelerators", f"{environment.accelerators} x {environment.accelerator}" if environment and environment.accelerator else None
    yield "Training", listed(_numbers(predicate))
    yield "Training operations (FLOP, estimated)", run.training_flop
    yield "Training operations of the base model (FLOP, as stated)", run.base_training_flop


def _data(predicate: Predicate) -> Rows:
    data = predicate.data
    yield "Sealed training data", data.digest
    for source in data.sources:
        registered = f", TrainingDataset {source.dataset}" if source.dataset else ""
        yield "Source", f"{source.uri}, {source.digest or 'digest ' + NOT_RECORDED}{registered}"
        yield "Its classification", classified(source.classification)
        yield "Its owner", source.owner
        yield "Its licence", source.licence
        yield "Its consent", source.consent
        yield "Models that have written rows", listed(f"{made.name} ({made.licence})" for made in source.generated_by or [])
    yield "Examples", data.examples
    yield "Validation examples", data.validation_examples
    yield "Dropped rows", listed(f"{dropped.reason} {dropped.count}" for dropped in data.dropped) if data.dropped is not None else None
    yield "Duplicates", data.duplicates
    yield "Evaluation items that also occur in training", data.evaluation_overlap
    for report in data.reports:
        numbers = listed(f"{number.name} {number.value}" for number in report.headlines)
        yield f"Report: {plain(report.kind)}", f"{report.digest}{f', {numbers}' if numbers else ''}"


def _oversight(predicate: Predicate) -> Rows:
    policy = predicate.policy
    yield "Policies", listed(f"{applied.name} at generation {applied.generation}" for applied in policy.policies) if policy else None
    yield "Decision", f"{policy.decision} {policy.decision_digest or ''}".strip() if policy else None
    for finding in policy.findings if policy else []:
        remark = "waived" if finding.waived else "blocks" if finding.blocks else "note"
        yield "Finding", f"{finding.rule}, {finding.field}: {finding.message} ({remark})"
    for approval in predicate.approvals:
        yield "Approved by", _agreed(approval)
    for waiver in predicate.waivers:
        yield "Waived by", _agreed(waiver)
    if not predicate.approvals:
        yield "Approvals", "none were given"


def _validation(predicate: Predicate) -> Rows:
    evaluation = predicate.evaluation
    if evaluation is None:
        yield "Evaluation", None
        return
    yield "Verdict", f"{evaluation.verdict} on {evaluation.items} items"
    yield "Why", evaluation.message
    yield "Evaluation data", evaluation.dataset_digest
    yield "Outcome of every item", evaluation.items_digest
    yield "Gates, as fixed beforehand", evaluation.profile_digest
    for gate in evaluation.gates:
        yield (
            f"Gate {plain(gate.name)}",
            f"{gate.verdict}{f', {gate.method}' if gate.method else ''}{f', {gate.message}' if gate.message else ''}",
        )
    for metric in evaluation.metrics:
        interval = f"difference {metric.delta}, 95 % interval {metric.low} to {metric.high}"
        yield f"Metric {plain(metric.name)}", f"base {metric.base}, tuned {metric.tuned}, {interval}, {metric.verdict}"
    if (judge := evaluation.judge) is not None:
        known = f"right about {judge.calibration_right} of {judge.calibration_pairs} pairs whose better answer is known"
        counted = f"{judge.wins} won, {judge.losses} lost, {judge.ties} tied" if judge.usable else f"not usable: {judge.message}"
        yield "Judged by", f"{judge.model or 'a model without a name'} at {judge.endpoint}, {known}; {counted}"
        yield "Prompt of the judge", judge.prompt_digest


def _security(predicate: Predicate) -> Rows:
    environment = predicate.environment
    egress = environment.egress if environment else None
    yield "Way outside from where the data were", egress.result if egress else None
    yield "Log of that probe", egress.log_digest if egress else None
    if egress is not None and egress.watch_digest is not None:
        yield "Log of the tries while it trained", f"{egress.watch_digest} ({egress.watch_rounds} rounds)"
    yield "Runtime class", environment.runtime_class if environment else None
    if environment is not None and environment.tracker is not None:
        yield "Tracker that its figures went to", environment.tracker
    yield "Signing key", predicate.chain.key_id


def _changes(predicate: Predicate) -> Rows:
    yield "Record before", predicate.chain.prev or "none: this is the first of the namespace"
    yield "Recorded", moment(predicate.chain.recorded_at)
    retention = predicate.outputs.retention
    yield "Record kept until", moment(retention.record_until) if retention else None
    yield "Reports kept until", moment(retention.reports_until) if retention else None


def _nothing(_predicate: Predicate) -> Rows:
    yield from ()


_PARTS: tuple[tuple[str, Callable[[Predicate], Rows], str], ...] = (
    ("1. General description", _general, "intended purpose, deployers, user interface, instructions for use"),
    ("2 (a)-(c). Methods, design, architecture and computing", _methods, "design choices and their reasons"),
    ("2 (d). Data requirements", _data, "how data were obtained, selected and labelled"),
    ("2 (e). Human oversight", _oversight, "oversight of the system in use (Art. 14)"),
    ("2 (f). Changes fixed in advance", _nothing, "changes that were assessed before they are made"),
    ("2 (g). Validation and testing", _validation, "tests beyond those of the gates, signed by who is responsible"),
    ("2 (h). Cybersecurity", _security, "measures of the system in use"),
    ("3. Monitoring, functioning and control", _nothing, "capabilities, limits, foreseeable unintended outcomes"),
    ("4. Appropriateness of the metrics", _nothing, "why these metrics fit this system"),
    ("5. Risk management (Art. 9)", _nothing, "the risk management system"),
    ("6. Changes during the life cycle", _changes, ""),
    ("7. Harmonised standards", _nothing, "standards that were applied, in full or in part"),
    ("8. EU declaration of conformity", _nothing, "a copy of it"),
    ("9. Post-market monitoring (Art. 72)", _nothing, "the monitoring plan"),
)
"""Heading, what the record has for it, and what only the provider can write."""


def _numbers(predicate: Predicate) -> Iterator[str]:
    run = predicate.run
    if run.started_at is not None:
        yield f"from {moment(run.started_at)}" + (f" to {moment(run.finished_at)}" if run.finished_at else "")
    for number, what in ((run.steps, "steps"), (run.tokens, "tokens"), (run.seconds, "seconds")):
        if number is not None:
            yield f"{number} {what}"
    if run.loss is not None:
        yield f"loss {run.loss}"


def _agreed(agreement: Agreement) -> str:
    until = f", until {moment(agreement.expires_at)}" if agreement.expires_at else ""
    reason = f": {agreement.reason}" if agreement.reason else ""
    return f"{agreement.approver} ({agreement.stage}, {moment(agreement.given_at)}{until}), for {agreement.subject_digest}{reason}"


def _obligation(obligation: Obligation) -> str:
    asked = [f"name begins with {obligation.name_prefix}" if obligation.name_prefix else "", obligation.notice]
    return f"{obligation.licence} ({'; '.join(filter(None, asked))})"
