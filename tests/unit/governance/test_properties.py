"""What must hold for all facts and policies: an answer, the same in any order, and no way down by adding or raising something.

``FINETUNE_FULL_SIZE=1`` tries forty times as many.
"""

import os
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.contract.governance import Classification, Decision, Facts, Finding, Outcome, Policy, RuleId, decide
from finetune_trainer.contract.governance.policy import Mode
from finetune_trainer.contract.governance.vocabulary import Level
from tests.unit.governance import generated
from tests.unit.governance.samples import DIGEST, LEVEL, NOW, POLICY

RANKS = {outcome: rank for rank, outcome in enumerate(Outcome)}
FULL = bool(os.environ.get("FINETUNE_FULL_SIZE"))
MANY = settings(max_examples=2000 if FULL else 50, deadline=None)
APPROVALS = {RuleId.APPROVAL_PENDING, RuleId.APPROVAL_STALE}
some_policies = st.lists(generated.policies, max_size=4)


def told(question: Facts, rules: list[Policy]) -> Decision:
    return decide(generated.bound(question, rules), rules, NOW)


def blocking(decision: Decision, *lifted: RuleId) -> set[tuple[str, str, str]]:
    """What blocks, by rule, field and policy; a stale approval is a missing one."""
    found = [finding for finding in decision.findings if finding.blocks and finding.rule not in lifted]
    return {(RuleId.APPROVAL_PENDING if entry.rule in APPROVALS else entry.rule, entry.field, entry.policy) for entry in found}


def outcome_without(decision: Decision, *lifted: RuleId) -> int:
    severities = [finding.severity for finding in decision.findings if finding.blocks and finding.rule not in lifted]
    return RANKS[Outcome(str(max(severities)))] if severities else RANKS[Outcome.ALLOW]


@MANY
@given(generated.facts, some_policies)
def test_there_is_an_answer_to_everything(question: Facts, rules: list[Policy]) -> None:
    decision = told(question, rules)
    assert Decision.from_json(decision.to_json()) == decision
    line = decision.one_line()
    assert line.isprintable()
    for finding in decision.findings:
        assert Finding.model_validate(finding.model_dump()) == finding
        assert f"{finding.rule}: {finding.field}: {finding.reason}" in line
        assert finding.remedy in line


@MANY
@given(generated.facts, some_policies, st.randoms(use_true_random=False))
def test_order_changes_nothing(question: Facts, rules: list[Policy], random: Random) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert decide(question, shuffled, NOW) == decide(question, rules, NOW)


@MANY
@given(generated.facts, some_policies, generated.policies)
def test_adding_a_policy_loosens_nothing(question: Facts, rules: list[Policy], added: Policy) -> None:
    before, after = told(question, rules), told(question, [*rules, added])
    assert blocking(before, RuleId.NO_MATCHING_POLICY) <= blocking(after)
    assert outcome_without(after) >= outcome_without(before, RuleId.NO_MATCHING_POLICY)
    if before.outcome is not Outcome.ALLOW and after.outcome is Outcome.ALLOW:
        lifted = {finding.rule for finding in before.findings if finding.blocks}
        assert lifted == {RuleId.NO_MATCHING_POLICY}  # the one refusal that a policy is there to end
        assert added.enforced


@MANY
@given(generated.near(), generated.near_policies(), generated.near_policies())
def test_adding_a_policy_to_a_compliant_job_loosens_nothing(document: dict[str, Any], one: dict[str, Any], added: dict[str, Any]) -> None:
    question, rules = Facts.model_validate(document), [Policy.model_validate(one)]
    before, after = told(question, rules), told(question, [*rules, Policy.model_validate(added)])
    assert blocking(before, RuleId.NO_MATCHING_POLICY) <= blocking(after)


@MANY
@given(generated.facts, some_policies, generated.policies)
def test_a_policy_that_audits_changes_no_outcome(question: Facts, rules: list[Policy], added: Policy) -> None:
    auditing = added.model_copy(update={"mode": Mode.AUDIT})
    before, after = told(question, rules), told(question, [*rules, auditing])
    assert (after.outcome, blocking(after), after.digest) == (before.outcome, blocking(before), before.digest)


@MANY
@given(generated.facts, some_policies, st.data())
def test_raising_the_level_of_a_part_allows_no_more(question: Facts, rules: list[Policy], data: st.DataObject) -> None:
    raised = data.draw(st.sampled_from(list(Level)))
    part = data.draw(st.sampled_from(["datasets", "adapter", "recorded", "namespace"]))
    higher = raise_part(question, part, raised)
    assert_no_looser(told(question, rules), told(higher, rules))


@MANY
@given(generated.near(), st.lists(generated.near_policies().map(Policy.model_validate), max_size=2), generated.levels, generated.levels)
def test_raising_job_and_data_together_allows_no_more(document: dict[str, Any], rules: list[Policy], one: Level, other: Level) -> None:
    """But that what was declared below an adapter, which counts as the highest while nobody knows it, is corrected by it."""
    low, high = (Facts.model_validate(generated.at_level(document, level)) for level in sorted((one, other)))
    corrected = (RuleId.CLASSIFICATION_DOWNGRADE,) if low.adapter is not None else ()
    assert_no_looser(told(low, rules), told(high, rules), *corrected)


