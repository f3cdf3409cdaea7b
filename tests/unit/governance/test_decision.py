"""How a decision is told, bound, waived and paid for; the words it is made of."""

from datetime import timedelta
from itertools import pairwise

import pytest

from finetune_operator.api import base
from finetune_operator.api.reference import governance_rules_page
from finetune_trainer.contract.governance import RULES, Decision, Facts, Outcome, RuleId, Severity, decide
from finetune_trainer.contract.governance.checks.place import host_of
from finetune_trainer.contract.governance.decide import CHECKS, POLICY_CHECKS
from finetune_trainer.contract.governance.licences import OBLIGATIONS
from finetune_trainer.contract.governance.vocabulary import HIPAA_TYPES, LABEL_PREFIX, Entity, Level, ScanProfile
from tests.performance.governance_decide import evaluations
from tests.unit.governance.samples import FACTS, LABELS, LLAMA, NOW, OTHER, approvals, changed, judged, policies

THREE = {
    "trackers": ["https://u:secret@tracker.example/x"],
    "images": ["trainer:latest"],
    "subject__labels": {"finetune.dev/level": "confidential"},
}


def test_three_broken_rules_are_told_on_one_line_each_with_its_remedy() -> None:
    decision = judged(changed(FACTS, THREE), policies())
    assert decision.one_line() == (
        "3 finding(s): "
        "LabelInvalid: metadata.labels[finetune.dev/residency]: label 'finetune.dev/residency' is missing. "
        "Set the label to one of the legal values.; "
        "NotPinned: images[0]: 'trainer:latest' is not named by digest (policy phi). "
        "Add the digest, sha256:<64 hex digits>; for an image NAME@sha256:<64 hex digits>.; "
        "ExternalTracker: spec.tracking.mlflow.uri: no host that can be read for certain is not among the tracker hosts: "
        "mlflow.mlops.svc (policy phi). "
        "Use a tracker that the policy names, or none."
    )


def test_nothing_wrong_is_said_too() -> None:
    assert judged(FACTS, policies()).one_line() == "no findings"


def test_no_password_of_an_address_is_told() -> None:
    assert "secret" not in judged(changed(FACTS, THREE), policies()).to_json()


def test_a_text_of_a_users_never_breaks_the_line() -> None:
    decision = judged(changed(FACTS, {"subject__labels": {**LABELS, "finetune.dev/regime.a\nb": "true"}}), policies())
    assert "finetune.dev/regime.a?b" in decision.one_line()
    assert "\n" not in decision.one_line()


def test_what_several_policies_say_alike_is_told_once_with_their_names() -> None:
    decision = judged(
        changed(FACTS, {"images": ["trainer:latest"]}), policies({"name": "b"}, {"name": "a", "mode": "Audit"}, {"name": "c"})
    )
    assert [(finding.policy, finding.enforced) for finding in decision.findings] == [("b", True), ("c", True), ("a", False)]
    assert decision.one_line().count("(policy b + c)") == 1
    assert decision.one_line().count("(policy a, audit only)") == 1


def test_what_blocks_comes_first_then_the_worst_then_the_order_of_the_rules() -> None:
    changes = {
        "gates__0__verdict": "Fail",
        "nodes": [],
        "egress": "Open",
        "images": ["x"],
        "datasets__0__generators": [{"name": "m", "licence": LLAMA}],
    }
    decision = judged(changed(FACTS, changes), policies(), given=[])
    assert [finding.rule for finding in decision.findings] == [
        RuleId.NOT_PINNED,
        RuleId.EGRESS_NOT_ENFORCED,
        RuleId.GATE_FAILED,
        RuleId.NO_COMPLIANT_NODE,
        RuleId.APPROVAL_PENDING,
        RuleId.LICENCE_OBLIGATION,
    ]


