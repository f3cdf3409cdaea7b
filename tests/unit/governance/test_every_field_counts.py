"""A field of a policy, of registered data or of an approval that is accepted and does nothing is a defect: each changes an answer.

The schema is enumerated, so that a field which nobody reads, because it is new, has no case here and fails.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from finetune_operator.api.crd import APPROVAL, GOVERNANCEPOLICY, TRAININGDATASET, CrdSpec
from finetune_operator.api.governance.policy import GovernancePolicySpec
from finetune_operator.domain.governance.datasets import Unresolved, follow
from finetune_operator.domain.governance.facts import datasets_of
from finetune_operator.domain.subject import parse_spec
from finetune_trainer.contract import canonical_json
from finetune_trainer.contract.governance import Decision, Facts, Policy, decide
from finetune_trainer.contract.governance.containment import contain
from tests.unit.api.test_every_field_counts import leaves
from tests.unit.domain.governed import approval, dataset, policy, told, view, world
from tests.unit.domain.samples import spec as job_spec
from tests.unit.governance.samples import (
    CLASSIFIED,
    DIGEST,
    FACTS,
    LABELS,
    LEVEL,
    NOW,
    OTHER,
    POLICY,
    SERVING,
    approvals,
    changed,
)


def fields_of(kind: CrdSpec) -> set[str]:
    schema = kind.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return {path for path, _ in leaves(schema, "spec")}


def with_value(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the spec with another value there; None takes it away."""
    result = copy.deepcopy(document)
    place: Any = result
    *parents, leaf = path.removeprefix("spec.").split(".")
    for parent in parents:
        place = place[parent[:-2]][0] if parent.endswith("[]") else place.setdefault(parent, {})
    if value is None:
        place.pop(leaf)
    else:
        place[leaf] = value
    return result


RESTRICTED = {
    "subject__labels": {**LABELS, LEVEL: "restricted"},
    "datasets__0__classification": {**CLASSIFIED, "level": "restricted"},
}
BASE = {name: value for name, value in POLICY.items() if name not in {"name", "uid", "generation"}}
MODEL = {"uri": "pvc://models/base", "digest": DIGEST, "licence": "GPL-3.0-only", "category": "Copyleft"}
STATED = {"licences": {"allow": ["GPL-3.0-only"], "stated": [MODEL]}}
BY_CATEGORY = {"licences": {"allow": ["Copyleft"], "stated": [MODEL]}}
NETWORK = {"network": {"allow": [{"cidr": "10.0.0.0/8", "ports": [443]}]}}
ONE_STAGE = {"approvals": [{"stage": "Train", "count": 2}]}
CONDITIONAL = {"licences": {"allow": ["MIT"], "conditional": ["Permissive"]}}


@dataclass(frozen=True)
class Case:
    """Another value of the field, in a policy and about a job with these changes; ``by`` are who has approved and waived."""

    value: Any
    policy: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    by: tuple[str, ...] = ("bob", "carol")
    base: dict[str, Any] = field(default_factory=lambda: FACTS)


POLICIES: dict[str, Case] = {
    "spec.mode": Case("Audit", facts={"trackers": ["https://evil.example"]}),
    "spec.match.namespaceLabels": Case({"team": "red"}),
    "spec.match.minLevel": Case("restricted"),
    "spec.match.regimes": Case(["pci"]),
    "spec.zones": Case(["eu-de"]),
    "spec.dataSources": Case(["pvc://other"]),
    "spec.purposes": Case(["triage"]),
    "spec.requireDigests": Case(False, facts={"images": ["trainer:latest"]}),
    "spec.licences.allow": Case(["MIT"]),
    "spec.licences.conditional": Case(["Permissive"]),
    "spec.licences.deny": Case(["Permissive"]),
    "spec.licences.stated[].uri": Case("pvc://models/other", STATED),
    "spec.licences.stated[].digest": Case(OTHER, STATED),
    "spec.licences.stated[].licence": Case("MIT", STATED),
    "spec.licences.stated[].category": Case("Permissive", BY_CATEGORY),
    "spec.scan": Case("Identifiers", facts={**RESTRICTED, "scan__profile": "Identifiers"}),
    "spec.quality.minExamples": Case(5000),
    "spec.quality.maxDuplicatePercent": Case(0),
    "spec.quality.maxEvaluationOverlap": Case(5, facts={"dataReport__evaluationOverlap": 3}),
    "spec.quality.waivable": Case(True, facts={"dataReport__examples": 300}),
    "spec.trackerHosts": Case(["other.example"]),
    "spec.judgeHosts": Case(["other.example"]),
    "spec.egress": Case("Open", facts={"egress": "Open"}),
    "spec.network.allow[].cidr": Case("10.1.0.0/16", NETWORK),
    "spec.network.allow[].ports": Case([22], NETWORK),
    "spec.network.dns": Case("ClusterOnly", NETWORK),
    "spec.nodeLabels[].key": Case("other.node-restriction.kubernetes.io/class"),
    "spec.nodeLabels[].values": Case(["c"]),
    "spec.runtimeClassName": Case("kata"),
    "spec.approvals[].stage": Case("Promote", ONE_STAGE, by=()),
    "spec.approvals[].minLevel": Case("restricted", ONE_STAGE, by=()),
    "spec.approvals[].count": Case(3, ONE_STAGE),
    "spec.approvals[].validForSeconds": Case(60, ONE_STAGE),
    "spec.review.rows": Case(7, {"review": {"rows": 50}}),
    "spec.requireJustification": Case(True, facts={"subject__justified": False}),
    "spec.waiverApprovals": Case(3, CONDITIONAL),
    "spec.requireEvaluation": Case(False, facts={"subject__gated": False}),
    "spec.requireProofs": Case(False, facts={"adapter__record": "Absent"}, base=SERVING),
}


