"""What every admission policy must have, whatever it says; what it does is tried on a real API server (tests/cluster/admission)."""

import pytest
import yaml

from finetune_operator.manifests.admission import POLICIES, AdmissionPolicy
from finetune_operator.manifests.admission.cel import quoted, text, told, when
from finetune_operator.manifests.admission.files import to_yaml
from finetune_operator.manifests.admission.policy import MISSING
from finetune_trainer.contract.governance import RULES, RuleId
from finetune_trainer.contract.governance.enclosure import ENCLOSURE_RULES, EnclosureRuleId

every_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


@every_policy
def test_it_fails_closed_and_names_versions_and_what_to_say_at_worst(policy: AdmissionPolicy) -> None:
    manifest, *bindings = policy.to_manifests()
    spec = manifest["spec"]
    assert spec["failurePolicy"] == "Fail"
    assert "*" not in {version for rule in spec["matchConstraints"]["resourceRules"] for version in rule["apiVersions"]}
    for validation in spec["validations"]:
        assert validation["reason"] == "Forbidden"
        assert validation["message"].isprintable()
        assert len(validation["message"]) <= 200
        assert "authorizer" not in validation["messageExpression"]  # a message that uses it silently fails
    assert {binding["spec"]["policyName"] for binding in bindings} == {manifest["metadata"]["name"]}


@every_policy
def test_a_variable_uses_only_those_before_it(policy: AdmissionPolicy) -> None:
    known: list[str] = []
    for variable in policy.to_manifests()[0]["spec"]["variables"]:
        used = {word.split(".")[1] for word in _words(variable["expression"]) if word.startswith("variables.")}
        assert used <= set(known), variable["name"]
        known.append(variable["name"])


@every_policy
def test_it_is_the_same_after_it_was_written(policy: AdmissionPolicy) -> None:
    assert list(yaml.safe_load_all(to_yaml(policy))) == policy.to_manifests()


def test_all_but_those_that_protect_namespaces_and_governance_itself_are_bound_to_governed_ones() -> None:
    bound = {policy.name: [each["spec"].get("matchResources") for each in policy.to_manifests()[1:]] for policy in POLICIES}
    selector = {"matchExpressions": [{"key": "finetune.dev/governed", "operator": "Exists"}]}
    for everywhere in ("namespaces", "definitions", "facts"):
        assert bound.pop(everywhere) == [None]
    assert all(matching["namespaceSelector"] == selector for bindings in bound.values() for matching in bindings)


def test_without_the_facts_nothing_is_created_and_finalizers_come_off() -> None:
    bindings = {policy.name: policy.to_manifests()[1:] for policy in POLICIES if policy.params is not None and policy.params.name}
    assert set(bindings) == {"finetunejobs", "adapterdeployments"}
    for created, changed in bindings.values():
        assert [rule["operations"] for rule in created["spec"]["matchResources"]["resourceRules"]] == [["CREATE"]]
        assert [rule["operations"] for rule in changed["spec"]["matchResources"]["resourceRules"]] == [["UPDATE"]]
        assert created["spec"]["paramRef"] == {"name": "current", "parameterNotFoundAction": MISSING}
        assert changed["spec"]["paramRef"] == {"name": "current", "parameterNotFoundAction": "Allow"}


def test_every_rule_of_the_api_server_is_told_by_some_policy() -> None:
    assert set(ENCLOSURE_RULES) == set(EnclosureRuleId)
    written = "".join(map(to_yaml, POLICIES))
    assert all(f"'{rule}: " in written for rule in EnclosureRuleId)
    assert not set(EnclosureRuleId) & set(RuleId)


def test_quotation_marks_stay_within_their_literals() -> None:
    assert text("it's a \\") == "'it\\'s a \\\\'"
    assert quoted("k", before="label ", after=" is gone") == "'label \\'' + k + '\\' is gone'"


def test_a_finding_reads_like_one_of_the_decision() -> None:
    finding = told(RuleId.NOT_PINNED, text("spec.x"), text("is absent"))
    assert finding == text(f"NotPinned: spec.x: is absent. {RULES[RuleId.NOT_PINNED].remedy}")
    assert when("c", "f") == "(c ? [f] : [])"


def _words(expression: str) -> list[str]:
    cleared = "".join(character if character.isalnum() or character == "." else " " for character in expression)
    return cleared.split()
