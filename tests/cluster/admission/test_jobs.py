"""FineTuneJobs in governed namespaces: what the API server refuses by itself, all at once, with rule and remedy."""

from typing import Any

import pytest

from finetune_testbed.apiserver import MERGE
from finetune_trainer.contract.governance import RULES, RuleId
from tests.cluster.admission.governed import (
    ALICE,
    BOB,
    CLEARANCE,
    CLINIC,
    GOVERNED,
    LABELS,
    LEVEL,
    ODD,
    OPERATOR,
    PHI,
    RESIDENCY,
    SUBMITTED_BY,
    Refused,
    Site,
    job,
    jobs,
)

ABSENT = None
INTERNAL = {LEVEL: "internal", RESIDENCY: "any"}


def labels(**changes: str | None) -> dict[str, str]:
    keys = {"level": LEVEL, "residency": RESIDENCY, "phi": PHI}
    changed = {**LABELS, **{keys.get(name, f"finetune.dev/regime.{name}"): value for name, value in changes.items()}}
    return {key: value for key, value in changed.items() if value is not None}


CREATED: list[tuple[str, dict[str, Any], set[str]]] = [
    ("all is well", {}, set()),
    ("lowest words are enough for what is not sensitive", {"labels": INTERNAL, "pinned": False}, set()),
    ("a regime of the site", {"labels": labels(phi=ABSENT)}, set()),
    ("no level", {"labels": labels(level=ABSENT)}, {"LabelInvalid"}),
    ("a level that is no word", {"labels": labels(level="Confidential")}, {"LabelInvalid"}),
    ("no residency", {"labels": labels(residency=ABSENT)}, {"LabelInvalid"}),
    ("a place that the site does not know", {"labels": labels(residency="moon")}, {"LabelInvalid"}),
    ("another place than the namespace's", {"labels": labels(residency="eu-de")}, {"ResidencyViolation"}),
    ("a regime that nobody knows", {"labels": labels(hippa="true")}, {"LabelInvalid"}),
    ("a regime that is not said plainly", {"labels": labels(phi="yes")}, {"LabelInvalid"}),
    ("a regime that the namespace is not cleared for", {"labels": labels(pci="true")}, {"NamespaceNotCleared"}),
    ("a regime of the site that it is not cleared for", {"labels": labels(trial="true")}, {"NamespaceNotCleared"}),
    ("nothing pinned from confidential on", {"pinned": False}, {"NotPinned"}),
    ("no submitter", {"submitter": None}, {"SubmitterMismatch"}),
    ("a submitter who is somebody else", {"submitter": BOB}, {"SubmitterMismatch"}),
]


@pytest.mark.parametrize(("given", "rules"), [case[1:] for case in CREATED], ids=[case[0] for case in CREATED])
def test_a_new_job(site: Site, clinic: str, given: dict[str, Any], rules: set[str]) -> None:
    assert site.found(ALICE, "POST", f"{jobs(clinic)}?dryRun=All", job("new", **given)) == rules


@pytest.mark.parametrize("field", ["validation", "items"])
@pytest.mark.parametrize("digest", [None, "sha256:" + "b" * 64], ids=["without", "with"])
def test_rows_of_their_own_are_pinned_as_the_data_are(site: Site, clinic: str, field: str, digest: str | None) -> None:
    document, rows = job("new"), {"uri": "pvc://data/rows.jsonl", **({"digest": digest} if digest else {})}
    if field == "validation":
        document["spec"]["dataset"]["validation"] = rows
    else:
        document["spec"]["evaluation"] = {"dataset": rows}
    assert site.found(ALICE, "POST", f"{jobs(clinic)}?dryRun=All", document) == (set() if digest else {"NotPinned"})


CLEARANCES: list[tuple[str, dict[str, str | None], dict[str, str], set[str]]] = [
    ("cleared to the level itself", {CLEARANCE: "confidential"}, LABELS, set()),
    ("cleared to less", {CLEARANCE: "internal"}, LABELS, {"NamespaceNotCleared"}),
    ("not cleared at all", {CLEARANCE: None}, INTERNAL, {"NamespaceNotCleared"}),
    ("public needs no clearance", {CLEARANCE: None, RESIDENCY: None}, {LEVEL: "public", RESIDENCY: "any"}, set()),
    ("cleared to no level at all", {CLEARANCE: "Restricted"}, INTERNAL, {"NamespaceNotCleared"}),
    ("the namespace's own level counts too", {LEVEL: "restricted", CLEARANCE: "confidential"}, LABELS, {"NamespaceNotCleared"}),
    ("a namespace with a level that is no word", {LEVEL: "top"}, LABELS, {"LabelInvalid"}),
    ("a namespace that is governed in other words", {GOVERNED: "True"}, LABELS, {"LabelInvalid"}),
]


@pytest.mark.parametrize(("changes", "given", "rules"), [case[1:] for case in CLEARANCES], ids=[case[0] for case in CLEARANCES])
def test_a_job_in_a_namespace(site: Site, changes: dict[str, str | None], given: dict[str, str], rules: set[str]) -> None:
    wanted = {key: value for key, value in {**CLINIC, **changes}.items() if value is not None}
    there = site.older_namespace(wanted) if wanted in ODD else site.namespace(wanted)
    assert site.found(ALICE, "POST", f"{jobs(there)}?dryRun=All", job("new", given)) == rules


def test_without_the_label_nothing_is_asked(site: Site) -> None:
    assert site.found(ALICE, "POST", f"{jobs(site.namespace({}))}?dryRun=All", job("new", {}, None, pinned=False)) == set()


