"""TrainingDatasets in governed namespaces: in words of the site, and no more than the namespace is cleared for."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import ALICE, CLEARANCE, CLINIC, CONTROLLERS, GOVERNED, NAMESPACES, Site, dataset, datasets

REGISTERED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("all is well", {}, set()),
    ("public data, whatever it is cleared for", {"level": "public", "regimes": [], "residency": "any"}, set()),
    ("a regime that nobody knows", {"regimes": ["hippa"]}, {"LabelInvalid", "NamespaceNotCleared"}),
    ("a regime that it is not cleared for", {"regimes": ["pci", "phi"]}, {"NamespaceNotCleared"}),
    ("a regime of the site that it is not cleared for", {"regimes": ["trial"]}, {"NamespaceNotCleared"}),
    ("a place that the site does not know", {"residency": "moon"}, {"LabelInvalid"}),
]


@pytest.mark.parametrize(("spec", "rules"), [case[1:] for case in REGISTERED], ids=[case[0] for case in REGISTERED])
def test_a_new_one(site: Site, clinic: str, spec: dict[str, Any], rules: set[str]) -> None:
    assert site.found(ALICE, "POST", f"{datasets(clinic)}?dryRun=All", dataset("notes", **spec)) == rules
    assert site.found(ALICE, "POST", f"{datasets(site.free)}?dryRun=All", dataset("notes", **spec)) == set()


def test_a_level_above_the_clearance(site: Site) -> None:
    there = site.shared_namespace({GOVERNED: "true", CLEARANCE: "internal"})
    assert site.found(ALICE, "POST", f"{datasets(there)}?dryRun=All", dataset("notes", regimes=[])) == {"NamespaceNotCleared"}
    assert site.found(ALICE, "POST", f"{datasets(there)}?dryRun=All", dataset("notes", regimes=[], level="internal")) == set()


def test_it_is_withdrawn_although_the_clearance_is_gone(site: Site) -> None:
    there = site.namespace(CLINIC)
    site.ask(ALICE, "POST", datasets(there), dataset("notes"))
    site.relabel(there, {CLEARANCE: None})
    site.until_found({"NamespaceNotCleared"}, ALICE, "POST", f"{datasets(there)}?dryRun=All", dataset("other"))
    withdrawn = {"spec": {"withdrawn": {"reason": "consent withdrawn"}}}
    assert site.found(ALICE, "PATCH", f"{datasets(there, 'notes')}?dryRun=All", withdrawn, MERGE) == set()


def test_what_was_said_of_data_is_not_taken_back(site: Site) -> None:
    """By whoever may delete one, all of them, or something that he makes its owner."""
    there = site.namespace(CLINIC)
    site.ask(ALICE, "POST", datasets(there), dataset("notes"))
    for user in (ALICE, f"{CONTROLLERS}generic-garbage-collector"):
        assert site.found(user, "DELETE", f"{datasets(there, 'notes')}?dryRun=All") == {"GovernanceProtected"}
    assert site.found(ALICE, "DELETE", f"{datasets(there)}?dryRun=All") == {"GovernanceProtected"}
    assert site.found("", "DELETE", f"{datasets(there, 'notes')}?dryRun=All") == set()
    free = site.free
    site.ask(ALICE, "POST", datasets(free), dataset("passing"))
    assert site.found(ALICE, "DELETE", datasets(free, "passing")) == set()


def test_it_goes_with_its_namespace(site: Site) -> None:
    there = site.namespace(CLINIC)
    site.ask(ALICE, "POST", datasets(there), dataset("notes"))
    site.admin.request("DELETE", f"{NAMESPACES}/{there}")
    site.until_found(set(), f"{CONTROLLERS}namespace-controller", "DELETE", f"{datasets(there, 'notes')}?dryRun=All")
