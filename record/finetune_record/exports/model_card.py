"""The model card: a README whose front matter model hubs read, made of the record."""

import json
from collections.abc import Iterator
from typing import Any

from finetune_record.exports.words import NOT_RECORDED, classified, listed, moment, plain, record_digest, title
from finetune_record.statement import Predicate, Statement

_HUB = "hf://"


def model_card(statement: Statement) -> str:
    """Front matter (YAML, each value spelled as JSON) and text."""
    head = "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in _front_matter(statement.predicate))
    return f"---\n{head}---\n\n" + "\n".join(_text(statement)) + "\n"


def _front_matter(predicate: Predicate) -> Iterator[tuple[str, Any]]:
    """Source: model card metadata of the Hugging Face hub."""
    base, evaluation = predicate.base, predicate.evaluation
    keys = [licence.key for licence in base.licences or []]
    if len(keys) == 1 and not keys[0].startswith("LicenseRef-"):
        yield "license", keys[0].lower()
    elif keys:
        yield "license", "other"
        yield "license_name", " AND ".join(keys)
    if base.uri.startswith(_HUB):
        yield "base_model", base.uri.removeprefix(_HUB).split("@")[0]
    yield "library_name", "peft"
    if evaluation is not None and evaluation.metrics:
        metrics = [{"type": metric.name, "value": float(metric.tuned), "name": metric.name} for metric in evaluation.metrics]
        dataset = {"type": "evaluation", "name": evaluation.dataset_digest or "evaluation items"}
        results = [{"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}]
        yield "model-index", [{"name": predicate.identity.job, "results": results}]


def _text(statement: Statement) -> Iterator[str]:
    predicate = statement.predicate
    yield f"# {plain(title(statement))}\n"
    for obligation in predicate.outputs.obligations:
        if obligation.notice:
            yield f"{plain(obligation.notice)}\n"
    yield f"An adapter for {plain(predicate.base.uri)}."
    yield f"Derived from the signed record `{record_digest(statement)}`; verify it with `finetune verify`.\n"
    yield "## Data\n"
    yield from _data(predicate)
    yield "\n## Evaluation\n"
    yield from _evaluation(predicate)
    yield "\n## Governance\n"
    yield from _governance(predicate)


def _data(predicate: Predicate) -> Iterator[str]:
    for source in predicate.data.sources:
        known = classified(source.classification) or f"classification {NOT_RECORDED}"
        yield f"- {plain(source.uri)} ({source.digest or f'digest {NOT_RECORDED}'}), {known}"
    yield f"- Examples: {predicate.data.examples if predicate.data.examples is not None else NOT_RECORDED}"


def _evaluation(predicate: Predicate) -> Iterator[str]:
    evaluation = predicate.evaluation
    if evaluation is None:
        yield f"Evaluation: {NOT_RECORDED}."
        return
    yield f"{plain(evaluation.verdict)} on {evaluation.items} items.\n"
    yield "| Metric | Base | Tuned | Difference | 95 % interval | Verdict |"
    yield "|---|---|---|---|---|---|"
    for metric in evaluation.metrics:
        interval = f"{metric.low} to {metric.high}"
        yield f"| {plain(metric.name)} | {metric.base} | {metric.tuned} | {metric.delta} | {interval} | {plain(metric.verdict)} |"


def _governance(predicate: Predicate) -> Iterator[str]:
    policies = predicate.policy.policies if predicate.policy else []
    link = predicate.chain
    yield f"- Classification: {classified(predicate.outputs.classification) or NOT_RECORDED}"
    yield f"- Policies: {plain(listed(f'{policy.name} at generation {policy.generation}' for policy in policies) or 'none')}"
    yield f"- Approved by: {plain(listed(f'{approval.approver} ({approval.stage})' for approval in predicate.approvals) or 'nobody')}"
    yield f"- Recorded: {moment(link.recorded_at)}, number {link.seq} of namespace {plain(link.namespace)}"