def test_everything_that_is_wrong_is_told_on_one_line_with_its_remedy(site: Site) -> None:
    there = site.namespace({GOVERNED: "true", CLEARANCE: "internal"})
    with pytest.raises(Refused) as refused:
        site.ask(ALICE, "POST", jobs(there), job("new", {LEVEL: "confidential"}, None, pinned=False))
    assert list(refused.value.findings) == [
        f"LabelInvalid: metadata.labels[{RESIDENCY}]: label '{RESIDENCY}' is missing. Set the label to one of the legal values.",
        (
            f"NamespaceNotCleared: namespace: '{there}' is not cleared for level confidential (cleared to internal). "
            "Use a namespace that is cleared for it, or ask a platform admin to clear this one."
        ),
        f"NotPinned: spec.dataset.ref.digest: is absent (policy house). {RULES[RuleId.NOT_PINNED].remedy}",
        f"NotPinned: spec.baseModel.digest: is absent (policy house). {RULES[RuleId.NOT_PINNED].remedy}",
        (
            f"SubmitterMismatch: metadata.annotations[{SUBMITTED_BY}]: must be '{ALICE}'. "
            "Set it to the name that `kubectl auth whoami` prints, once and for all."
        ),
    ]


def test_more_than_fits_is_cut_and_still_refused(site: Site, clinic: str) -> None:
    many = {f"finetune.dev/regime.unheard-of-{number}": "true" for number in range(60)}
    with pytest.raises(Refused) as refused:
        site.ask(ALICE, "POST", jobs(clinic), job("new", {**LABELS, **many}))
    assert str(refused.value).endswith(" and more")
    assert refused.value.rules == {"LabelInvalid"}


CHANGED: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("level raised", ALICE, {"metadata": {"labels": {LEVEL: "restricted"}}}, set()),
    ("level lowered", ALICE, {"metadata": {"labels": {LEVEL: "internal"}}}, {"ClassificationDowngrade"}),
    ("level removed", ALICE, {"metadata": {"labels": {LEVEL: None}}}, {"ClassificationDowngrade", "LabelInvalid"}),
    ("level misspelt", ALICE, {"metadata": {"labels": {LEVEL: "none"}}}, {"ClassificationDowngrade", "LabelInvalid"}),
    ("regime removed", ALICE, {"metadata": {"labels": {PHI: None}}}, {"ClassificationDowngrade"}),
    ("place opened", ALICE, {"metadata": {"labels": {RESIDENCY: "any"}}}, {"ClassificationDowngrade"}),
    ("other labels", BOB, {"metadata": {"labels": {"team": "b"}}}, set()),
    ("digest taken away", ALICE, {"spec": {"baseModel": {"digest": None}}}, {"NotPinned"}),
    ("submitter removed", ALICE, {"metadata": {"annotations": {SUBMITTED_BY: None}}}, {"SubmitterMismatch"}),
    ("submitter replaced", BOB, {"metadata": {"annotations": {SUBMITTED_BY: BOB}}}, {"SubmitterMismatch"}),
    ("other annotations", BOB, {"metadata": {"annotations": {"note": "b"}}}, set()),
    ("spec by its submitter", ALICE, {"spec": {"training": {"seed": 7}}}, set()),
    ("spec by another, who might approve it", BOB, {"spec": {"training": {"seed": 7}}}, {"SpecEditedByAnother"}),
    ("held by another", BOB, {"spec": {"suspend": True}}, set()),
    ("cancelled by another", BOB, {"spec": {"runPolicy": {"cancel": 1}}}, set()),
]


@pytest.fixture(scope="module")
def stored(site: Site, clinic: str) -> str:
    site.ask(ALICE, "POST", jobs(clinic), job("stored"))
    return jobs(clinic, "stored")


@pytest.mark.parametrize(("user", "change", "rules"), [case[1:] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_a_change(site: Site, stored: str, user: str, change: dict[str, Any], rules: set[str]) -> None:
    assert site.found(user, "PATCH", f"{stored}?dryRun=All", change, MERGE) == rules


def test_nothing_is_changed_through_the_status(site: Site, stored: str) -> None:
    """Labels would not be; what was decided and classified would be, from which the operator goes on."""
    decided = {"status": {"governance": {"decision": "Allow", "classification": {"level": "public"}}}}
    for change in (decided, {"metadata": {"labels": {LEVEL: "public"}}}):
        assert site.found(ALICE, "PATCH", f"{stored}/status?dryRun=All", change, MERGE) == {"ForeignStatus"}
    changed = site.ask(OPERATOR, "PATCH", f"{stored}/status?dryRun=All", {"metadata": {"labels": {LEVEL: "public"}}}, MERGE)
    assert changed["metadata"]["labels"] == LABELS


def test_a_deleted_job_loses_its_finalizer_although_the_clearance_is_gone(site: Site) -> None:
    there = site.namespace(CLINIC)
    document = job("held")
    document["metadata"]["finalizers"] = ["finetune.dev/test"]
    site.ask(ALICE, "POST", jobs(there), document)
    site.ask(ALICE, "DELETE", jobs(there, "held"))
    site.relabel(there, {CLEARANCE: None})
    site.until_found({"NamespaceNotCleared"}, ALICE, "POST", f"{jobs(there)}?dryRun=All", job("new"))
    raised = {"metadata": {"labels": {LEVEL: "restricted"}}}
    assert site.found(ALICE, "PATCH", f"{jobs(there, 'held')}?dryRun=All", raised, MERGE) == {"NamespaceNotCleared"}
    assert site.found(ALICE, "PATCH", f"{jobs(there, 'held')}?dryRun=All", {"spec": {"training": {"seed": 9}}}, MERGE) == set()
    assert site.found(OPERATOR, "PATCH", jobs(there, "held"), {"metadata": {"finalizers": None}}, MERGE) == set()
