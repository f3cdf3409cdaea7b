"""Governance protects itself: policies and definitions are for platform admins, status is the operator's."""

from typing import Any

import pytest

from finetune_operator.api.crd import FINETUNEJOB, GOVERNANCE_KINDS
from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import ALICE, CLINIC, CONTROLLERS, DAVE, OPERATOR, Site, facts, policies, policy
from tests.cluster.crd import DEFINITIONS

PROTECTED = {"GovernanceProtected"}
KINDS = [kind.name for kind in (FINETUNEJOB, *GOVERNANCE_KINDS)]
FOREIGN = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "wards.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Ward", "plural": "wards"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    },
}


@pytest.fixture(scope="module")
def house(site: Site) -> str:
    """A policy that concerns no namespace."""
    document = policy("house", match={"namespaceLabels": {"kubernetes.io/metadata.name": "nowhere"}})
    site.admin.apply(policies("house"), document)
    return "house"


REQUESTS: list[tuple[str, str, str, dict[str, Any] | None]] = [
    ("made", "POST", "", policy("fresh")),
    ("loosened", "PATCH", "house", {"spec": {"mode": "Audit"}}),
    ("told to match nothing", "PATCH", "house", {"spec": {"match": {"minLevel": "restricted"}}}),
    ("deleted", "DELETE", "house", None),
    ("deleted with all others", "DELETE", "", None),
]


@pytest.mark.parametrize(("method", "name", "body"), [case[1:] for case in REQUESTS], ids=[case[0] for case in REQUESTS])
def test_a_policy(site: Site, house: str, method: str, name: str, body: dict[str, Any] | None) -> None:
    request = method, f"{policies(name)}?dryRun=All", body, MERGE if method == "PATCH" else "application/json"
    if name or method == "POST":
        assert site.found("", *request) == set()
    assert site.found(DAVE, *request) == PROTECTED


WRITES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("made complete of nothing", "PATCH", {"spec": {"policies": [], "datasets": [], "complete": False}}),
    ("deleted", "DELETE", None),
]


@pytest.mark.parametrize(("method", "body"), [case[1:] for case in WRITES], ids=[case[0] for case in WRITES])
@pytest.mark.parametrize("labels", [CLINIC, {}], ids=["governed", "not yet governed"])
def test_the_facts(site: Site, labels: dict[str, str], method: str, body: dict[str, Any] | None) -> None:
    there = site.shared_namespace(labels)
    site.tell(there)
    request = method, f"{facts(there)}?dryRun=All", body, MERGE if method == "PATCH" else "application/json"
    assert site.found(ALICE, *request) == PROTECTED
    for user in (OPERATOR, ""):
        assert site.found(user, *request) == set()
    if method == "DELETE":
        for controller in ("generic-garbage-collector", "namespace-controller"):
            assert site.found(f"{CONTROLLERS}{controller}", *request) == set()


@pytest.mark.parametrize("name", KINDS)
def test_a_definition(site: Site, name: str) -> None:
    change = {"metadata": {"annotations": {"note": "x"}}}
    for method, body in (("PATCH", change), ("DELETE", None)):
        content = MERGE if method == "PATCH" else "application/json"
        assert site.found(DAVE, method, f"{DEFINITIONS}/{name}?dryRun=All", body, content) == PROTECTED
        assert site.found("", method, f"{DEFINITIONS}/{name}?dryRun=All", body, content) == set()


def test_other_definitions_are_nobodys_business(site: Site) -> None:
    assert site.found(DAVE, "POST", f"{DEFINITIONS}?dryRun=All", FOREIGN) == set()