def test_an_auditing_policy_is_told_and_blocks_nothing() -> None:
    decision = judged(FACTS, policies({}, {"name": "trial", "mode": "Audit", "zones": ["eu-de"], "trackerHosts": []}))
    assert decision.outcome is Outcome.ALLOW
    assert {finding.rule for finding in decision.findings} == {
        RuleId.RESIDENCY_VIOLATION,
        RuleId.EXTERNAL_TRACKER,
        RuleId.NO_COMPLIANT_NODE,
    }
    assert judged(FACTS, policies({}, {"name": "trial", "zones": ["eu-de"], "trackerHosts": []})).outcome is Outcome.DENY


def test_a_node_for_each_of_two_policies_is_no_node_for_both() -> None:
    labels = "gpu.node-restriction.kubernetes.io/class"
    nodes = [{**FACTS["nodes"][0], labels: "a"}, {**FACTS["nodes"][0], labels: "b"}]
    asked = [{"name": name, "nodeLabels": [{"key": labels, "values": [name]}]} for name in ("a", "b")]
    document = changed(FACTS, {"nodes": nodes, "boundNode": None})
    assert [judged(document, policies(one)).outcome for one in asked] == [Outcome.ALLOW, Outcome.ALLOW]
    assert [finding.rule for finding in judged(document, policies(*asked)).findings] == [RuleId.NO_COMPLIANT_NODE]


def waivers(*people: str, changes: dict[str, object] | None = None, **policy: object) -> Decision:
    document = changed(FACTS, {"gates__0__verdict": "Fail", "scan__entire": False, **(changes or {})})
    digest = judged(document, policies(policy), given=[]).digest
    return judged(document, policies(policy), given=approvals(digest, "bob", "carol") + approvals(digest, *people, stage="Waive"))


def test_enough_waivers_let_pass_what_can_be_waived_and_it_stays_on_record() -> None:
    assert waivers("bob").outcome is Outcome.NEEDS_APPROVAL
    assert waivers("bob", "alice").outcome is Outcome.NEEDS_APPROVAL
    passed = waivers("bob", "carol")
    assert passed.outcome is Outcome.ALLOW
    assert {(finding.rule, finding.waived) for finding in passed.findings} == {(RuleId.GATE_FAILED, True), (RuleId.SCAN_COVERAGE_GAP, True)}


def test_a_policy_that_audits_asks_for_no_waivers_of_what_another_has_found() -> None:
    """Also one of the same name, as where a policy is decided upon before and after an edit."""
    document = changed(FACTS, {"scan__entire": False})
    rules = policies({"waiverApprovals": 1}, {"waiverApprovals": 8, "mode": "Audit", "generation": 2})
    digest = decide(Facts.model_validate(document), rules, NOW).digest
    given = [*approvals(digest, "bob", "carol"), *approvals(digest, "bob", stage="Waive")]
    found = [finding for finding in judged(document, rules, given=given).findings if finding.rule is RuleId.SCAN_COVERAGE_GAP]
    assert {finding.enforced: finding.waived for finding in found} == {True: True, False: False}


def test_a_policy_that_asks_for_one_waiver_lowers_nothing_that_is_not_its_own() -> None:
    decision = waivers("bob", waiverApprovals=1)
    assert {finding.rule: finding.waived for finding in decision.findings} == {RuleId.GATE_FAILED: False, RuleId.SCAN_COVERAGE_GAP: True}


def test_no_waiver_lets_a_refusal_pass() -> None:
    assert waivers("bob", "carol", changes={"egress": "Open"}).outcome is Outcome.DENY


@pytest.mark.parametrize(
    ("change", "rebinds"),
    [
        ({"datasets__0__digest": OTHER}, True),
        ({"baseModel__digest": OTHER}, True),
        ({"subject__specDigest": OTHER}, True),
        ({"subject__uid": "u-9"}, True),
        ({"dataReport__examples": 999}, True),
        ({"subject__labels": {**LABELS, "finetune.dev/level": "restricted"}}, True),
        ({"subject__labels": {**LABELS, "app": "notes"}}, False),
        ({"egress": None}, False),
        ({"nodes": []}, False),
        ({"stage": "Promote"}, False),
        ({"gates": []}, False),
    ],
)
def test_approvals_bind_to_what_was_decided_upon(change: dict[str, object], rebinds: bool) -> None:
    assert (judged(changed(FACTS, change), policies()).digest != judged(FACTS, policies()).digest) is rebinds


