"""The decision table, row by row: what is refused, held or waits, and its nearest neighbour that is not."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from finetune_trainer.contract.governance import Outcome, RuleId
from tests.unit.governance import samples
from tests.unit.governance.samples import (
    CLASSIFIED,
    DIGEST,
    FACTS,
    LABELS,
    LEVEL,
    LLAMA,
    NAMESPACE,
    NODE,
    NOW,
    OTHER,
    PHI,
    RESIDENCY,
    SERVING,
)

R = RuleId
LLAMA_3 = "LicenseRef-llama-3-license-2024"
PROMOTE = {"stage": "Promote"}
GENERATED = [{"name": "big", "licence": LLAMA}]
SAFE_HARBOR = [{**FACTS["datasets"][0], "claimsSafeHarbor": True}]


def hits(entity: str, rows: int, validated: int = 0) -> list[dict[str, Any]]:
    return [{"entity": entity, "rows": rows, "validatedRows": validated}]


def licence(key: str, category: str | None) -> dict[str, Any]:
    return {"baseModel__licences": [{"key": key, "category": category}]}


def with_rows(**report: int) -> dict[str, Any]:
    return {"dataReport": {**FACTS["dataReport"], **report}}


RESTRICTED = {
    "subject__labels": {**LABELS, LEVEL: "restricted"},
    "datasets__0__classification": {**CLASSIFIED, "level": "restricted"},
}


@dataclass(frozen=True)
class Row:
    """``refused`` and ``fine`` are changes of the facts; the policy's changes hold for both, as far as they are not told apart."""

    number: int
    rule: RuleId
    outcome: Outcome
    refused: dict[str, Any]
    fine: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    fine_policy: dict[str, Any] | None = None
    base: dict[str, Any] = field(default_factory=lambda: FACTS)

    def __str__(self) -> str:
        return f"{self.number}-{self.rule}-{'-'.join(self.refused) or '-'.join(self.policy)}"


