"""AdapterDeployments in governed namespaces: served only where the adapter's level is cleared, from digests."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import (
    ALICE,
    CLEARANCE,
    CLINIC,
    DIGEST,
    LABELS,
    LEVEL,
    OPERATOR,
    RESIDENCY,
    Refused,
    Site,
    deployment,
    deployments,
)

PINNED = f"registry.invalid:5000/a/vllm@{DIGEST}"
CREATED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("all is well", {}, set()),
    ("an image by digest", {"image": PINNED}, set()),
    ("an image by tag", {"image": "registry.invalid/vllm:v1"}, {"NotPinned"}),
    ("an image by digest and a line more", {"image": f"{PINNED}\n"}, {"NotPinned"}),
    ("an image by something like a digest", {"image": "registry.invalid/vllm@sha256:abc"}, {"NotPinned"}),
    ("an image by tag below confidential", {"image": "vllm:v1", "labels": {LEVEL: "internal", RESIDENCY: "any"}}, set()),
    ("base model not pinned", {"pinned": False}, {"NotPinned"}),
    ("no level", {"labels": {RESIDENCY: "any"}}, {"LabelInvalid"}),
    ("a regime that is not cleared", {"labels": {**LABELS, "finetune.dev/regime.pci": "true"}}, {"AdapterNotCleared"}),
    ("another place", {"labels": {**LABELS, RESIDENCY: "eu-de"}}, {"ResidencyViolation"}),
]


@pytest.mark.parametrize(("given", "rules"), [case[1:] for case in CREATED], ids=[case[0] for case in CREATED])
def test_a_new_deployment(site: Site, clinic: str, given: dict[str, Any], rules: set[str]) -> None:
    assert site.found(ALICE, "POST", f"{deployments(clinic)}?dryRun=All", deployment("bot", **given)) == rules


def test_a_level_above_the_clearance_is_refused_with_namespace_and_remedy(site: Site) -> None:
    there = site.namespace({**CLINIC, CLEARANCE: "internal"})
    with pytest.raises(Refused) as refused:
        site.ask(ALICE, "POST", deployments(there), deployment("bot"))
    assert refused.value.findings == (
        (
            f"AdapterNotCleared: spec.adapter: namespace '{there}' is not cleared for level confidential (cleared to internal). "
            "Serve it where it is cleared."
        ),
    )


CHANGED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("level raised", {"metadata": {"labels": {LEVEL: "restricted"}}}, set()),
    ("level lowered", {"metadata": {"labels": {LEVEL: "public"}}}, {"ClassificationDowngrade"}),
    ("replicas", {"spec": {"server": {"managed": {"replicas": 2}}}}, set()),
    ("tag", {"spec": {"server": {"managed": {"image": "vllm:v1"}}}}, {"NotPinned"}),
]


@pytest.fixture(scope="module")
def stored(site: Site, clinic: str) -> str:
    site.ask(ALICE, "POST", deployments(clinic), deployment("stored"))
    return deployments(clinic, "stored")


@pytest.mark.parametrize(("change", "rules"), [case[1:] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_a_change(site: Site, stored: str, change: dict[str, Any], rules: set[str]) -> None:
    assert site.found(ALICE, "PATCH", f"{stored}?dryRun=All", change, MERGE) == rules


def test_scaling_is_no_matter_of_labels(site: Site, stored: str) -> None:
    assert site.found(ALICE, "PATCH", f"{stored}/scale?dryRun=All", {"spec": {"replicas": 3}}, MERGE) == set()


def test_a_deleted_deployment_loses_its_finalizer_although_the_clearance_is_gone(site: Site) -> None:
    there = site.namespace(CLINIC)
    document = deployment("held")
    document["metadata"]["finalizers"] = ["finetune.dev/test"]
    site.ask(ALICE, "POST", deployments(there), document)
    site.ask(ALICE, "DELETE", deployments(there, "held"))
    site.relabel(there, {CLEARANCE: None})
    site.until_found({"AdapterNotCleared"}, ALICE, "POST", f"{deployments(there)}?dryRun=All", deployment("new"))
    assert site.found(OPERATOR, "PATCH", deployments(there, "held"), {"metadata": {"finalizers": None}}, MERGE) == set()