def test_approvals_bind_to_the_policies_and_their_content() -> None:
    digests = {judged(FACTS, policies(change)).digest for change in ({}, {"generation": 4}, {"zones": ["*"]}, {"uid": "p-2"})}
    assert len(digests) == 4


def test_time_expires_approvals_and_changes_nothing_else() -> None:
    digest = judged(FACTS, policies()).digest
    facts = Facts.model_validate({**FACTS, "approvals": approvals(digest, "bob", "carol")})
    later = decide(facts, policies(), NOW + timedelta(days=1))
    assert [finding.rule for finding in later.findings] == [RuleId.APPROVAL_STALE]
    assert later.digest == digest


def test_an_ungoverned_namespace_without_labels_is_left_alone() -> None:
    facts = {"stage": "Accept", "namespace": {"name": "default"}, "subject": {"name": "tickets"}, "datasets": [{"uri": "pvc://a/b"}]}
    assert decide(Facts.model_validate(facts), [], NOW).findings == ()


def test_an_adapter_without_a_classification_counts_as_restricted_where_it_is_governed() -> None:
    facts = changed(FACTS, {"adapter": {"digest": OTHER, "signature": "Valid", "record": "Valid"}})
    assert judged(facts, policies()).classification.level is Level.RESTRICTED


def test_obligations_travel_with_the_decision() -> None:
    decision = judged(changed(FACTS, {"datasets__0__generators": [{"name": "m", "licence": LLAMA}]}), policies())
    assert [(entry.licence, entry.name_prefix) for entry in decision.obligations] == [(LLAMA, "Llama")]
    assert decision.outcome is Outcome.ALLOW


def test_the_raised_regime_is_part_of_the_classification() -> None:
    facts = changed(FACTS, {"scan__hits": [{"entity": "card", "rows": 1, "validatedRows": 1}]})
    assert "pci" in judged(facts, policies()).classification.regimes


@pytest.mark.parametrize(
    "address",
    [
        "//mlflow.site",
        "mlflow.site",
        "ftp://mlflow.site",
        "http://u@mlflow.site",
        "http://evil.test\\@mlflow.site",
        "http://a#@b",
        "http://a%2eb",
        "http://a\n",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_has_no_host(address: str) -> None:
    assert host_of(address) is None


def test_a_host_is_compared_in_lower_case_without_a_last_dot() -> None:
    assert host_of("HTTPS://Mlflow.Site.:5000/a?b=c") is None  # a scheme is written in lower case
    assert host_of("https://Mlflow.Site.:5000/a?b=c") == "mlflow.site"


@pytest.mark.parametrize("count", [0, 1, 50])
def test_each_check_is_asked_once_and_once_for_each_policy(count: int) -> None:
    asked = policies(*({"name": f"p-{number}"} for number in range(count))) if count else []
    assert evaluations(Facts.model_validate(FACTS), asked) == len(CHECKS) + count * len(POLICY_CHECKS)


def test_the_words_are_complete_and_ordered() -> None:
    assert LABEL_PREFIX == base.LABEL_PREFIX
    assert set(HIPAA_TYPES) == set(Entity) - {Entity.SECRET}
    for words in (list(Level), list(Severity), list(ScanProfile)):
        assert all(one < other for one, other in pairwise(words))  # type: ignore[operator]
    assert [Level.read("restricted"), Level.read("secret")] == [Level.RESTRICTED, None]
    assert all(key == obligation.licence for key, obligation in OBLIGATIONS.items())


def test_every_rule_is_explained_and_has_its_line_on_the_page() -> None:
    assert set(RULES) == set(RuleId)
    page = governance_rules_page()
    for rule, text in RULES.items():
        assert f"| `{rule}` |" in page
        assert text.meaning.endswith(".")
        assert text.remedy.endswith(".")
        assert len(text.remedy) <= 256