def test_every_field_of_a_policy_has_a_case() -> None:
    assert set(POLICIES) == fields_of(GOVERNANCEPOLICY)


@pytest.mark.parametrize("path", sorted(POLICIES))
def test_a_field_of_a_policy_changes_the_answer(path: str) -> None:
    case = POLICIES[path]
    before = {**BASE, **case.policy}
    answers = [_answer(case, spec) for spec in (before, with_value(before, path, case.value))]
    assert answers[0] != answers[1]


def _answer(case: Case, spec: dict[str, Any]) -> list[str]:
    """What a job meets: what it is told, and how its pods are shut in. The digest would tell any two policies apart, and is left out."""
    rule = GovernancePolicySpec.model_validate(spec).to_policy("house", "p-1", 1)
    document = changed(case.base, case.facts)
    digest = decide(Facts.model_validate(document), [rule], NOW).digest
    given = [*approvals(digest, *case.by), *approvals(digest, *case.by, stage="Waive")]
    facts = Facts.model_validate({**document, "approvals": given})
    return [*_findings(decide(facts, [rule], NOW)), str(contain(facts, [rule], NOW))]


def _findings(decision: Decision) -> list[str]:
    return [str(decision.outcome), str(decision.classification), str(decision.obligations), *map(str, decision.findings)]


FULL_DATA: dict[str, Any] = {
    "format": "Messages",
    "digest": DIGEST,
    "level": "internal",
    "regimes": ["pii"],
    "residency": "onprem",
    "generatedBy": [{"name": "big", "licence": "MIT"}],
    "owner": "claims",
    "purposes": ["triage"],
    "retainUntil": "2026-11-01T00:00:00Z",
    "withdrawn": {"reason": "consent revoked"},
}
DATASETS: dict[str, Any] = {
    "spec.uri": "pvc://data/others.jsonl",
    "spec.format": "Text",
    "spec.digest": OTHER,
    "spec.level": "restricted",
    "spec.regimes": ["phi"],
    "spec.residency": "any",
    "spec.claimsSafeHarbor": True,
    "spec.generatedBy[].name": "small",
    "spec.generatedBy[].licence": "LicenseRef-scancode-llama-3.1-license-2024",
    "spec.owner": "ward",
    "spec.purposes": ["ads"],
    "spec.retainUntil": "2031-01-01T00:00:00Z",
    "spec.withdrawn.reason": "licence ended",
}
ONLY_SEALED = {"spec.generatedBy[].name"}
"""Read by people, in the record; here it makes the decision another one, which must be approved anew."""


def test_every_field_of_registered_data_has_a_case() -> None:
    assert set(DATASETS) == fields_of(TRAININGDATASET)


@pytest.mark.parametrize("path", sorted(DATASETS))
def test_a_field_of_registered_data_changes_the_answer(path: str) -> None:
    before = {"uri": "pvc://data/tickets.jsonl", **FULL_DATA}
    answers = [_made_of(spec) for spec in (before, with_value(before, path, DATASETS[path]))]
    assert (answers[0][0] != answers[1][0]) is (path not in ONLY_SEALED)
    assert path not in ONLY_SEALED or answers[0][1] != answers[1][1]


def _made_of(spec: dict[str, Any]) -> tuple[list[str], str]:
    """What the pods of a job are told of the data that it refers to, and what it is told; and the digest of the decision."""
    seen = view(datasets=(dataset(**spec),))
    wanted = parse_spec(canonical_json({**job_spec(purpose="triage"), "dataset": {"ref": {"name": "tickets"}}}))
    assert wanted is not None
    followed = follow(wanted, seen)
    assert not isinstance(followed, Unresolved)
    hits = [{"entity": "card", "rows": 3, "validatedRows": 2}]
    known = {**FACTS, "stage": "Accept", "scan": {"profile": "Identifiers", "hits": hits}, "datasets": []}
    facts = Facts.model_validate(known).model_copy(update={"datasets": datasets_of(seen, followed)})
    facts = facts.model_copy(update={"subject": facts.subject.model_copy(update={"purpose": "triage"})})
    decision = decide(facts, [Policy.model_validate(POLICY)], NOW)
    return [*_findings(decision), str(followed.dataset.rows)], decision.digest


GIVEN: dict[str, Any] = {
    "spec.subjectRef.name": {"subject": "another"},
    "spec.subjectDigest": {"subjectDigest": OTHER},
    "spec.stage": {"stage": "Promote"},
    "spec.approver": {"approver": "ann"},
    "spec.reason": {"reason": "the sample is as the steward says"},
    "spec.expiresAt": {"expiresAt": "2026-01-01T00:00:00Z"},
}
OF_ONE_VALUE = {"spec.subjectRef.resource"}
"""Nothing else may stand there: it says what RBAC is asked about."""


def test_every_field_of_an_approval_has_a_case() -> None:
    assert set(GIVEN) | OF_ONE_VALUE == fields_of(APPROVAL)
    spec = APPROVAL.to_manifest()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["properties"]["subjectRef"]["properties"]["resource"]["enum"] == ["finetunejobs"]


@pytest.mark.parametrize("path", sorted(GIVEN))
def test_a_field_of_an_approval_changes_the_answer(path: str) -> None:
    asks = policy(approvals=[{"stage": "Train"}])
    nothing: dict[str, Any] = {}
    answers = []
    for changes in (nothing, GIVEN[path]):
        job = world(view(asks))
        job.step_through()
        digest = (job.status or {})["governance"]["digest"]
        job.governance = view(asks, approvals=(approval("bob", digest, **changes),))
        job.settle()
        answers.append((told(job, "Ready")[1:], job.run.get("agreements")))
    assert answers[0] != answers[1]
