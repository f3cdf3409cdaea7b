"""The definitions of governance on a real API server: mistakes are refused with field and remedy, what was said once is not changed."""

import copy
from typing import Any

import pytest

from finetune_operator.api.base import API_VERSION
from finetune_operator.api.crd import APPROVAL, GOVERNANCE_KINDS, GOVERNANCEFACTS, GOVERNANCEPOLICY, TRAININGDATASET, CrdSpec
from finetune_operator.api.governance.policy import GovernancePolicy
from finetune_operator.api.governance.vocabulary import DATASET_FIELDS
from finetune_testbed.apiserver import APPLY, ApiServer, RequestError
from finetune_testbed.bed import Testbed
from finetune_trainer.contract.governance import Policy
from tests.cluster.crd import ABSENT, NAMESPACE, install, path_of

DIGEST = "sha256:" + "0" * 64
MINIMAL: dict[str, dict[str, Any]] = {
    TRAININGDATASET.kind: {"uri": "pvc://data/tickets.jsonl", "level": "internal"},
    GOVERNANCEPOLICY.kind: {},
    APPROVAL.kind: {
        "subjectRef": {"name": "ticket-router"},
        "subjectDigest": DIGEST,
        "stage": "Train",
        "approver": "alice",
        "reason": "reviewed with the steward",
    },
    GOVERNANCEFACTS.kind: {"policies": [], "datasets": [], "complete": True},
}


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Any:
    with ApiServer(t1) as connection:
        for kind in GOVERNANCE_KINDS:
            install(connection, kind)
        before = policies(connection)
        yield connection
        for name in policies(connection) - before:  # they would concern the jobs of every other test
            connection.request("DELETE", f"{path_of(GOVERNANCEPOLICY)}/{name}")


def policies(server: ApiServer) -> set[str]:
    return {item["metadata"]["name"] for item in server.request("GET", path_of(GOVERNANCEPOLICY))["items"]}


