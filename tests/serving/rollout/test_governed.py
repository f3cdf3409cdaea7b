"""Governance of serving: what is refused before anything is made, what is taken back and when, and what takes its place."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.api.adapterdeployment.status import AdapterRecordStatus
from finetune_operator.api.inputs import LicenceStatus, TrainedOn
from finetune_operator.domain.rollout.governing import labelled_as
from finetune_operator.domain.rollout.target import is_refused
from finetune_trainer.contract.governance.vocabulary import Level
from tests.serving.rollout.governed_world import (
    GRACE,
    PROVEN,
    GovernedWorld,
    adapter,
    policy,
    serving,
    updated,
    withdrawal,
)
from tests.serving.rollout.test_crashes import essence
from tests.serving.rollout.world import ONE, THREE, TWO, World, version


def test_an_adapter_within_the_clearance_is_served_and_all_that_serves_it_says_how_sensitive_it_is():
    world = GovernedWorld()
    wanted = labelled_as(world.observe())
    assert wanted is not None
    assert wanted.level is Level.INTERNAL
    world.run_until("Healthy")
    assert world.condition("Governed")[:2] == ("True", "Allowed")
    assert world.governance["classification"]["level"] == "internal"
    assert labelled_as(world.observe()) == wanted, "and it is not changed by serving"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"known": adapter(ONE, "restricted")}, "ClassificationDowngrade"),
        ({"known": adapter(ONE, "restricted"), "labels": {"finetune.dev/level": "restricted"}}, "NoMatchingPolicy"),
        ({"known": adapter(ONE, "internal"), "clearance": "public"}, "AdapterNotCleared"),
        ({"labels": {"finetune.dev/level": "secret"}}, "LabelInvalid"),
        ({"known": AdapterRecordStatus(digest=ONE)}, "ClassificationDowngrade"),
        ({"policies": (policy(licences={"deny": ["mit"]}),), "known": adapter(ONE, licences=[LicenceStatus(key="mit")])}, "LicenceDenied"),
        ({"known": adapter(ONE, obligations=["LicenseRef-scancode-llama-3.1-license-2024"])}, "LicenceObligation"),
    ],
)
def test_what_may_not_be_served_is_refused_before_anything_is_made(changes: dict[str, Any], reason: str):
    world = GovernedWorld()
    world.labels |= changes.get("labels", {})
    world.clear_for(changes.get("clearance", "internal"))
    if "known" in changes:
        world.know(changes["known"])
    world.view = replace(world.seen, policies=changes.get("policies", ()))
    world.run(30)
    assert world.condition("Governed")[:2] == ("False", reason)
    for kind, status in (("Ready", "False"), ("Stalled", "True"), ("Accepted", "False")):
        assert world.condition(kind)[:2] == (status, reason)
    assert is_refused(world.observe()), "so that no server is made"
    assert "route" not in (world.status or {})
    assert "desired" not in (world.status or {})
    assert len(world.writes) == 1


def test_an_adapter_above_internal_needs_signature_and_record_where_a_policy_looks():
    world = GovernedWorld()
    world.labels["finetune.dev/level"] = "confidential"
    world.clear_for("confidential")
    world.view = replace(world.seen, policies=(policy(licences={"allow": ["*"]}),))
    world.change(baseModel={"uri": "pvc://models/tiny-chat", "digest": THREE})
    world.know(adapter(ONE, "confidential"))
    world.run(20)
    assert world.condition("Governed")[:2] == ("False", "Unverified")
    world.know(adapter(ONE, "confidential", **PROVEN))
    world.run_until("Healthy")


def test_all_findings_are_told_at_once_each_with_its_remedy():
    world = GovernedWorld()
    world.know(adapter(ONE, "restricted"))
    world.run(10)
    message = world.condition("Governed")[2]
    for words in ("AdapterNotCleared", "Serve it where it is cleared.", "ClassificationDowngrade", "NoMatchingPolicy"):
        assert words in message
    assert {finding["rule"] for finding in world.governance["findings"]} >= {"AdapterNotCleared", "NoMatchingPolicy"}


def test_a_refused_canary_goes_back_at_once_and_comes_again_by_itself_once_it_may():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.tick()
    assert world.rollout["version"] == version(TWO)
    world.know(adapter(TWO, "restricted"))
    world.run(30)
    assert world.route["stable"] == version(ONE)
    assert not world.rollout
    assert world.condition("Governed")[0] == "False"
    assert not (world.status or {}).get("failedVersions"), "it is decided anew, so nothing is remembered against it"
    world.view = replace(world.seen, adapters={})
    world.know(adapter(ONE), adapter(TWO))
    world.status = {**(world.status or {}), "governance": {**world.governance, "adapters": []}}
    world.run(300)
    assert world.stable == version(TWO)


def test_what_answers_and_may_not_any_more_has_its_grace_and_then_the_former_version_that_may_answers():
    world = updated()
    world.know(adapter(TWO, "restricted"))
    world.tick()
    assert world.condition("Governed")[0] == "False"
    assert world.condition("Ready")[0] == "False"
    assert "answers until" in world.condition("Ready")[2]
    assert world.route["stable"] == version(TWO), "during the grace period nothing changes for callers"
    quiet = len(world.writes)
    world.run(GRACE - 60)
    assert world.route["stable"] == version(TWO)
    assert len(world.writes) == quiet, "and nothing is written"
    world.run(120)
    assert world.route["stable"] == version(ONE)
    assert world.stable == version(ONE)
    assert [entry["outcome"] for entry in (world.status or {})["history"][:2]] == ["Promoted", "ClassificationDowngrade"]
    world.run(120)
    assert world.stable == version(ONE)


def test_a_correction_within_the_grace_period_leaves_everything_as_it_was():
    world = updated()
    world.clear_for("public")
    world.run(60)
    assert "grace" in world.governance
    world.clear_for("internal")
    world.run(60)
    assert "grace" not in world.governance
    world.run(GRACE * 2)
    assert world.stable == version(TWO)


def test_where_no_former_version_may_answer_nobody_does_and_the_status_says_why():
    world = updated()
    world.clear_for("public")
    world.run(GRACE + 60)
    assert "stable" not in (world.status or {})
    assert world.route.get("stable") is None
    assert world.condition("Ready")[:2] == ("False", "AdapterNotCleared")
    assert world.condition("Available")[0] == "False"
    world.run(60)
    assert world.loaded() == set(), "what may not be served is not loaded either"
    at_rest = len(world.writes)
    world.run(600)
    assert len(world.writes) == at_rest
    world.clear_for("internal")
    world.run(60)
    assert world.stable == version(TWO), "the version asked for comes by itself once it may"


def test_withdrawn_data_take_their_adapters_out_within_one_decision_and_say_so():
    world = updated()
    world.withdraw()
    world.reconcile()
    assert world.route["stable"] == version(ONE), "the same write that takes it out names what answers instead"
    world.run(30)
    assert world.stable == version(ONE)
    status, reason, message = world.condition("Governed")
    assert (status, reason) == ("False", "Revoked")
    assert "TrainingDataset support/tickets" in message
    assert "consent revoked" in message
    assert ("Warning", "Revoked") in world.events
    assert (world.status or {})["failedVersions"][0]["reason"] == "Revoked"
    world.run(600)
    assert version(TWO) not in world.loaded()


def test_a_former_version_of_the_same_data_is_no_way_back():
    world = updated()
    world.withdraw(withdrawal(), withdrawal("older"))
    world.reconcile()
    assert world.route.get("stable") is None
    world.run(120)
    assert world.loaded() == set()
    assert world.condition("Ready")[1] == "Revoked"


def test_a_former_version_that_is_not_loaded_any_more_is_loaded_again():
    world = updated(rollback__keepStableLoadedSeconds=60)
    world.run(200)
    assert world.loaded() == {version(TWO)}
    world.withdraw()
    world.reconcile()
    assert world.route.get("stable") is None, "out at once, whatever takes its place"
    assert world.rollout["version"] == version(ONE)
    assert world.rollout["restores"]
    world.run(60)
    assert world.stable == version(ONE)


@pytest.mark.parametrize("loading", [True, False])
def test_while_a_newer_version_comes_callers_get_one_that_may_answer(loading: bool):
    world = updated()
    world.know(adapter(THREE, data="fresh"))
    if loading:
        world.slow_pods = set(world.pods)
    world.publish(THREE)
    for _ in range(20):
        if world.rollout.get("stage") == ("Loading" if loading else "Baking"):
            break
        world.tick()
    world.withdraw()
    world.reconcile()
    assert world.route["stable"] == version(ONE if loading else THREE), "a canary that answers already takes over"
    world.slow_pods = set()
    world.run(300)
    assert world.stable == version(THREE)


@pytest.mark.parametrize(("labels", "allowed"), [(("internal",), True), (("internal", "public"), False), ((), True)])
def test_servers_of_ones_own_have_to_be_cleared_each_of_them(labels: tuple[str, ...], allowed: bool):
    world = GovernedWorld(server={"external": {"matchLabels": {"app": "mine"}, "adapterMountPath": "/adapters"}})
    world.view = replace(world.seen, server_labels=tuple({"finetune.dev/clearance-level": level} for level in labels))
    world.settle()
    assert (world.condition("Governed")[0] == "True") is allowed
    if not allowed:
        assert "the model server is not cleared" in world.condition("Governed")[2]


def test_a_withdrawal_is_remembered_when_job_and_dataset_are_gone():
    world = updated()
    world.withdraw()
    world.run(60)
    world.view = replace(world.seen, withdrawals=(), adapters={})
    world.run(600)
    assert world.stable == version(ONE)


def test_what_an_adapter_was_made_of_is_known_still_when_its_job_is_gone():
    world = updated()
    world.job, world.view = None, replace(world.seen, adapters={})
    world.change(adapter={"uri": f"pvc://adapters/{TWO[7:]}", "digest": TWO}, preflight__requireEvaluation=False)
    world.run(30)
    world.withdraw()
    world.reconcile()
    assert world.condition("Governed")[:2] == ("False", "Revoked")


@pytest.mark.parametrize(
    ("withdrawn", "hit"),
    [
        (withdrawal(), True),
        (withdrawal("other", uri="pvc://data/tickets.jsonl"), True),
        (withdrawal("other", uri="pvc://data/tickets.jsonl", digest=THREE), True),
        (withdrawal("whole", uri="pvc://data", digest=ONE), True),
        (withdrawal("part", uri="pvc://data/tickets.jsonl/a", digest=ONE), True),
        (withdrawal("other", uri="pvc://data/tickets"), False),
        (withdrawal("other"), False),
        (withdrawal(namespace="elsewhere"), False),
        (withdrawal("copy", uri="pvc://x/y", digest=THREE, namespace="elsewhere"), False),
    ],
)
def test_a_withdrawal_reaches_the_same_data_and_no_others(withdrawn: Any, hit: bool):
    world = updated()
    world.withdraw(withdrawn)
    world.reconcile()
    assert (world.condition("Governed")[1] == "Revoked") is hit


def test_a_place_that_holds_other_bytes_by_now_is_other_data():
    data = [TrainedOn(namespace="support", uri="pvc://data/tickets.jsonl", digest=THREE)]
    for digest, hit in ((THREE, True), (TWO, False), ("", True)):
        found = withdrawal("later", uri="pvc://data/tickets.jsonl", digest=digest)
        assert found.reaches(data[0], "support") is hit


def test_a_former_version_that_may_not_answer_does_not_stay_loaded():
    world = updated()
    assert world.loaded() == {version(ONE), version(TWO)}
    world.withdraw(withdrawal("older"))
    world.run(60)
    assert world.loaded() == {version(TWO)}
    assert world.stable == version(TWO)
    assert world.condition("Governed")[0] == "True"


def test_a_person_cannot_hold_the_way_back():
    world = updated()
    world.change(paused=True)
    world.settle()
    world.withdraw()
    world.reconcile()
    assert world.route["stable"] == version(ONE)
    world.order("abort:1")
    world.run(60)
    assert world.stable == version(ONE)


def withdrawn(crash_at: int | None) -> GovernedWorld:
    world = updated()
    world.writes.clear()
    world.crash_at = crash_at
    world.withdraw()
    world.run(300)
    return world


def test_killed_at_any_write_of_a_withdrawal_it_ends_the_same():
    plain = withdrawn(None)
    assert len(plain.writes) >= 3
    for write in range(len(plain.writes)):
        assert essence(withdrawn(write)) == essence(plain), f"killed at write {write}"


def test_without_anything_governed_nothing_is_written_that_was_not_written_before():
    plain, world = World(), GovernedWorld()
    world.spec, world.rate, world.labels = plain.spec, plain.rate, {}
    world.view = replace(world.seen, namespace_labels={}, adapters={})
    for each in (plain, world):
        each.run_until("Healthy")
    assert world.status == plain.status
    assert len(world.writes) == len(plain.writes)


def test_an_operator_that_does_not_look_after_governance_leaves_what_serves_and_begins_nothing():
    world = serving()
    world.view = None
    world.publish(TWO)
    world.run(60)
    assert world.stable == version(ONE)
    assert world.condition("Ready")[1] == "GovernanceOff"
    assert world.governance["classification"]["level"] == "internal"


def test_nothing_is_decided_before_the_namespace_was_seen():
    world = GovernedWorld()
    world.view = replace(world.seen, known=False, namespace_labels={})
    world.settle()
    assert world.status is None
