"""Is the data called what it is, and is that allowed here? Labels, downgrades, records, clearance, and whether any policy applies."""

from collections.abc import Iterator

from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.case import Case, adapter_classification
from finetune_trainer.contract.governance.checks.data import owned_by
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.labels import clearance_of
from finetune_trainer.contract.governance.rules import RuleId
from finetune_trainer.contract.governance.vocabulary import Level


def labels_are_words(case: Case) -> Iterator[Finding]:
    for problem in case.declared.problems:
        yield find(RuleId.LABEL_INVALID, _label(problem.key), f"label {shown(problem.key)} {problem.why}")
    for problem in case.floor.problems:
        yield find(RuleId.LABEL_INVALID, "namespace", f"label {shown(problem.key)} of the namespace {problem.why}")
    if case.facts.namespace.labels.get(words.LABEL_GOVERNED, words.YES) != words.YES:
        yield find(
            RuleId.LABEL_INVALID, "namespace", f'label {shown(words.LABEL_GOVERNED)} of the namespace must be "{words.YES}" or absent'
        )


def labels_only_rise(case: Case) -> Iterator[Finding]:
    before, now = case.facts.subject.labels_before or {}, case.facts.subject.labels
    was, level = before.get(words.LABEL_LEVEL), now.get(words.LABEL_LEVEL)
    if was is not None and _rank(level) < _rank(was):
        yield find(
            RuleId.CLASSIFICATION_DOWNGRADE,
            _label(words.LABEL_LEVEL),
            f"was {shown(was)} and is {shown(level) if level is not None else 'gone'}",
        )
    for key in sorted(before):
        if key.startswith(words.REGIME_LABELS) and key not in now:
            yield find(RuleId.CLASSIFICATION_DOWNGRADE, _label(key), f"label {shown(key)} is gone")
    place = before.get(words.LABEL_RESIDENCY, words.ANY)
    if place not in {words.ANY, now.get(words.LABEL_RESIDENCY)}:
        yield find(RuleId.CLASSIFICATION_DOWNGRADE, _label(words.LABEL_RESIDENCY), f"was {shown(place)} and no longer is")


def declared_as_high_as_its_parts(case: Case) -> Iterator[Finding]:
    if case.declared.classification is None and not case.facts.namespace.governed:
        return  # nothing is declared, and nothing has to be: the parts alone decide
    declared = case.declared.classification.level if case.declared.classification else Level.PUBLIC
    parts = [(f"dataset at {dataset.field}", dataset.classification) for dataset in case.facts.datasets]
    parts += [("the adapter", adapter_classification(case.facts)), ("an earlier decision", case.facts.recorded)]
    higher = [f"{part.level} by {name}" for name, part in parts if part is not None and part.level > declared]
    if higher:
        yield find(RuleId.CLASSIFICATION_DOWNGRADE, _label(words.LABEL_LEVEL), f"declared {declared}, but it is {listed(higher)}")


def data_are_registered(case: Case) -> Iterator[Finding]:
    if case.level <= Level.INTERNAL:
        return
    for dataset in case.facts.datasets:
        if dataset.classification is None:
            yield find(RuleId.DATASET_NOT_REGISTERED, dataset.field, f"{shown(dataset.uri)} has no record and the level is {case.level}")


def data_are_not_withdrawn(case: Case) -> Iterator[Finding]:
    for dataset in case.facts.datasets:
        if dataset.withdrawn is not None:
            reason = f"{shown(dataset.uri)} was withdrawn: {shown(dataset.withdrawn)}{owned_by(dataset)}"
            yield find(RuleId.DATASET_WITHDRAWN, dataset.field, reason)


def namespace_is_cleared(case: Case) -> Iterator[Finding]:
    lacking = list(clearance_of(case.facts.namespace.labels).lacks(case.classification))
    if lacking and not case.serving:
        yield find(RuleId.NAMESPACE_NOT_CLEARED, "namespace", f"{shown(case.facts.namespace.name)} is not cleared for {listed(lacking)}")


def adapter_is_cleared(case: Case) -> Iterator[Finding]:
    if not case.serving:
        return
    holders = [(f"namespace {shown(case.facts.namespace.name)}", case.facts.namespace.labels)]
    if case.facts.model_server is not None:
        holders.append(("the model server", case.facts.model_server))
    field = case.facts.adapter.field if case.facts.adapter else "spec.adapter"
    for name, labels in holders:
        if lacking := list(clearance_of(labels).lacks(case.classification)):
            yield find(RuleId.ADAPTER_NOT_CLEARED, field, f"{name} is not cleared for {listed(lacking)}")


def some_policy_applies(case: Case) -> Iterator[Finding]:
    if case.level < Level.CONFIDENTIAL:
        return
    if any(policy.enforced and policy.match.min_level <= Level.CONFIDENTIAL for policy in case.policies):
        return
    enough = "no enforced policy applies from confidential on"
    others = [shown(policy.name) for policy in case.policies]
    aside = f" ({listed(others)} only audits, or begins above)" if others else ""
    yield find(RuleId.NO_MATCHING_POLICY, "namespace", f"level is {case.level} and {enough}{aside}")


def policies_are_still_there(case: Case) -> Iterator[Finding]:
    """One of the same name that was changed, or made again, is a policy like any other: what it asks for now is decided upon."""
    applying = {policy.name for policy in case.policies}
    for name in sorted(set(case.facts.accepted_under) - applying):
        why = "no longer matches it" if name in case.others else "is no more"
        yield find(RuleId.POLICY_GONE, f"policies[{shown(name)[1:-1]}]", f"{shown(name)}, under which it was accepted, {why}")


def _label(key: str) -> str:
    return f"metadata.labels[{shown(key)[1:-1]}]"


def _rank(level: str | None) -> int:
    """Below all for what is not there or no level: a typing error can be corrected, and none is a way down."""
    known = Level.read(level) if level is not None else None
    return -1 if known is None else list(Level).index(known)