DENY, ASK, HOLD, ALLOW = Outcome.DENY, Outcome.NEEDS_APPROVAL, Outcome.HOLD, Outcome.ALLOW
ROWS = [
    Row(1, R.LABEL_INVALID, DENY, {"subject__labels": {RESIDENCY: "onprem-a", LEVEL: "confidentail"}}),
    Row(1, R.LABEL_INVALID, DENY, {"subject__labels": {LEVEL: "confidential", PHI: "true"}}),
    Row(1, R.LABEL_INVALID, DENY, {"subject__labels": {**LABELS, RESIDENCY: "moon"}}, {"subject__labels": LABELS}),
    Row(1, R.LABEL_INVALID, DENY, {"subject__labels": {**LABELS, "finetune.dev/regime.gdpr": "true"}}),
    Row(1, R.LABEL_INVALID, DENY, {"subject__labels": {**LABELS, PHI: "yes"}}),
    Row(
        1,
        R.LABEL_INVALID,
        DENY,
        {"namespace__labels": {**NAMESPACE, LEVEL: "low"}},
        {"namespace__labels": {**NAMESPACE, LEVEL: "internal"}},
    ),
    Row(1, R.LABEL_INVALID, DENY, {"namespace__labels": {**NAMESPACE, "finetune.dev/governed": "yes"}}),
    Row(
        2,
        R.CLASSIFICATION_DOWNGRADE,
        DENY,
        {"subject__labelsBefore": {**LABELS, LEVEL: "restricted"}},
        {"subject__labelsBefore": {**LABELS, LEVEL: "internal"}},
    ),
    Row(2, R.CLASSIFICATION_DOWNGRADE, DENY, {"subject__labels": {**LABELS, LEVEL: "internal"}}),
    Row(2, R.CLASSIFICATION_DOWNGRADE, DENY, {"subject__labelsBefore": {**LABELS, "finetune.dev/regime.pii": "true"}}),
    Row(2, R.CLASSIFICATION_DOWNGRADE, DENY, {"subject__labelsBefore": {**LABELS, RESIDENCY: "eu-de"}}),
    Row(2, R.CLASSIFICATION_DOWNGRADE, DENY, {"recorded": {"level": "restricted"}}, {"recorded": {"level": "internal"}}),
    Row(
        2,
        R.CLASSIFICATION_DOWNGRADE,
        DENY,
        {"adapter": {**SERVING["adapter"], "classification": {"level": "restricted"}}},
        {"adapter": SERVING["adapter"]},
    ),
    Row(2, R.DATASET_NOT_REGISTERED, DENY, {"datasets__0__classification": None}),
    Row(3, R.NAMESPACE_NOT_CLEARED, DENY, {"namespace__labels": {**NAMESPACE, "finetune.dev/clearance-level": "internal"}}),
    Row(3, R.NAMESPACE_NOT_CLEARED, DENY, {"namespace__labels": {**NAMESPACE, "finetune.dev/clearance-level": "top"}}),
    Row(3, R.NAMESPACE_NOT_CLEARED, DENY, {"namespace__labels": {**NAMESPACE, "finetune.dev/clearance.phi": "no"}}),
    Row(4, R.NO_MATCHING_POLICY, DENY, {}, {}, {"match__regimes": ["pci"]}, {}),
    Row(4, R.NO_MATCHING_POLICY, DENY, {}, {}, {"mode": "Audit"}, {}),
    Row(4, R.POLICY_GONE, DENY, {"acceptedUnder": ["phi", "house"]}, {"acceptedUnder": ["phi"]}),
    Row(4, R.POLICY_GONE, DENY, {"acceptedUnder": ["phi"]}, {"acceptedUnder": ["phi"]}, {"match__regimes": ["pci"]}, {}),
    Row(4, R.NO_MATCHING_POLICY, DENY, RESTRICTED, RESTRICTED, {"match__minLevel": "restricted"}, {}),
    Row(
        4,
        R.NO_MATCHING_POLICY,
        DENY,
        {},
        {},
        {"match__namespaceLabels": {"team": "b"}},
        {"match__namespaceLabels": {"finetune.dev/governed": "true"}},
    ),
    Row(5, R.RESIDENCY_VIOLATION, DENY, {}, {}, {"zones": ["eu-de"]}, {"zones": ["eu-de", "onprem-a"]}),
    Row(5, R.RESIDENCY_VIOLATION, DENY, {}, {}, {"zones": None}, {"zones": ["*"]}),
    Row(
        5,
        R.RESIDENCY_VIOLATION,
        DENY,
        {"datasets__0__uri": "pvc://clinic-b/notes.jsonl"},
        {"datasets__0__uri": "pvc://clinic/b/notes.jsonl"},
    ),
    Row(5, R.RESIDENCY_VIOLATION, DENY, {"datasets__0__uri": "pvc://clinic/../other/notes.jsonl"}),
    Row(5, R.RESIDENCY_VIOLATION, DENY, {"boundNode": {**NODE, "zone.node-restriction.kubernetes.io/name": "eu-de"}}, {"boundNode": NODE}),
    Row(5, R.RESIDENCY_VIOLATION, DENY, {"datasets__0__classification": {**CLASSIFIED, "residencies": ["eu-de"]}}),
    Row(6, R.NOT_PINNED, DENY, {"datasets__0__digest": None}),
    Row(6, R.NOT_PINNED, DENY, {"baseModel__digest": DIGEST + "\n"}),
    Row(6, R.NOT_PINNED, DENY, {"images": ["registry.example/trainer:latest"]}, {"images": [f"registry.example/trainer:1@{DIGEST}"]}),
    Row(6, R.NOT_PINNED, DENY, {"adapter": {**SERVING["adapter"], "digest": "main"}}, {"adapter": SERVING["adapter"]}),
    Row(7, R.LICENCE_UNKNOWN, DENY, {"baseModel__licences": None}),
    Row(7, R.LICENCE_UNKNOWN, DENY, licence("qwen", None), licence("qwen", None), {}, {"licences": {"allow": ["qwen"]}}),
    Row(7, R.LICENCE_DENIED, DENY, licence("LicenseRef-x", "Commercial")),
    Row(7, R.LICENCE_DENIED, DENY, licence("GPL-3.0-only", "Copyleft"), licence("MIT", "Permissive")),
    Row(7, R.LICENCE_CONDITIONAL, ASK, licence(LLAMA, "Proprietary Free"), licence("MIT", "Permissive")),
    Row(
        8,
        R.LICENCE_OBLIGATION,
        ALLOW,
        {"datasets__0__generators": GENERATED},
        {"datasets__0__generators": [{"name": "m", "licence": "MIT"}]},
    ),
    Row(8, R.LICENCE_OBLIGATION, DENY, {"adapter__licences": [LLAMA], "servedAs": "tickets"}, {"servedAs": "tickets"}, base=SERVING),
    Row(8, R.LICENCE_OBLIGATION, DENY, {"adapter__licences": [LLAMA_3], "servedAs": "llama-2"}, {"servedAs": "llama-2"}, base=SERVING),
    Row(9, R.UNSAFE_MODEL_FORMAT, DENY, {"baseModel__formats": ["Safetensors", "Pickle"]}),
    Row(9, R.UNSAFE_MODEL_FORMAT, DENY, {"baseModel__remoteCode": True}, {"baseModel__remoteCode": False}),
    Row(10, R.UNDECLARED_REGIME, DENY, {"scan__hits": hits("card", 3, 1)}, {"scan__hits": hits("card", 3, 0)}),
    Row(
        10,
        R.UNDECLARED_REGIME,
        DENY,
        {
            "subject__labels": {LEVEL: "confidential", RESIDENCY: "onprem-a"},
            "datasets__0__classification": {"level": "confidential"},
            "scan__hits": hits("nhs-number", 2, 2),
        },
        {"scan__hits": hits("nhs-number", 2, 2)},
    ),
    Row(10, R.SECRET_IN_DATA, ASK, {"scan__hits": hits("secret", 2)}, {"scan__hits": hits("secret", 0)}),
    Row(
        11,
        R.DEIDENTIFICATION_REFUTED,
        DENY,
        {"datasets": SAFE_HARBOR, "scan__hits": hits("ssn", 2, 1)},
        {"scan__hits": hits("ssn", 2, 1)},
    ),
    Row(11, R.DEIDENTIFICATION_DOUBTFUL, ASK, {"datasets": SAFE_HARBOR, "scan__hits": hits("date", 2)}, {"datasets": SAFE_HARBOR}),
    Row(12, R.SCAN_COVERAGE_GAP, ASK, {**RESTRICTED, "scan__profile": "Identifiers"}, {"scan__profile": "Identifiers"}),
    Row(12, R.SCAN_COVERAGE_GAP, ASK, {"scan": None}, {"scan": None}, {}, {"scan": None}),
    Row(12, R.SCAN_COVERAGE_GAP, ASK, {"scan__entire": False}, {"scan__entire": True}),
    Row(13, R.TOO_FEW_EXAMPLES, DENY, with_rows(examples=499), with_rows(examples=500)),
    Row(13, R.TOO_FEW_EXAMPLES, DENY, with_rows(taskMinimum=1001), with_rows(taskMinimum=1000)),
    Row(13, R.TOO_FEW_EXAMPLES, ASK, with_rows(examples=499), with_rows(examples=500), {"quality__waivable": True}),
    Row(13, R.TOO_FEW_EXAMPLES, DENY, {"dataReport": None}),
    Row(13, R.TOO_MANY_DUPLICATES, DENY, with_rows(duplicates=101), with_rows(duplicates=100)),
    Row(13, R.EVALUATION_OVERLAP, DENY, with_rows(evaluationOverlap=1)),
    Row(14, R.EXTERNAL_TRACKER, DENY, {"trackers": ["https://tracker.example"]}, {"trackers": ["http://MLFLOW.mlops.svc.:80/x"]}),
    Row(14, R.EXTERNAL_TRACKER, DENY, {}, {"trackers": []}, {"trackerHosts": None}),
    Row(14, R.EXTERNAL_JUDGE, DENY, {"judges": ["https://judge.example.evil.test/v1"]}),
    Row(15, R.NO_COMPLIANT_NODE, HOLD, {"nodes": [{**NODE, "gpu.node-restriction.kubernetes.io/class": "c"}]}, {"nodes": [{}, NODE]}),
    Row(15, R.NO_COMPLIANT_NODE, HOLD, {"nodes": []}, {"nodes": None}),
    Row(16, R.EGRESS_NOT_ENFORCED, DENY, {"egress": "Open"}, {"egress": "Open"}, {}, {"egress": "Open"}),
    Row(16, R.EGRESS_PROBE_INCONCLUSIVE, DENY, {"egress": "Inconclusive"}),
    Row(16, R.EGRESS_PROBE_INCONCLUSIVE, DENY, {"egress": None}, {"stage": "Seal", "egress": None}),
    Row(16, R.API_TOKEN_MOUNTED, DENY, {"apiToken": True}, {"apiToken": False}),
    Row(16, R.API_TOKEN_MOUNTED, DENY, {"apiToken": True}, {"apiToken": None}),
    Row(17, R.DIGEST_MISMATCH, DENY, {"reads__0__read": OTHER}),
    Row(18, R.REVIEW_PENDING, HOLD, {}, {}, {"review": {"rows": 50}}, {}),
    Row(18, R.REVIEW_PENDING, HOLD, {"review": None}, {**PROMOTE, "review": None}, {"review": {"rows": 50}}),
    Row(19, R.GATE_FAILED, ASK, {**PROMOTE, "gates__0__verdict": "Fail"}, PROMOTE),
    Row(19, R.NEED_MORE_ITEMS, HOLD, {**PROMOTE, "gates": [{"name": "i", "verdict": "Inconclusive", "itemsToDecide": 742}]}, PROMOTE),
    Row(18, R.JUSTIFICATION_MISSING, DENY, {"subject__justified": False}, {"subject__justified": True}, {"requireJustification": True}),
    Row(18, R.JUSTIFICATION_MISSING, DENY, {"subject__justified": False}, {"subject__justified": None}, {"requireJustification": True}),
    Row(18, R.APPROVAL_UNREADABLE, ALLOW, {"unreadableApprovals": ["bob"]}),
    Row(19, R.GATE_MISSING, DENY, {"subject__gated": False}, {"subject__gated": True}),
    Row(
        19, R.GATE_MISSING, DENY, {"stage": "Accept", "subject__gated": False}, {"subject__gated": False}, {}, {"requireEvaluation": False}
    ),
    Row(19, R.GATE_MISSING, HOLD, {**PROMOTE, "gates": []}, {**PROMOTE, "gates": []}, {}, {"requireEvaluation": False}),
    Row(
        20,
        R.ADAPTER_NOT_CLEARED,
        DENY,
        {"namespace__labels": {**NAMESPACE, "finetune.dev/clearance-level": "public"}},
        base=SERVING,
    ),
    Row(20, R.ADAPTER_NOT_CLEARED, DENY, {"modelServer": {}}, {"modelServer": None}, base=SERVING),
    Row(20, R.ADAPTER_NOT_CLEARED, DENY, {"modelServer": {"finetune.dev/clearance-level": "restricted"}}, base=SERVING),
    Row(21, R.UNVERIFIED, DENY, {"adapter__signature": "Invalid"}, base=SERVING),
    Row(21, R.UNVERIFIED, DENY, {"adapter__record": None}, {"adapter__record": None}, {}, {"requireProofs": False}, base=SERVING),
    Row(21, R.UNVERIFIED, DENY, {"adapter__signature": "Absent"}, base=SERVING),
    Row(5, R.PURPOSE_NOT_ALLOWED, DENY, {"datasets__0__purposes": ["research"]}, {"datasets__0__purposes": None}),
    Row(5, R.PURPOSE_NOT_ALLOWED, DENY, {"subject__purpose": "ads"}, {"subject__purpose": "triage"}, {"purposes": ["triage"]}),
    Row(
        5,
        R.RETENTION_EXPIRED,
        DENY,
        {"datasets__0__retainUntil": NOW},
        {"datasets__0__retainUntil": NOW + timedelta(seconds=1)},
    ),
    Row(5, R.RETENTION_EXPIRED, DENY, {"datasets__0__retainUntil": NOW}, {**PROMOTE, "datasets__0__retainUntil": NOW}),
    Row(21, R.DATASET_WITHDRAWN, DENY, {"datasets__0__withdrawn": "consent revoked"}, {"datasets__0__withdrawn": None}),
    Row(21, R.REVOKED, DENY, {"adapter__revoked": True}, base=SERVING),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_is_told_and_its_neighbour_is_not(row: Row) -> None:
    told = samples.judged(samples.changed(row.base, row.refused), samples.policies(row.policy))
    assert row.rule in {finding.rule for finding in told.findings}, told.one_line()
    assert told.outcome is row.outcome, told.one_line()
    own = [finding for finding in told.findings if finding.rule is row.rule]
    assert row.outcome is ALLOW or str(own[0].severity) == row.outcome
    fine_policy = row.policy if row.fine_policy is None and row.fine else row.fine_policy or {}
    fine = samples.judged(samples.changed(row.base, row.fine), samples.policies(fine_policy))
    assert row.rule not in {finding.rule for finding in fine.findings}, fine.one_line()
    if row.number != 10:  # there the neighbour may raise a regime of its own
        assert fine.outcome is ALLOW, fine.one_line()


@pytest.mark.parametrize(("licence", "name"), [(LLAMA, "llama-tickets"), (LLAMA, "Llama Tickets"), (LLAMA_3, "llama-3-tickets")])
def test_row_8_a_name_that_begins_as_asked(licence: str, name: str) -> None:
    told = samples.judged(samples.changed(SERVING, {"adapter__licences": [licence], "servedAs": name}), samples.policies())
    assert [finding.severity.value for finding in told.findings] == ["Note"], told.one_line()


APPROVALS: list[tuple[str, RuleId | None, list[tuple[tuple[str, ...], dict[str, Any]]]]] = [
    ("two have", None, [(("bob", "carol"), {})]),
    ("one has", R.APPROVAL_PENDING, [(("bob",), {})]),
    ("one has twice", R.APPROVAL_PENDING, [(("bob", "bob"), {})]),
    ("the submitter has", R.APPROVAL_PENDING, [(("alice", "bob"), {})]),
    ("an author of the spec has", R.APPROVAL_PENDING, [(("dave", "bob"), {})]),
    ("one for another decision", R.APPROVAL_STALE, [(("bob",), {}), (("carol",), {"subjectDigest": OTHER})]),
    ("one has expired", R.APPROVAL_STALE, [(("bob",), {}), (("carol",), {"expiresAt": NOW})]),
    ("one expires later", None, [(("bob",), {}), (("carol",), {"expiresAt": NOW + timedelta(seconds=1)})]),
    ("one is older than the policy lets it be", R.APPROVAL_STALE, [(("bob",), {}), (("carol",), {"givenAt": NOW - timedelta(days=1)})]),
    ("one is dated in the future", R.APPROVAL_PENDING, [(("bob",), {}), (("carol",), {"givenAt": NOW + timedelta(hours=1)})]),
    ("one is for another stage", R.APPROVAL_PENDING, [(("bob",), {}), (("carol",), {"stage": "Promote"})]),
]


@pytest.mark.parametrize(("name", "rule", "given"), APPROVALS, ids=[name for name, *_ in APPROVALS])
def test_row_18_who_has_approved(name: str, rule: RuleId | None, given: list[tuple[tuple[str, ...], dict[str, Any]]]) -> None:
    document = samples.changed(FACTS, {"subject__authors": ["alice", "dave"]})
    digest = samples.judged(document, samples.policies(), given=[]).digest
    entries = [{**entry, **changes} for people, changes in given for entry in samples.approvals(digest, *people)]
    decision = samples.judged(document, samples.policies(), given=entries)
    assert [finding.rule for finding in decision.findings] == ([rule] if rule else []), decision.one_line()
    assert decision.outcome is (HOLD if rule else ALLOW)


def test_row_18_without_a_known_submitter_nobody_is_another() -> None:
    decision = samples.judged(samples.changed(FACTS, {"subject__submitter": ""}), samples.policies())
    assert [finding.rule for finding in decision.findings] == [R.APPROVAL_PENDING]


def test_every_rule_has_a_row() -> None:
    assert {row.rule for row in ROWS} | {R.APPROVAL_PENDING, R.APPROVAL_STALE} == set(RuleId)


def test_every_row_of_the_table_is_here() -> None:
    assert {row.number for row in ROWS} | {18} == set(range(1, 22))
