"""What policies and registered data demand of a job, refused by the API server from the facts that the operator has written."""

from typing import Any

import pytest

from finetune_operator.api.governance.current import MOST_DATASETS
from finetune_testbed.apiserver import MERGE
from tests.cluster.admission.governed import (
    ALICE,
    CLINIC,
    GOVERNED,
    LABELS,
    LEVEL,
    OPERATOR,
    RESIDENCY,
    VALUES,
    Object,
    Refused,
    Site,
    dataset,
    deployment,
    deployments,
    facts,
    job,
    jobs,
    policy,
)
from tests.cluster.chart import Helm

HOUSE = policy("house", match={"minLevel": "confidential"}, zones=["onprem-a"], dataSources=["pvc://data"])
AUDIT = policy("auditing", mode="Audit", dataSources=["pvc://nowhere"])
FAR = policy("far", match={"regimes": ["pci"]}, zones=[], dataSources=[])
A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
DATA = [
    dataset("notes", digest=A),
    dataset("elsewhere", uri="pvc://other/notes.jsonl", digest=B),
    dataset("highest", level="restricted", digest=C),
    dataset("pinless", digest=None),
    dataset("gone", digest=D, withdrawn={"reason": "consent withdrawn"}),
    dataset("folder", uri="pvc://data/2026/09", level="restricted", digest=f"sha256:{'f' * 64}"),
    dataset("lower", uri="pvc://data/highest.jsonl", level="public", regimes=[], digest=C),
]
LOWEST = {LEVEL: "internal", RESIDENCY: "any"}
OWN = {"uri": "pvc://data/own.jsonl", "digest": f"sha256:{'e' * 64}"}
DOWNGRADE = {"ClassificationDowngrade"}
CASES: list[tuple[str, dict[str, Any], dict[str, str], set[str]]] = [
    ("all is well", {"ref": {"name": "notes"}}, LABELS, set()),
    ("a level below that of the data", {"ref": {"name": "highest"}}, LABELS, DOWNGRADE),
    ("nothing sensitive declared about data that are", {"ref": {"name": "notes"}}, LOWEST, DOWNGRADE),
    ("the same place named as if nobody knew it", {"inline": {"uri": "pvc://data/highest.jsonl", "digest": C}}, LABELS, DOWNGRADE),
    ("the same rows copied to another place", {"inline": {**OWN, "digest": C}}, LABELS, DOWNGRADE),
    ("a part of what is registered", {"inline": {**OWN, "uri": "pvc://data/2026/09/a.jsonl"}}, LOWEST, DOWNGRADE),
    ("a folder that holds it", {"inline": {**OWN, "uri": "pvc://data/2026"}}, LOWEST, DOWNGRADE),
    ("a name that begins so", {"inline": {**OWN, "uri": "pvc://data/2026/0"}}, LOWEST, set()),
    ("the same data by a record that says less", {"ref": {"name": "lower"}}, LOWEST, DOWNGRADE),
    ("data that are not registered", {"ref": {"name": "absent"}}, LABELS, {"DatasetMissing"}),
    ("above internal without a record", {"inline": OWN}, LABELS, {"DatasetNotRegistered"}),
    ("not sensitive without a record", {"inline": OWN}, LOWEST, set()),
    ("a source that the policy does not allow", {"ref": {"name": "elsewhere"}}, LABELS, {"ResidencyViolation"}),
    ("without the digest that the policy asks for", {"ref": {"name": "pinless"}}, LABELS, {"NotPinned"}),
    ("data that were withdrawn", {"ref": {"name": "gone"}}, LABELS, {"DatasetWithdrawn"}),
    ("a copy of data that were withdrawn", {"inline": {**OWN, "digest": D}}, LABELS, {"DatasetWithdrawn"}),
    ("held-out rows without a record", {"ref": {"name": "notes"}, "validation": OWN}, LABELS, {"DatasetNotRegistered"}),
]


@pytest.fixture(scope="module")
def ward(site: Site) -> str:
    there = site.namespace(CLINIC)
    site.tell(there, [HOUSE, AUDIT, FAR], DATA)
    site.until_found({"DatasetMissing"}, ALICE, "POST", f"{jobs(there)}?dryRun=All", _using({"ref": {"name": "absent"}}))
    return there


