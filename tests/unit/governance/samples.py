"""A job and a deployment that satisfy a strict policy in every respect, so that a case changes one thing."""

from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_trainer.contract import RunSpec
from finetune_trainer.contract.governance import Decision, Facts, Policy, decide
from finetune_trainer.contract.governance.order import Order, order_of
from finetune_trainer.contract.governance.vocabulary import LABEL_ZONE

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LEVEL, RESIDENCY = "finetune.dev/level", "finetune.dev/residency"
PHI = "finetune.dev/regime.phi"
LLAMA = "LicenseRef-scancode-llama-3.1-license-2024"
LABELS = {LEVEL: "confidential", RESIDENCY: "onprem-a", PHI: "true"}
NAMESPACE = {"finetune.dev/governed": "true", "finetune.dev/clearance-level": "restricted", "finetune.dev/clearance.phi": "true"}
CLASSIFIED = {"level": "confidential", "regimes": ["phi"], "residencies": ["onprem-a"]}
NODE = {LABEL_ZONE: "onprem-a", "gpu.node-restriction.kubernetes.io/class": "a"}

FACTS: dict[str, Any] = {
    "stage": "Start",
    "namespace": {"name": "clinic", "labels": NAMESPACE},
    "subject": {
        "name": "notes",
        "uid": "u-1",
        "labels": LABELS,
        "labelsBefore": None,
        "submitter": "alice",
        "specDigest": DIGEST,
        "justified": True,
    },
    "site": {"residencies": ["onprem-a", "eu-de"], "regimes": ["trial"]},
    "datasets": [{"field": "spec.dataset", "uri": "pvc://clinic/notes.jsonl", "digest": DIGEST, "classification": CLASSIFIED}],
    "baseModel": {
        "uri": "pvc://models/base",
        "digest": DIGEST,
        "licences": [{"key": "Apache-2.0", "category": "Permissive"}],
        "formats": ["Safetensors"],
    },
    "adapter": None,
    "images": [f"registry.example/trainer@{DIGEST}"],
    "trackers": ["http://mlflow.mlops.svc:5000/api"],
    "judges": ["https://judge.example/v1"],
    "dataReport": {"examples": 1000, "taskMinimum": 100, "duplicates": 10, "evaluationOverlap": 0},
    "review": {"rows": 1000, "reportDigest": DIGEST},
    "scan": {"profile": "IdentifiersAndNames", "entire": True, "hits": []},
    "nodes": [NODE],
    "boundNode": NODE,
    "egress": "Closed",
    "reads": [{"field": "spec.dataset", "sealed": DIGEST, "read": DIGEST}],
    "gates": [{"name": "improvement", "verdict": "Pass"}],
}

SERVING: dict[str, Any] = {
    **{name: value for name, value in FACTS.items() if name in {"site", "namespace"}},
    "stage": "Serve",
    "subject": {"name": "notes", "uid": "u-2", "labels": LABELS, "submitter": "alice"},
    "adapter": {"digest": DIGEST, "classification": CLASSIFIED, "signature": "Valid", "record": "Valid"},
    "modelServer": NAMESPACE,
}

POLICY: dict[str, Any] = {
    "name": "phi",
    "uid": "p-1",
    "generation": 3,
    "mode": "Enforce",
    "match": {"minLevel": "confidential", "regimes": ["phi"]},
    "zones": ["onprem-a"],
    "nodeLabels": [{"key": "gpu.node-restriction.kubernetes.io/class", "values": ["a", "b"]}],
    "dataSources": ["pvc://clinic"],
    "licences": {"allow": ["Permissive"], "conditional": ["Proprietary Free"], "deny": ["Commercial"]},
    "scan": "IdentifiersAndNames",
    "quality": {"minExamples": 500, "maxDuplicatePercent": 10, "maxEvaluationOverlap": 0},
    "trackerHosts": ["mlflow.mlops.svc"],
    "judgeHosts": ["judge.example"],
    "approvals": [
        {"stage": "Train", "minLevel": "confidential", "count": 2, "validForSeconds": 86_400},
        {"stage": "Promote", "count": 1},
    ],
}


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with ``a__b__0__c`` replaced."""
    result = {**document}
    for path, value in changes.items():
        head, _, rest = path.partition("__")
        inner = result.get(head)
        if not rest:
            result[head] = value
        elif isinstance(inner, list):
            position, _, below = rest.partition("__")
            result[head] = [changed(entry, {below: value}) if index == int(position) else entry for index, entry in enumerate(inner)]
        else:
            result[head] = changed(inner, {rest: value}) if "__" in rest else {**inner, rest: value}
    return result


def approvals(digest: str, *people: str, stage: str = "Train", **changes: Any) -> list[dict[str, Any]]:
    return [{"stage": stage, "approver": name, "subjectDigest": digest, "givenAt": NOW - timedelta(hours=1), **changes} for name in people]


def policies(*changes: dict[str, Any]) -> list[Policy]:
    return [Policy.model_validate(changed(POLICY, change)) for change in changes or ({},)]


def judged(document: dict[str, Any], rules: list[Policy], *, given: list[dict[str, Any]] | None = None) -> Decision:
    """Decide with these approvals; without any given, two people have approved both stages of this very decision."""
    digest = decide(Facts.model_validate(document), rules, NOW).digest
    if given is None:
        given = approvals(digest, "bob", "carol") + approvals(digest, "bob", stage="Promote")
    return decide(Facts.model_validate({**document, "approvals": given}), rules, NOW)


def run_of(facts: dict[str, Any]) -> RunSpec:
    """The document of a run whose facts these are."""
    sources = {each["field"]: {"uri": each["uri"], "path": "/mnt/data", "digest": each["digest"]} for each in facts["datasets"]}
    return RunSpec.model_validate(
        {
            "run": {
                "key": "ab" * 32,
                "name": "notes-1",
                "number": 1,
                "jobNamespace": facts["namespace"]["name"],
                "jobName": facts["subject"]["name"],
                "jobUid": facts["subject"]["uid"],
            },
            "baseModel": {"uri": facts["baseModel"]["uri"], "digest": facts["baseModel"]["digest"]},
            "dataset": sources["spec.dataset.inline"],
            "tuner": {"type": "LoRA"},
            "artifact": {"uri": "pvc://adapters/notes", "path": "/artifact"},
            "tracking": {"uri": facts["trackers"][0], "experiment": "notes"},
            "evaluation": {"judge": {"endpoint": facts["judges"][0], "model": "critic"}},
        }
    )


INLINE = changed(FACTS, {"datasets__0__field": "spec.dataset.inline", "reads": [], "gates": []})
"""The same facts as the operator gathers them at Start."""


def sealed_order(document: dict[str, Any] = INLINE, *changes: dict[str, Any], given: list[dict[str, Any]] | None = None) -> Order:
    """What a pod is told of a run that two people have approved, an hour before noon."""
    rules = policies(*changes)
    if given is None:
        given = approvals(decide(Facts.model_validate(document), rules, NOW).digest, "bob", "carol")
    facts = Facts.model_validate({**document, "approvals": given})
    return order_of(facts, rules, NOW, run_key="ab" * 32, nodes={"node-1": NODE, "node-2": {}})
