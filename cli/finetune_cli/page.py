"""The one page of ``finetune verify``: the answer first, then what the record says, then what was and was not looked at."""

import textwrap
from collections.abc import Iterable, Iterator

from finetune_record.agreement import Agreement, Classification, Obligation
from finetune_record.statement import Predicate
from finetune_record.verification import Verification

WIDTH = 140
_LABEL = 12
_PROBLEM = 18
_MOST = 40


def page(verification: Verification) -> str:
    """Plain text; what strangers wrote into a record keeps no control characters."""
    problems, statement = verification.problems, verification.statement
    lines = [f"{verification.published.path.name}: {_verdict(verification)}", ""]
    for problem in problems[:_MOST]:
        lines += _row(f"! {problem.check}", [str(problem)], _PROBLEM)
    if len(problems) > _MOST:
        lines.append(f"! and {len(problems) - _MOST} more")
    if problems:
        lines += ["", "What the record says, which is not verified:" if statement else "No record could be read."]
    if statement is not None:
        for label, texts in _said(statement.predicate):
            lines += _row(label, texts)
    lines += ["", *_row("Checked", [", ".join(verification.found.checked) or "nothing"])]
    lines += _row("Not checked", verification.found.notes)
    return "\n".join(lines)


def _verdict(verification: Verification) -> str:
    if verification.verified:
        return "verified"
    count = len(verification.problems)
    return f"NOT VERIFIED, {count} problem{'s' if count != 1 else ''}"


def _said(predicate: Predicate) -> Iterator[tuple[str, list[str]]]:
    identity, outputs, link = predicate.identity, predicate.outputs, predicate.chain
    yield "Artifact", [outputs.uri, outputs.digest, *_classified(outputs.classification)]
    yield (
        "Run",
        [
            f"{identity.namespace}/{identity.job}, run {identity.run_number} of generation {identity.generation}",
            *([f"submitted by {identity.submitter}{_why(identity.justification)}"] if identity.submitter else []),
            ", ".join(_numbers(predicate)) or "numbers are not in the record",
        ],
    )
    yield "Data", list(_data(predicate))
    licences = ", ".join(licence.key for licence in predicate.base.licences or []) or "not in the record"
    yield "Base", [f"{predicate.base.uri} {predicate.base.digest or 'digest not in the record'}", f"licence {licences}"]
    yield "Policies", list(_policies(predicate))
    yield "Approved by", [_agreed(approval) for approval in predicate.approvals] or ["nobody: no approval is in the record"]
    if predicate.waivers:
        yield "Waived by", [_agreed(waiver) for waiver in predicate.waivers]
    yield "Gates", list(_gates(predicate))
    if predicate.environment is not None and predicate.environment.egress is not None:
        yield "Egress", [predicate.environment.egress.result]
    yield "Obliged to", [_asked(obligation) for obligation in outputs.obligations]
    yield "Record", [f"number {link.seq} of namespace {link.namespace}, {link.recorded_at:%Y-%m-%d %H:%M:%SZ}, key {link.key_id}"]


def _numbers(predicate: Predicate) -> Iterator[str]:
    run = predicate.run
    if run.started_at is not None:
        yield f"{run.started_at:%Y-%m-%d %H:%MZ}" + (f" to {run.finished_at:%Y-%m-%d %H:%MZ}" if run.finished_at else "")
    if run.steps is not None:
        yield f"{run.steps:,} steps"
    if run.tokens is not None:
        yield f"{run.tokens:,} tokens"
    if run.loss is not None:
        yield f"loss {run.loss}"
    if predicate.code.trainer_image is not None:
        yield f"image {predicate.code.trainer_image}"


def _data(predicate: Predicate) -> Iterator[str]:
    data = predicate.data
    for source in data.sources:
        registered = f" (TrainingDataset {source.dataset})" if source.dataset else ""
        yield f"{source.uri}{registered} {source.digest or 'digest not in the record'}"
        yield from _classified(source.classification)
    if data.examples is not None:
        yield f"{data.examples:,} examples, sealed as {data.digest or 'unknown'}"
    for report in data.reports:
        yield f"{report.kind}: {', '.join(f'{number.name} {number.value}' for number in report.headlines) or report.digest}"


def _policies(predicate: Predicate) -> Iterator[str]:
    policy = predicate.policy
    if policy is None:
        yield "none: no policy had a say"
        return
    for applied in policy.policies:
        yield f"{applied.name} at generation {applied.generation}"
    yield f"decision {policy.decision} {policy.decision_digest or ''}"
    for finding in policy.findings:
        remark = "waived" if finding.waived else "blocks" if finding.blocks else "note"
        yield f"{finding.rule}: {finding.field}: {finding.message} ({remark}{f', {finding.policy}' if finding.policy else ''})"


def _gates(predicate: Predicate) -> Iterator[str]:
    evaluation = predicate.evaluation
    if evaluation is None:
        yield "nothing was evaluated"
        return
    yield f"{evaluation.verdict} on {evaluation.items:,} items{f': {evaluation.message}' if evaluation.message else ''}"
    for gate in evaluation.gates:
        yield f"{gate.name}: {gate.verdict}{f' ({gate.method})' if gate.method else ''}"
    for metric in evaluation.metrics:
        yield f"{metric.name}: {metric.base} -> {metric.tuned}, difference {metric.delta} [{metric.low}, {metric.high}], {metric.verdict}"


def _agreed(agreement: Agreement) -> str:
    until = f", until {agreement.expires_at:%Y-%m-%d %H:%MZ}" if agreement.expires_at else ""
    return f"{agreement.approver} ({agreement.stage}, {agreement.given_at:%Y-%m-%d %H:%MZ}{until}){_why(agreement.reason)}"


def _asked(obligation: Obligation) -> str:
    asked = [f"name begins with {obligation.name_prefix}" if obligation.name_prefix else "", obligation.notice]
    return f"{obligation.licence}: {'; '.join(filter(None, asked))}"


def _classified(classification: Classification | None) -> list[str]:
    if classification is None:
        return []
    words = [classification.level.value, *classification.regimes]
    return [", ".join(words) + (f"; only in {', '.join(classification.residencies)}" if classification.residencies else "")]


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _row(label: str, texts: Iterable[str], indent: int = _LABEL) -> Iterator[str]:
    """The label once, each text on lines of its own beside it; nothing for no texts."""
    for position, text in enumerate(texts):
        plain = "".join(character if character.isprintable() else "?" for character in text)
        first = f"{label if position == 0 else '':<{indent}}"
        yield from textwrap.wrap(plain, WIDTH, initial_indent=first, subsequent_indent=" " * (indent + 2), break_on_hyphens=False)