@pytest.mark.parametrize(("data", "labels", "rules"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_policies_and_data_demand(site: Site, ward: str, data: Object, labels: dict[str, str], rules: set[str]) -> None:
    assert site.found(ALICE, "POST", f"{jobs(ward)}?dryRun=All", _using(data, labels)) == rules


POLICIES: list[tuple[str, list[Object], set[str]]] = [
    ("none", [], {"NoMatchingPolicy"}),
    ("one that only audits", [{**HOUSE, "spec": {**HOUSE["spec"], "mode": "Audit"}}], {"NoMatchingPolicy"}),
    ("one that begins above", [policy("high", match={"minLevel": "restricted"}, zones=["*"], dataSources=["*"])], {"NoMatchingPolicy"}),
    ("one of other namespaces", [policy("other", match={"namespaceLabels": {"team": "x"}}, zones=["*"])], {"NoMatchingPolicy"}),
    ("one that allows no place", [HOUSE, policy("closed", dataSources=["*"])], {"ResidencyViolation"}),
    ("one that allows another place", [HOUSE, policy("far", zones=["eu-de"], dataSources=["*"])], {"ResidencyViolation"}),
    ("one that allows everything", [policy("open", zones=["*"], dataSources=["*"])], set()),
]


@pytest.fixture(scope="module")
def changing(site: Site) -> str:
    return site.namespace(CLINIC)


@pytest.mark.parametrize(("policies", "rules"), [case[1:] for case in POLICIES], ids=[case[0] for case in POLICIES])
def test_policies_as_they_come_and_go(site: Site, changing: str, policies: list[Object], rules: set[str]) -> None:
    """Of jobs, and of deployments, which use no data of their own."""
    site.tell(changing, policies, DATA)
    site.until_found(rules, ALICE, "POST", f"{jobs(changing)}?dryRun=All", _using({"ref": {"name": "notes"}}))
    site.until_found(rules, ALICE, "POST", f"{deployments(changing)}?dryRun=All", deployment("new"))


TRACKERS: list[tuple[str, str, list[str] | None, dict[str, str], set[str]]] = [
    ("on the list", "http://mlflow.mlops.svc:5000/base", ["mlflow.mlops.svc"], LABELS, set()),
    ("on the list in other letters and with a last dot", "https://MLflow.mlops.SVC.", ["mlflow.mlops.svc"], LABELS, set()),
    ("any", "https://tracker.example", ["*"], LABELS, set()),
    ("not on the list", "https://tracker.example", ["mlflow.mlops.svc"], LABELS, {"ExternalTracker"}),
    ("one that ends as one on the list", "http://evil-mlflow.mlops.svc", ["mlflow.mlops.svc"], LABELS, {"ExternalTracker"}),
    ("one that begins as one on the list", "http://mlflow.mlops.svc.example", ["mlflow.mlops.svc"], LABELS, {"ExternalTracker"}),
    ("one on the list in its path", "http://tracker.example/mlflow.mlops.svc", ["mlflow.mlops.svc"], LABELS, {"ExternalTracker"}),
    ("without a list", "http://mlflow.mlops.svc", None, LABELS, {"ExternalTracker"}),
    ("without a list where nothing is sensitive", "http://mlflow.mlops.svc", None, LOWEST, set()),
    ("where nothing is sensitive and the list is empty", "http://mlflow.mlops.svc", [], LOWEST, {"ExternalTracker"}),
]


@pytest.fixture(scope="module")
def tracked(site: Site) -> dict[str, str]:
    """A namespace for each list of trackers that a policy can have."""
    places = {}
    for hosts in {str(case[2]): case[2] for case in TRACKERS}.values():
        there = site.namespace(CLINIC)
        demands = {} if hosts is None else {"trackerHosts": hosts}
        auditing = policy("auditing", mode="Audit", zones=["*"], dataSources=["*"], trackerHosts=[])
        site.tell(there, [policy("house", zones=["*"], dataSources=["*"], requireDigests=False, **demands), auditing], DATA)
        places[str(hosts)] = there
    return places


@pytest.mark.parametrize(("uri", "hosts", "labels", "rules"), [case[1:] for case in TRACKERS], ids=[case[0] for case in TRACKERS])
def test_row_14_a_tracker(
    site: Site, tracked: dict[str, str], uri: str, hosts: list[str] | None, labels: dict[str, str], rules: set[str]
) -> None:
    document = _using({"ref": {"name": "notes"}} if labels == LABELS else {"inline": OWN}, labels)
    document["spec"]["tracking"] = {"mlflow": {"uri": uri}}
    site.until_found(rules, ALICE, "POST", f"{jobs(tracked[str(hosts)])}?dryRun=All", document)


def test_a_tracker_that_is_refused_is_named_with_those_that_would_do(site: Site, tracked: dict[str, str]) -> None:
    there, document = tracked["['mlflow.mlops.svc']"], _using({"ref": {"name": "notes"}})
    site.ask(ALICE, "POST", jobs(there), job("kept"))
    document["spec"]["tracking"] = {"mlflow": {"uri": "https://tracker.example/team"}}
    told = (
        r"ExternalTracker: spec\.tracking\.mlflow\.uri: 'tracker\.example' is not among the tracker hosts: mlflow\.mlops\.svc "
        r"\(policy house\)\. Use a tracker that the policy names, or none\."
    )
    with pytest.raises(Refused, match=told):
        site.ask(ALICE, "POST", f"{jobs(there)}?dryRun=All", document)
    with pytest.raises(Refused, match=told):
        site.ask(ALICE, "PATCH", f"{jobs(there, 'kept')}?dryRun=All", {"spec": {"tracking": document["spec"]["tracking"]}}, MERGE)


JUDGES: list[tuple[str, str, list[str] | None, dict[str, str], set[str]]] = [
    ("on the list", "http://judge.models.svc:8000/v1", ["judge.models.svc"], LABELS, set()),
    ("on the list in other letters and with a last dot", "https://Judge.models.SVC./v1", ["judge.models.svc"], LABELS, set()),
    ("any", "https://judge.example/v1", ["*"], LABELS, set()),
    ("not on the list", "https://judge.example/v1", ["judge.models.svc"], LABELS, {"ExternalJudge"}),
    ("one on the list in its path", "https://judge.example/judge.models.svc", ["judge.models.svc"], LABELS, {"ExternalJudge"}),
    ("without a list", "http://judge.models.svc/v1", None, LABELS, {"ExternalJudge"}),
    ("without a list where nothing is sensitive", "http://judge.models.svc/v1", None, LOWEST, set()),
    ("where nothing is sensitive and the list is empty", "http://judge.models.svc/v1", [], LOWEST, {"ExternalJudge"}),
]


@pytest.fixture(scope="module")
def judged(site: Site) -> dict[str, str]:
    """A namespace for each list of judges that a policy can have; any tracker will do there."""
    places = {}
    for hosts in {str(case[2]): case[2] for case in JUDGES}.values():
        there = site.namespace(CLINIC)
        demands = {} if hosts is None else {"judgeHosts": hosts}
        house = policy("house", zones=["*"], dataSources=["*"], trackerHosts=["*"], requireDigests=False, **demands)
        site.tell(there, [house, policy("auditing", mode="Audit", zones=["*"], dataSources=["*"], judgeHosts=[])], DATA)
        places[str(hosts)] = there
    return places


@pytest.mark.parametrize(("endpoint", "hosts", "labels", "rules"), [case[1:] for case in JUDGES], ids=[case[0] for case in JUDGES])
def test_row_14_a_judge(
    site: Site, judged: dict[str, str], endpoint: str, hosts: list[str] | None, labels: dict[str, str], rules: set[str]
) -> None:
    document = _using({"ref": {"name": "notes"}} if labels == LABELS else {"inline": OWN}, labels)
    document["spec"]["evaluation"] = {"judge": {"endpoint": endpoint, "model": "critic"}}
    site.until_found(rules, ALICE, "POST", f"{jobs(judged[str(hosts)])}?dryRun=All", document)


def test_a_judge_that_is_refused_is_named_with_those_that_would_do(site: Site, judged: dict[str, str]) -> None:
    there, document = judged["['judge.models.svc']"], _using({"ref": {"name": "notes"}})
    site.ask(ALICE, "POST", jobs(there), job("kept"))
    document["spec"]["evaluation"] = {"judge": {"endpoint": "https://judge.example/v1", "model": "critic"}}
    told = (
        r"ExternalJudge: spec\.evaluation\.judge\.endpoint: 'judge\.example' is not among the judge hosts: judge\.models\.svc "
        r"\(policy house\)\. Use a judge that the policy names, or none\."
    )
    with pytest.raises(Refused, match=told):
        site.ask(ALICE, "POST", f"{jobs(there)}?dryRun=All", document)
    with pytest.raises(Refused, match=told):
        site.ask(ALICE, "PATCH", f"{jobs(there, 'kept')}?dryRun=All", {"spec": {"evaluation": document["spec"]["evaluation"]}}, MERGE)


def test_it_names_policy_place_and_what_would_do(site: Site, ward: str) -> None:
    with pytest.raises(Refused, match=r"spec.dataset.ref: 'pvc://other/notes.jsonl' is not below any source: pvc://data \(policy house\)"):
        site.ask(ALICE, "POST", f"{jobs(ward)}?dryRun=All", _using({"ref": {"name": "elsewhere"}}))
    with pytest.raises(Refused, match=r"declared confidential, but it is restricted by dataset at spec.dataset.ref"):
        site.ask(ALICE, "POST", f"{jobs(ward)}?dryRun=All", _using({"ref": {"name": "highest"}}))


def test_without_the_facts_nothing_is_created_and_what_is_there_can_be_held_and_ended(site: Site) -> None:
    there = site.namespace(CLINIC)
    document = job("older")
    document["metadata"]["finalizers"] = ["finetune.dev/test"]
    site.ask(ALICE, "POST", jobs(there), document)
    site.ask(OPERATOR, "DELETE", facts(there))
    for path, body in ((jobs(there), job("new")), (deployments(there), deployment("new"))):
        site.until_found({"failed to configure binding"}, ALICE, "POST", f"{path}?dryRun=All", body)
        with pytest.raises(Refused, match="no params found"):
            site.ask(ALICE, "POST", f"{path}?dryRun=All", body)
    assert site.found(ALICE, "PATCH", jobs(there, "older"), {"spec": {"suspend": True}}, MERGE) == set()
    site.ask(ALICE, "DELETE", jobs(there, "older"))
    assert site.found(OPERATOR, "PATCH", jobs(there, "older"), {"metadata": {"finalizers": None}}, MERGE) == set()


@pytest.mark.parametrize(("action", "missing"), [("Deny", "Deny"), ("Warn", "Allow"), ("Audit", "Allow")])
def test_absent_facts_refuse_only_where_policies_do(site: Site, action: str, missing: str) -> None:
    """A binding that only warns would refuse for a parameter that is not there."""
    rendered = Helm(site.bed).template(*VALUES, "--set", f"governance.action={action}", "--show-only", "templates/admission.yaml")
    named = [each["spec"] for each in rendered if each.get("spec", {}).get("paramRef", {}).get("name")]
    assert {(spec["validationActions"][0], spec["paramRef"]["parameterNotFoundAction"]) for spec in named} == {
        (action, missing),
        (action, "Allow"),
    }


def test_what_does_not_fit_into_the_facts_is_refused_by_nobody_for_being_absent(site: Site) -> None:
    there = site.namespace(CLINIC)
    site.admin.request("PATCH", facts(there), {"spec": {"policies": [], "datasets": [], "complete": False}}, MERGE)
    site.until_found(set(), ALICE, "POST", f"{jobs(there)}?dryRun=All", _using({"inline": OWN}))
    assert GOVERNED in site.admin.request("GET", f"/api/v1/namespaces/{there}")["metadata"]["labels"]


def _using(data: Object, labels: dict[str, str] = LABELS) -> Object:
    document = job("new", labels)
    document["spec"]["dataset"] = data
    return document


def test_as_many_data_as_the_facts_hold_are_judged_within_what_an_expression_may_cost(site: Site) -> None:
    there = site.namespace(CLINIC)
    many = [dataset(f"n{number:04d}", uri=f"pvc://data/{number:04d}.jsonl", digest=None) for number in range(MOST_DATASETS)]
    site.tell(there, [policy("open", zones=["*"], dataSources=["*"], requireDigests=False, licences={"allow": ["*"]})], many)
    document = _using({"inline": {"uri": "pvc://data/4000.jsonl"}, "validation": {"uri": "pvc://data/4001.jsonl"}})
    document["spec"]["evaluation"] = {"dataset": {"uri": "pvc://data/4002.jsonl"}}
    site.until_found(set(), ALICE, "POST", f"{jobs(there)}?dryRun=All", document)
    document["metadata"]["labels"] = LOWEST
    assert site.found(ALICE, "POST", f"{jobs(there)}?dryRun=All", document) == DOWNGRADE
