"""AdapterDeployments in governed namespaces: served only where the adapter's level is cleared, from digests."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import (
    ALICE,
    CLEARANCE,
    CLINIC,
    DIGEST,
    GOVERNED,
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


ENGINES: list[tuple[str, str, list[str], set[str]]] = [
    ("the installation's, told its size", "", ["--max-model-len", "4096", "--dtype=bfloat16", "--enforce-eager"], set()),
    ("one that the platform team has named", PINNED, [], set()),
    ("one's own, by digest", f"registry.invalid/evil@{DIGEST}", [], {"ForeignEngine"}),
    ("one that begins as one that is named", f"registry.invalid/vllm-evil@{DIGEST}", [], {"ForeignEngine"}),
    ("one below one that is named", f"registry.invalid/vllm/evil@{DIGEST}", [], {"ForeignEngine"}),
    ("one of a registry that is called like one that is named", f"vllm:5000/evil@{DIGEST}", [], {"ForeignEngine"}),
    ("one that ends as one that is named", f"evil.invalid/registry.invalid/vllm@{DIGEST}", [], {"ForeignEngine"}),
    ("another adapter, by no way that anybody looks at", "", ["--lora", "v-0123=/mnt/base/x"], {"ForeignEngine"}),
    ("the same by the beginning of the flag", "", ["--lor=v-0123=/mnt/base/x"], {"ForeignEngine"}),
    ("code that lies beside a model", PINNED, ["--trust-remote-code"], {"ForeignEngine"}),
    ("all that is asked in the log", PINNED, ["--max-model-len", "4096", "--enable-log-requests"], {"ForeignEngine"}),
    ("everything in a file", PINNED, ["--config", "/mnt/base/x.yaml"], {"ForeignEngine"}),
]


@pytest.mark.parametrize(("image", "args", "rules"), [case[1:] for case in ENGINES], ids=[case[0] for case in ENGINES])
def test_an_engine(site: Site, clinic: str, image: str, args: list[str], rules: set[str]) -> None:
    document = deployment("bot", image=image)
    document["spec"]["server"]["managed"]["args"] = args
    for user in (ALICE, "", OPERATOR):
        assert site.found(user, "POST", f"{deployments(clinic)}?dryRun=All", document) == rules
    below = site.shared_namespace({GOVERNED: "true", CLEARANCE: "internal"})
    document["metadata"]["labels"] = {LEVEL: "internal", RESIDENCY: "any"}
    assert site.found(ALICE, "POST", f"{deployments(below)}?dryRun=All", document) == set()


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