@MANY
@given(generated.facts, some_policies, st.sampled_from(list(Level)))
def test_raising_the_declared_level_allows_no_more(question: Facts, rules: list[Policy], level: Level) -> None:
    """But that a level which was declared too low is corrected by it."""
    labels = question.subject.labels
    was = Level.read(labels.get(LEVEL, Level.PUBLIC.value))
    if was is None or level <= was:
        return
    subject = question.subject.model_copy(update={"labels": {**labels, LEVEL: level.value}})
    before, after = told(question, rules), told(question.model_copy(update={"subject": subject}), rules)
    assert_no_looser(before, after, RuleId.CLASSIFICATION_DOWNGRADE, RuleId.LABEL_INVALID)
    if before.outcome is not Outcome.ALLOW and after.outcome is Outcome.ALLOW:
        assert after.classification.level == max(before.classification.level, level)


@MANY
@given(generated.facts, some_policies, st.lists(generated.classifications, max_size=3))
def test_the_whole_is_no_lower_than_its_parts(question: Facts, rules: list[Policy], more: list[Classification]) -> None:
    whole = told(question, rules).classification
    parts = [entry.classification for entry in question.datasets] + [question.recorded]
    assert all(whole.covers(part) for part in parts if part is not None)


@pytest.mark.parametrize("begins", list(product(Level, Mode)), ids=str)
def test_no_policy_that_begins_high_makes_a_higher_level_the_way_in(begins: tuple[Level, Mode]) -> None:
    level, mode = begins
    rules = [Policy.model_validate({**POLICY, "match": {"minLevel": level}, "mode": mode, "approvals": ()})]
    outcomes = [decide(Facts.model_validate(generated.at_level(generated.compliant, level)), rules, NOW).outcome for level in Level]
    assert [RANKS[outcome] for outcome in outcomes] == sorted(RANKS[outcome] for outcome in outcomes)


@pytest.mark.parametrize(("asked", "added", "people"), list(product((None, 1, 2, 3), (1, 2, 3), (1, 2, 3))))
def test_no_policy_lowers_how_many_waivers_another_finding_needs(asked: int | None, added: int, people: int) -> None:
    gates = [{"name": "gate", "verdict": "Fail"}]
    given = [{"stage": "Waive", "approver": f"p{number}", "subject_digest": DIGEST, "given_at": NOW} for number in range(people)]
    document = {**generated.at_level(generated.compliant, Level.INTERNAL), "gates": gates, "approvals": given}
    open_policy = {"approvals": (), "match": {}, "zones": ["*"]}
    rules = [Policy.model_validate({**POLICY, **open_policy, "waiverApprovals": count}) for count in ([asked] if asked else [])]
    more = Policy.model_validate({**POLICY, **open_policy, "name": "added", "waiverApprovals": added})
    before, after = told(Facts.model_validate(document), rules), told(Facts.model_validate(document), [*rules, more])
    assert (before.outcome is Outcome.ALLOW) is (people >= max(2, asked or 0))
    assert (after.outcome is Outcome.ALLOW) is (people >= max(2, asked or 0, added))


def test_the_generated_ones_reach_most_rules_and_both_ends() -> None:
    seen: set[RuleId] = set()
    outcomes: set[Outcome] = set()

    @settings(max_examples=400, deadline=None, database=None, derandomize=True)
    @given(generated.facts, some_policies)
    def look(question: Facts, rules: list[Policy]) -> None:
        decision = decide(question, rules, NOW)
        seen.update(finding.rule for finding in decision.findings)
        outcomes.add(decision.outcome)

    look()
    assert len(set(RuleId) - seen) <= 8, set(RuleId) - seen
    assert Outcome.ALLOW in outcomes
    assert Outcome.DENY in outcomes


def raise_part(question: Facts, part: str, level: Level) -> Facts:
    def higher(classification: Classification | None) -> Classification | None:
        return classification and classification.model_copy(update={"level": max(classification.level, level)})

    if part == "datasets":
        value: object = tuple(entry.model_copy(update={"classification": higher(entry.classification)}) for entry in question.datasets)
    elif part == "adapter":
        adapter = question.adapter
        value = adapter and adapter.model_copy(update={"classification": higher(adapter.classification)})
    elif part == "recorded":
        value = higher(question.recorded)
    else:
        was = Level.read(question.namespace.labels.get(LEVEL, Level.PUBLIC.value))
        floor = max(was, level) if was else None
        labels = {**question.namespace.labels, **({LEVEL: floor.value} if floor else {})}
        value = question.namespace.model_copy(update={"labels": labels})
    return question.model_copy(update={part: value})


def assert_no_looser(before: Decision, after: Decision, *lifted: RuleId) -> None:
    """Everything that blocked still does, and nothing is allowed that was not."""
    assert blocking(before, *lifted) <= blocking(after)
    assert outcome_without(after) >= outcome_without(before, *lifted)
