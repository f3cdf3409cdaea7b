"""The labels by which a namespace is governed, cleared and secured: set by whoever may administer, and in words that mean something."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import ALICE, CLEARANCE, CLINIC, GOVERNED, LEVEL, NAMESPACES, RESIDENCY, TEAM, Refused, Site
from tests.cluster.chart import NAME

SECURITY = "pod-security.kubernetes.io/enforce"
PROTECTED, INVALID = {"NamespaceLabelProtected"}, {"LabelInvalid"}
CHANGES: list[tuple[str, dict[str, str | None]]] = [
    ("clearance raised", {CLEARANCE: "restricted"}),
    ("another regime cleared", {"finetune.dev/clearance.pci": "true"}),
    ("level lowered", {LEVEL: "public"}),
    ("governed no more", {GOVERNED: None}),
    ("pods less secure", {SECURITY: "privileged"}),
    ("pods not secured at all", {SECURITY: None}),
]


@pytest.fixture(scope="module")
def ward(site: Site) -> str:
    return site.namespace({**CLINIC, CLEARANCE: "internal", LEVEL: "internal", SECURITY: "restricted"})


@pytest.mark.parametrize("part", ["", "/status", "/finalize"])
@pytest.mark.parametrize("labels", [case[1] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_its_own_admin_cannot(site: Site, ward: str, labels: dict[str, str | None], part: str) -> None:
    """He has every right in the namespace, and by that the right to change the Namespace itself."""
    change: dict[str, Any] = {"metadata": {"labels": labels}}
    where = f"{NAMESPACES}/{ward}{part}?dryRun=All"
    if part == "/finalize":
        present = site.admin.request("GET", f"{NAMESPACES}/{ward}")
        merged = {key: value for key, value in {**present["metadata"]["labels"], **labels}.items() if value is not None}
        request: tuple[Any, ...] = ("PUT", where, {**present, "metadata": {**present["metadata"], "labels": merged}})
    else:
        request = ("PATCH", where, change, MERGE)
    assert site.found(ALICE, *request) == PROTECTED
    assert site.found("", *request) == set()


@pytest.mark.parametrize("labels", [{GOVERNED: "true"}, {CLEARANCE: "internal"}, {LEVEL: "public"}], ids=lambda labels: next(iter(labels)))
def test_nobody_governs_or_clears_a_namespace_of_his_own(site: Site, labels: dict[str, str]) -> None:
    request = "PATCH", f"{NAMESPACES}/{site.free}?dryRun=All", {"metadata": {"labels": labels}}, MERGE
    assert site.found(ALICE, *request) == PROTECTED


@pytest.mark.parametrize("labels", [{SECURITY: "privileged"}, {"team": "a"}], ids=lambda labels: next(iter(labels)))
def test_other_labels_of_other_namespaces_are_nobodys_business(site: Site, labels: dict[str, str]) -> None:
    request = "PATCH", f"{NAMESPACES}/{site.free}?dryRun=All", {"metadata": {"labels": labels}}, MERGE
    assert site.found(ALICE, *request) == set()


def test_other_labels_of_a_governed_one_neither(site: Site, ward: str) -> None:
    request = "PATCH", f"{NAMESPACES}/{ward}?dryRun=All", {"metadata": {"labels": {"team": "a"}}}, MERGE
    assert site.found(ALICE, *request) == set()


@pytest.mark.parametrize("part", ["", "/status"])
@pytest.mark.parametrize("value", [None, "another"])
def test_its_own_admin_is_not_rid_of_a_policy_by_the_label_that_it_matches_by(site: Site, value: str | None, part: str) -> None:
    """Nor comes by a milder one: that would be the same label with another value."""
    ward = site.shared_namespace({**CLINIC, TEAM: "clinic"})
    request = "PATCH", f"{NAMESPACES}/{ward}{part}?dryRun=All", {"metadata": {"labels": {TEAM: value}}}, MERGE
    with pytest.raises(Refused, match="policy 'teams' matches by it"):
        site.ask(ALICE, *request)
    assert site.found("", *request) == set()
    free = site.shared_namespace({TEAM: "clinic"})
    assert site.found(ALICE, "PATCH", f"{NAMESPACES}/{free}{part}?dryRun=All", {"metadata": {"labels": {TEAM: value}}}, MERGE) == set()


def test_whoever_is_bound_to_the_charts_role_may(site: Site, ward: str) -> None:
    """Together with the right to change Namespaces, which is no part of it."""
    group = "/apis/rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create", "get", "patch"]}]
    site.admin.request("POST", f"{group}/clusterroles", {"metadata": {"name": "changes-namespaces"}, "rules": rules})
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "carol"}]
    create = "POST", f"{NAMESPACES}?dryRun=All", {"metadata": {"name": "fresh", "labels": CLINIC}}
    change = "PATCH", f"{NAMESPACES}/{ward}?dryRun=All", {"metadata": {"labels": {CLEARANCE: "restricted"}}}, MERGE
    names = ("changes-namespaces", f"{NAME}-governance-admin")
    try:
        for role, rules_found in zip(names, (PROTECTED, set()), strict=True):
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
            site.admin.request("POST", f"{group}/clusterrolebindings", {"metadata": {"name": role}, "roleRef": ref, "subjects": subjects})
            site.until_found(rules_found, "carol", *create)
            site.until_found(rules_found, "carol", *change)
    finally:
        for name in names:
            site.admin.request("DELETE", f"{group}/clusterrolebindings/{name}")
        site.admin.request("DELETE", f"{group}/clusterroles/changes-namespaces")


@pytest.mark.parametrize(
    "labels",
    [
        {GOVERNED: "yes"},
        {CLEARANCE: "secret"},
        {"finetune.dev/clearance.hippa": "true"},
        {"finetune.dev/clearance.phi": "yes"},
        {LEVEL: "Public"},
        {RESIDENCY: "moon"},
        {"finetune.dev/regime.hippa": "true"},
    ],
    ids=lambda labels: "=".join(next(iter(labels.items()))),
)
def test_a_word_that_means_nothing_is_refused_to_admins_too(site: Site, ward: str, labels: dict[str, str]) -> None:
    assert site.found("", "PATCH", f"{NAMESPACES}/{ward}?dryRun=All", {"metadata": {"labels": labels}}, MERGE) == INVALID
    assert site.found("", "POST", f"{NAMESPACES}?dryRun=All", {"metadata": {"name": "fresh", "labels": labels}}) == INVALID


def test_one_with_old_words_can_be_labelled_otherwise_and_put_right(site: Site) -> None:
    old = site.older_namespace({**CLINIC, LEVEL: "top"})
    for labels in ({"team": "a"}, {LEVEL: "restricted"}, {LEVEL: None}):
        assert site.found("", "PATCH", f"{NAMESPACES}/{old}?dryRun=All", {"metadata": {"labels": labels}}, MERGE) == set()
