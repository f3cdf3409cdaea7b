"""What a policy's and a dataset's status say: whom they concern, how often, and what nobody can satisfy."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.api.base import rfc3339
from finetune_operator.domain.governance.conflicts import conflicts_of
from finetune_operator.domain.governance.standing import JobStanding, Surroundings, dataset_status, policy_status, read_job
from finetune_operator.domain.governance.view import read_policy
from finetune_trainer.contract.governance import Outcome
from finetune_trainer.contract.governance.facts import Site
from tests.unit.domain.governed import dataset, policy, registered, view
from tests.unit.domain.samples import NOON

SITE = Site(residencies=("onprem", "eu-de"))
NAMESPACES = {"clinic": {"team": "care"}, "support": {"team": "desk"}, "lab": {"team": "care", "tier": "two"}}


def stored(name: str = "house", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}", "generation": 3}, "spec": spec, "status": status or {}}


def said(*manifests: dict[str, Any], jobs: tuple[JobStanding, ...] = (), at: Any = NOON, namespaces: Any = None) -> dict[str, Any]:
    """The status of the first policy among all of them."""
    read = tuple(read_policy(manifest) for manifest in manifests)
    around = Surroundings(read, NAMESPACES if namespaces is None else namespaces, jobs, SITE)
    return policy_status(manifests[0], read[0], around, at).to_manifest()


def job(outcome: Outcome | None, *policies: str, **more: Any) -> JobStanding:
    return JobStanding(namespace="support", outcome=outcome, policies=frozenset(policies), **more)


def test_it_says_which_namespaces_it_matches_and_how_jobs_fared_under_it() -> None:
    jobs = (job(Outcome.ALLOW, "house"), job(Outcome.DENY, "house", "other"), job(Outcome.DENY, "other"), job(None))
    found = said(stored(match={"namespaceLabels": {"team": "care"}}), jobs=jobs)
    assert (found["matchedNamespaces"], found["matchedNamespaceCount"]) == (["clinic", "lab"], 2)
    assert found["jobs"] == {"allowed": 1, "held": 0, "needApproval": 0, "denied": 1}
    assert found["observedGeneration"] == 3
    assert [(c["type"], c["status"], c["reason"]) for c in found["conditions"]] == [("Ready", "True", "InForce")]
    assert "spec.dataSources" in found["conditions"][0]["message"]


def test_deployments_are_counted_apart_from_jobs() -> None:
    read = (read_policy(stored()),)
    denied = JobStanding("clinic", outcome=Outcome.DENY, policies=frozenset({"house"}))
    around = Surroundings(read, NAMESPACES, (job(Outcome.ALLOW, "house"),), SITE, (denied, denied))
    found = policy_status(stored(), read[0], around, NOON).to_manifest()
    assert (found["jobs"]["allowed"], found["jobs"]["denied"]) == (1, 0)
    assert (found["deployments"]["allowed"], found["deployments"]["denied"]) == (0, 2)


def test_what_matches_nothing_says_so_and_what_cannot_be_read_is_not_ready() -> None:
    assert said(stored(match={"namespaceLabels": {"team": "none"}}))["conditions"][0]["reason"] == "MatchesNothing"
    unreadable = said(stored(mode="Sometimes"))["conditions"][0]
    assert (unreadable["status"], unreadable["reason"]) == ("False", "Unreadable")


def test_a_hundred_namespaces_are_counted_and_the_first_are_named() -> None:
    found = said(stored(), namespaces={f"n-{number:03}": {} for number in range(100)})
    assert (len(found["matchedNamespaces"]), found["matchedNamespaceCount"]) == (64, 100)


def test_a_transition_time_moves_only_with_the_condition() -> None:
    before = said(stored())
    later = NOON + timedelta(hours=1)
    assert said(stored(status=before), at=later) == before
    broken = said(stored(status=before, dataSources=[]), at=later)
    assert broken["conditions"][0]["lastTransitionTime"] == rfc3339(later)


def test_approvals_where_nobody_checks_who_submits_are_told() -> None:
    asks = stored(approvals=[{"stage": "Train"}])
    assert "In 3 of the namespaces" in said(asks)["conditions"][0]["message"]
    governed = {name: {"finetune.dev/governed": "true"} for name in NAMESPACES}
    assert "In " not in said(asks, namespaces=governed)["conditions"][0]["message"]


CARE, DESK = {"namespaceLabels": {"team": "care"}}, {"namespaceLabels": {"team": "desk"}}
CONFLICTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "places of two policies": ([{"zones": ["onprem"]}, {"zones": ["eu-de"]}], "spec.zones (onprem) and those of policy p1 (eu-de)"),
    "sources of two policies": (
        [{"dataSources": ["pvc://a/x"]}, {"dataSources": ["pvc://a/xy", "pvc://b"]}],
        "spec.dataSources (pvc://a/x)",
    ),
    "licences that the other denies": ([{"licences": {"allow": ["MIT"]}}, {"licences": {"allow": ["X"], "deny": ["MIT"]}}], "no licence"),
    "purposes of two policies": ([{"purposes": ["triage"]}, {"purposes": ["ads"]}], "have none in common"),
    "no purpose at all": ([{"purposes": []}], "spec.purposes is empty"),
    "unset from confidential on": ([{"match": {"minLevel": "confidential"}, "licences": {"allow": ["*"]}}], "spec.dataSources is unset"),
    "no licence at all": ([{"licences": {"allow": []}}], "spec.licences.allow is empty"),
    "no place": ([{"match": {"minLevel": "restricted"}, "licences": {"allow": ["*"]}, "dataSources": ["*"]}], "spec.zones is unset"),
    "a place that nobody knows": ([{"zones": ["moon"]}], "names no place that this installation knows"),
    "a regime that nobody knows": ([{"match": {"regimes": ["gdpr"]}}], "the policy never applies"),
}


@pytest.mark.parametrize(("specs", "words"), CONFLICTS.values(), ids=CONFLICTS)
def test_what_nobody_can_satisfy_is_told_before_anybody_submits(specs: list[dict[str, Any]], words: str) -> None:
    found = said(*(stored(f"p{number}", **spec) for number, spec in enumerate(specs)))
    assert any(words in each for each in found["conflicts"]), found["conflicts"]
    assert found["conditions"][0]["reason"] == "PolicyConflict"
    assert words in found["conditions"][0]["message"]


NO_CONFLICTS: dict[str, list[dict[str, Any]]] = {
    "one place in common": [{"zones": ["onprem", "eu-de"]}, {"zones": ["eu-de"]}],
    "any place": [{"zones": ["onprem"]}, {"zones": ["*"]}],
    "a source below another": [{"dataSources": ["pvc://a"]}, {"dataSources": ["pvc://a/x"]}],
    "namespaces that are not the same": [{"match": CARE, "zones": ["onprem"]}, {"match": DESK, "zones": ["eu-de"]}],
    "regimes that exclude each other": [
        {"match": {"regimes": ["phi"]}, "zones": ["onprem"]},
        {"match": {"regimes": ["pci"]}, "zones": ["eu-de"]},
    ],
    "one purpose in common": [{"purposes": ["triage", "ads"]}, {"purposes": ["ads"]}, {}],
    "a policy that audits": [{"zones": ["onprem"]}, {"mode": "Audit", "zones": ["eu-de"]}],
    "a key and a category": [{"licences": {"allow": ["MIT"]}}, {"licences": {"allow": ["Permissive"]}}],
}


@pytest.mark.parametrize("specs", NO_CONFLICTS.values(), ids=NO_CONFLICTS)
def test_what_can_be_satisfied_is_no_conflict(specs: list[dict[str, Any]]) -> None:
    assert said(*(stored(f"p{number}", **spec) for number, spec in enumerate(specs)))["conflicts"] == []


def test_two_policies_for_namespaces_that_are_still_to_come_meet_where_their_labels_can() -> None:
    later = {"namespaceLabels": {"stage": "later"}}
    pair = (stored("a", match=later, zones=["onprem"]), stored("b", match={}, zones=["eu-de"]))
    assert said(*pair)["conflicts"]
    contrary = (stored("a", match=later, zones=["onprem"]), stored("b", match={"namespaceLabels": {"stage": "now"}}, zones=["eu-de"]))
    assert said(*contrary)["conflicts"] == []


def test_many_conflicts_are_bounded() -> None:
    one = policy("one", zones=["onprem"])
    others = [policy(f"p{number}", zones=["eu-de"]) for number in range(40)]
    assert len(conflicts_of(one, others, SITE, [each.name for each in others])) == 16


def test_data_are_used_by_jobs_and_their_last_use_outlives_the_job() -> None:
    record = dataset()
    users = (job(None, dataset="tickets", published=True, begun_at=NOON), job(None, dataset="tickets"))
    found = dataset_status(record, users, NOON).to_manifest()
    assert (found["jobs"], found["artifacts"], found["lastUsedAt"]) == (2, 1, rfc3339(NOON))
    assert found["conditions"][0]["reason"] == "Registered"
    after = dataset_status({**record, "status": found}, (), NOON + timedelta(days=1)).to_manifest()
    assert (after["jobs"], after["lastUsedAt"]) == (0, rfc3339(NOON))


def test_data_that_were_withdrawn_or_cannot_be_read_are_not_ready() -> None:
    for record, reason in ((dataset(withdrawn={"reason": "consent ended"}), "Withdrawn"), (dataset(level="top"), "Unreadable")):
        condition = dataset_status(record, (), NOON).conditions[0]
        assert (condition.status, condition.reason) == ("False", reason)


def test_a_job_is_read_from_what_its_status_says() -> None:
    made = registered(view(policy(approvals=[{"stage": "Train"}]), datasets=(dataset(),)))
    made.step_through()
    found = read_job(made.observe().resource)
    assert (found.dataset, found.waits, found.policies, found.outcome) == ("tickets", True, frozenset({"house"}), Outcome.HOLD)
    assert found.begun_at is not None
    assert not read_job({"metadata": {"namespace": "x"}, "status": {"governance": {"decision": "Perhaps"}, "conditions": [3]}}).concerns