def document(kind: CrdSpec, name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The smallest object of the kind with some fields changed: dotted path below ``spec`` to value, or ``ABSENT``."""
    spec = copy.deepcopy(MINIMAL[kind.kind])
    for path, value in (changes or {}).items():
        *parents, leaf = path.split(".")
        place = spec
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            place.pop(leaf, None)
        else:
            place[leaf] = value
    metadata = {"name": name, **({"namespace": NAMESPACE} if kind.namespaced else {})}
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": metadata, "spec": spec}


def apply(server: ApiServer, kind: CrdSpec, manifest: dict[str, Any]) -> dict[str, Any]:
    path = f"{path_of(kind)}/{manifest['metadata']['name']}?fieldManager=somebody&force=true&fieldValidation=Strict"
    stored: dict[str, Any] = server.request("PATCH", path, manifest, APPLY)
    return stored


DATASET, POLICY = TRAININGDATASET, GOVERNANCEPOLICY
MISTAKES: dict[str, tuple[CrdSpec, dict[str, Any], tuple[str, ...]]] = {
    "data without a level": (DATASET, {"level": ABSENT}, ("spec.level", "Required")),
    "a level that is none": (DATASET, {"level": "secret"}, ("spec.level", "restricted")),
    "data outside a claim": (DATASET, {"uri": "s3://bucket/rows"}, ("spec.uri", "pvc://CLAIM/PATH")),
    "what a run has made of other data": (DATASET, {"uri": "pvc://data/.finetune/x/data"}, ("spec.uri", "choose another path")),
    "a path with dots": (DATASET, {"uri": "pvc://data/../rows"}, ("spec.uri", "as it is on the volume")),
    "a digest that is none": (DATASET, {"digest": "sha256:0"}, ("spec.digest",)),
    "a regime twice": (DATASET, {"regimes": ["pii", "pii"]}, ("spec.regimes", "Duplicate")),
    "a regime that fits no label": (DATASET, {"regimes": ["P I I"]}, ("spec.regimes",)),
    "a place that fits no label": (DATASET, {"residency": "On Prem"}, ("spec.residency",)),
    "a last day that is no moment": (DATASET, {"retainUntil": "2030-01-01"}, ("spec.retainUntil", "date-time")),
    "a purpose that fits no label": (DATASET, {"purposes": ["Triage!"]}, ("spec.purposes",)),
    "withdrawn without a word": (DATASET, {"withdrawn": {}}, ("spec.withdrawn.reason", "Required")),
    "a generator without licence": (DATASET, {"generatedBy": [{"name": "llama"}]}, ("spec.generatedBy[0].licence", "Required")),
    "a field that nobody knows": (DATASET, {"consent": "signed"}, ("consent", "unknown field")),
    "a mode that is none": (POLICY, {"mode": "Warn"}, ("spec.mode", "Audit")),
    "a namespace label that nobody can have": (POLICY, {"match.namespaceLabels": {"a b": "c"}}, ("spec.match", "label names")),
    "a source without scheme": (POLICY, {"dataSources": ["data"]}, ("spec.dataSources",)),
    "a float": (POLICY, {"quality.minExamples": 1.5}, ("spec.quality.minExamples", "integer")),
    "an approval that waives": (POLICY, {"approvals": [{"stage": "Waive"}]}, ("spec.approvals[0].stage", "Promote")),
    "nobody who approves": (POLICY, {"approvals": [{"stage": "Train", "count": 0}]}, ("spec.approvals[0].count", "equal to 1")),
    "addresses with bits behind the prefix": (
        POLICY,
        {"network.allow": [{"cidr": "10.0.0.1/24", "ports": [443]}]},
        ("spec.network.allow[0].cidr", "without bits behind its prefix"),
    ),
    "a destination without ports": (POLICY, {"network.allow": [{"cidr": "10.0.0.0/24"}]}, ("spec.network.allow[0].ports", "Required")),
    "a node label that a kubelet may write": (POLICY, {"nodeLabels": [{"key": "zone", "values": ["a"]}]}, ("spec.nodeLabels[0].key",)),
    "a tracker by address instead of by host": (POLICY, {"trackerHosts": ["http://mlflow"]}, ("spec.trackerHosts[0]",)),
    "a judge by address instead of by host": (POLICY, {"judgeHosts": ["http://judge/v1"]}, ("spec.judgeHosts[0]",)),
    "a demand that nothing looks at": (POLICY, {"chatHosts": ["chat"]}, ("chatHosts", "unknown field")),
    "an approval without digest": (APPROVAL, {"subjectDigest": ABSENT}, ("spec.subjectDigest", "Required")),
    "an approval of what is not approved": (APPROVAL, {"subjectRef.resource": "pods"}, ("spec.subjectRef.resource", "finetunejobs")),
    "an approval by nobody": (APPROVAL, {"approver": ""}, ("spec.approver", "at least 1 chars")),
    "an approval without a word": (APPROVAL, {"reason": ABSENT}, ("spec.reason", "Required")),
    "an expiry that is no moment": (APPROVAL, {"expiresAt": "tomorrow"}, ("spec.expiresAt", "date-time")),
}


@pytest.mark.parametrize(("kind", "changes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_with_field_and_remedy(server: ApiServer, kind: CrdSpec, changes: dict[str, Any], words: tuple[str, ...]):
    with pytest.raises(RequestError) as refusal:
        server.request("POST", f"{path_of(kind)}?dryRun=All&fieldValidation=Strict", document(kind, "wrong", changes))
    assert refusal.value.status in (400, 422), str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


def test_the_facts_of_a_namespace_are_one_object(server: ApiServer):
    with pytest.raises(RequestError, match="are named current"):
        server.request("POST", f"{path_of(GOVERNANCEFACTS)}?dryRun=All", document(GOVERNANCEFACTS, "other"))


@pytest.mark.parametrize("kind", GOVERNANCE_KINDS, ids=lambda kind: kind.kind)
def test_a_second_apply_changes_nothing(server: ApiServer, kind: CrdSpec):
    first, second = (apply(server, kind, document(kind, "current")) for _ in range(2))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert second["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("kind", "change", "remedy"),
    [(DATASET, {"level": "public"}, "create another one"), (APPROVAL, {"subjectDigest": "sha256:" + "1" * 64}, "create-only")],
    ids=["dataset", "approval"],
)
def test_what_was_said_is_not_changed_and_the_answer_says_so(server: ApiServer, kind: CrdSpec, change: dict[str, Any], remedy: str):
    apply(server, kind, document(kind, "said"))
    with pytest.raises(RequestError, match=remedy) as refusal:
        apply(server, kind, document(kind, "said", change))
    assert "spec: Forbidden" in str(refusal.value)
    relabelled = document(kind, "said")
    relabelled["metadata"]["labels"] = {"team": "support"}
    assert apply(server, kind, relabelled)["metadata"]["generation"] == 1


DATA: dict[str, Any] = {
    "uri": "pvc://data/rows",
    "format": "Messages",
    "digest": DIGEST,
    "level": "confidential",
    "regimes": ["phi"],
    "residency": "onprem",
    "claimsSafeHarbor": True,
    "generatedBy": [{"name": "llama", "licence": "MIT"}],
    "purposes": ["triage"],
    "retainUntil": "2030-01-01T00:00:00Z",
    "owner": "dora@example.org",
}
OTHER_DATA: dict[str, Any] = {
    "uri": "pvc://data/others",
    "format": "Text",
    "digest": "sha256:" + "1" * 64,
    "level": "internal",
    "regimes": ["pii"],
    "residency": "any",
    "claimsSafeHarbor": False,
    "generatedBy": [{"name": "llama", "licence": "Apache-2.0"}],
    "purposes": ["ads"],
    "retainUntil": "2031-01-01T00:00:00Z",
}
WITHDRAWN = {"withdrawn": {"reason": "consent revoked"}}


@pytest.mark.parametrize("field", DATASET_FIELDS)
@pytest.mark.parametrize("change", ["another value", "none"])
def test_not_one_field_of_a_version_of_data_changes(server: ApiServer, field: str, change: str):
    apply(server, DATASET, document(DATASET, "version", DATA))
    with pytest.raises(RequestError, match=r"create another one|Required value"):
        apply(server, DATASET, document(DATASET, "version", {**DATA, field: OTHER_DATA[field] if change != "none" else ABSENT}))
    with pytest.raises(RequestError, match=r"create another one|Required value"):
        apply(server, DATASET, document(DATASET, "version", {**DATA, field: ABSENT, **WITHDRAWN}))


def test_what_one_version_does_not_say_is_not_added_to_it(server: ApiServer):
    apply(server, DATASET, document(DATASET, "undigested"))
    with pytest.raises(RequestError, match="create another one"):
        apply(server, DATASET, document(DATASET, "undigested", {"digest": DIGEST, **WITHDRAWN}))


def test_data_are_withdrawn_once_and_for_good(server: ApiServer):
    apply(server, DATASET, document(DATASET, "recalled", DATA))
    assert apply(server, DATASET, document(DATASET, "recalled", {**DATA, **WITHDRAWN}))["spec"]["withdrawn"]["reason"] == "consent revoked"
    for changes in (DATA, {**DATA, "withdrawn": {"reason": "another one"}}):
        with pytest.raises(RequestError, match="stay withdrawn") as refusal:
            apply(server, DATASET, document(DATASET, "recalled", changes))
        assert "spec.withdrawn: Forbidden" in str(refusal.value)
    relabelled = document(DATASET, "recalled", {**DATA, **WITHDRAWN, "owner": "eve@example.org"})
    relabelled["metadata"]["labels"] = {"team": "support"}
    apply(server, DATASET, relabelled)


FULL: dict[str, Any] = {
    "mode": "Audit",
    "match": {"namespaceLabels": {"finetune.dev/governed": "true"}, "minLevel": "confidential", "regimes": ["phi"]},
    "zones": ["onprem-a"],
    "dataSources": ["pvc://data/phi"],
    "purposes": ["triage"],
    "review": {"rows": 50},
    "requireDigests": True,
    "licences": {"allow": ["Apache-2.0"], "conditional": ["gemma"], "deny": ["Copyleft"]},
    "scan": "Identifiers",
    "quality": {"minExamples": 100, "maxDuplicatePercent": 10, "maxEvaluationOverlap": 5, "waivable": True},
    "egress": "Open",
    "network": {"allow": [{"cidr": "10.0.0.0/24", "ports": [5000]}], "dns": "ClusterOnly"},
    "nodeLabels": [{"key": "gpu.node-restriction.kubernetes.io/class", "values": ["a"]}],
    "runtimeClassName": "kata",
    "approvals": [{"stage": "Train", "minLevel": "restricted", "count": 2, "validForSeconds": 1209600}],
    "waiverApprovals": 3,
    "requireEvaluation": True,
    "requireJustification": True,
}


def test_a_policy_is_the_contracts_field_by_field(server: ApiServer):
    stored = server.request("POST", f"{path_of(POLICY)}?fieldValidation=Strict", document(POLICY, "full", FULL))
    read = GovernancePolicy.from_manifest(stored)
    policy = read.spec.to_policy("full", read.metadata.uid, read.metadata.generation)
    assert policy == Policy.model_validate({"name": "full", "uid": read.metadata.uid, "generation": 1, **FULL})


def test_a_policy_that_says_nothing_is_the_contracts_default(server: ApiServer):
    stored = server.request("POST", f"{path_of(POLICY)}?dryRun=All&fieldValidation=Strict", document(POLICY, "empty"))
    assert GovernancePolicy.from_manifest(stored).spec.to_policy("empty", "", 1) == Policy(name="empty")
