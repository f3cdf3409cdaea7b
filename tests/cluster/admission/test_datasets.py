"""TrainingDatasets in governed namespaces: in words of the site, and no more than the namespace is cleared for."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import ALICE, CLEARANCE, CLINIC, GOVERNED, Site, dataset, datasets

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
