"""The life of a rollout as people see it: the first version, five steps, a bad canary, and everything a person may do meanwhile."""

import pytest

from finetune_operator.domain.rollout.observed import HeldState, HeldVersion, JobArtifact
from tests.serving.rollout.world import ONE, THREE, TWO, World, baking, serving, spec, version, with_truth


def test_the_first_version_skips_the_canary():
    world = serving()
    assert world.stable == version(ONE)
    assert world.condition("Ready")[:2] == ("True", "Healthy")
    assert [weight for weight in world.weights if weight[1]] == []
    assert world.status is not None
    assert world.status["loaded"] == "3/3"


def test_a_new_artifact_is_rolled_out_in_five_steps_with_at_most_25_writes():
    world = serving()
    before = len(world.writes)
    world.publish(TWO)
    world.tick()
    world.run_until("Healthy")
    assert world.stable == version(TWO)
    assert len(world.writes) - before <= 25
    rising = list(dict.fromkeys(weight for weight, _ in world.weights))
    assert rising == [0, 5, 25, 50, 75]
    assert world.status is not None
    assert [entry["outcome"] for entry in world.status["history"]] == ["Promoted", "Promoted"]


def test_an_idle_deployment_writes_nothing():
    world = serving()
    before = len(world.writes)
    world.run(3600, step=60)
    assert len(world.writes) == before


def test_looking_at_a_baking_canary_writes_nothing():
    world = baking(2)
    world.rate = 2.0
    before = len(world.writes)
    world.run(50)
    assert world.rollout["stage"] == "Baking"
    assert len(world.writes) == before


def test_a_failing_canary_goes_back_at_once_and_says_why_with_numbers():
    world = with_truth(serving(), TWO, errors=0.4)
    world.publish(TWO)
    world.run_until("RollingBack")
    assert "canary" not in world.route
    assert "requests failed" in world.condition("Ready")[2]
    world.run_until("Degraded")
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "RolledBack")
    assert "Errors" in message
    assert "spec.retry" in message
    assert world.condition("Stalled")[0] == "True"
    assert world.condition("Available")[0] == "True"
    assert world.stable == version(ONE)
    assert ("Warning", "RolledBack") in world.events
    assert world.status is not None
    assert world.status["analysis"][0]["finding"] == "Fail"


@pytest.mark.parametrize(("truth", "check"), [({"invalid": 0.9}, "Schema"), ({"seconds": 4.0}, "TTFT")])
def test_wrong_shapes_and_slow_answers_go_back_too(truth: dict[str, float], check: str):
    world = with_truth(serving(), TWO, **truth)
    world.publish(TWO)
    world.run_until("Degraded")
    assert world.condition("Ready")[2].startswith(check)


def test_what_failed_once_is_not_tried_again_by_itself():
    world = with_truth(serving(), TWO, errors=0.4)
    world.publish(TWO)
    world.run_until("Degraded")
    started = world.events.count(("Normal", "Validating"))
    world.change(paused=False)
    world.run(600)
    assert world.events.count(("Normal", "Validating")) == started
    assert world.phase == "Degraded"


@pytest.mark.parametrize("by", ["spec.retry", "annotation"])
def test_a_person_may_have_it_tried_again(by: str):
    world = with_truth(serving(), TWO, errors=0.4)
    world.publish(TWO)
    world.run_until("Degraded")
    world.truth.clear()
    if by == "spec.retry":
        world.change(retry="again")
    else:
        world.order("retry:1")
    world.tick()
    world.run_until("Healthy")
    assert world.stable == version(TWO)


def test_a_new_version_after_a_failed_one_is_rolled_out_from_the_same_stable():
    world = with_truth(serving(), TWO, errors=0.4)
    world.publish(TWO)
    world.run_until("Degraded")
    world.publish(THREE)
    world.tick()
    world.run_until("Healthy")
    assert world.stable == version(THREE)


def test_a_newer_version_supersedes_the_canary_and_starts_at_the_first_step():
    world = baking(4)
    world.publish(THREE)
    world.tick()
    assert world.weights[-1] == (0, None), "first the traffic goes back"
    world.tick()
    assert world.rollout["version"] == version(THREE)
    assert world.rollout["step"] <= 1
    assert world.status is not None
    assert world.status["history"][0]["outcome"] == "Superseded"
    assert "failedVersions" not in world.status
    world.run_until("Healthy")
    assert world.stable == version(THREE)


def test_going_back_to_stable_during_a_rollout_takes_one_write():
    world = baking(3)
    world.publish(ONE)
    before = len(world.writes)
    world.reconcile()
    assert len(world.writes) == before + 1
    assert (world.route["weight"], world.route.get("canary"), world.route["stable"]) == (0, None, version(ONE))
    world.run(120)
    assert world.condition("Ready")[:2] == ("True", "Healthy")
    assert world.status is not None
    assert "failedVersions" not in world.status


def test_going_back_after_a_promotion_is_instant_while_the_old_version_is_loaded():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.run_until("Retaining")
    world.publish(ONE)
    world.reconcile()
    assert world.route["stable"] == version(ONE)
    assert ("Normal", "Reverted") in world.events
    world.tick()
    world.tick()
    assert world.stable == version(ONE)


def test_pinning_the_digest_of_stable_takes_the_canary_back_though_the_job_offers_another():
    world = baking(3)
    world.evaluated = frozenset({ONE, TWO})
    world.change(adapter__digest=ONE)
    before = len(world.writes)
    world.reconcile()
    assert len(world.writes) == before + 1
    assert (world.route["weight"], world.route.get("canary"), world.route["stable"]) == (0, None, version(ONE))
    world.run(120)
    assert world.condition("Ready")[:2] == ("True", "Healthy")
    assert world.status is not None
    assert "failedVersions" not in world.status
    del world.spec["adapter"]["digest"]
    world.tick()
    assert world.rollout["version"] == version(TWO), "the pin is all that held it"


def test_a_pin_stands_for_no_evaluation():
    world = baking(3)
    world.change(adapter__digest=ONE)
    world.run(30)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "WaitingForArtifact"), "nobody says any more that ONE has passed its gate"
    assert f"Until then {version(ONE)} answers" in message


@pytest.mark.parametrize("edit", ["a pin", "a uri without a gate", "a job without an artifact", "evaluation required"])
def test_an_edit_that_leaves_nothing_to_roll_out_takes_the_canary_back_at_once(edit: str):
    world = baking(3, preflight__requireEvaluation=False)
    if edit == "a pin":
        world.change(adapter__digest=THREE)
    elif edit == "a uri without a gate":
        world.change(adapter={"uri": "pvc://adapters/hot", "digest": THREE}, preflight__requireEvaluation=True)
        world.job = None
    elif edit == "a job without an artifact":
        world.change(adapter={"fineTuneJobRef": {"name": "another"}})
        world.job = None
    else:
        world.job = JobArtifact("pvc://adapters/x", TWO, gated=False)
        world.change(preflight__requireEvaluation=True)
    before = len(world.writes)
    world.reconcile()
    assert len(world.writes) == before + 1
    assert (world.route["weight"], world.route.get("canary"), world.route["stable"]) == (0, None, version(ONE))
    world.run(200)
    assert world.status is not None
    assert world.stable == version(ONE)
    assert (world.status["history"][0]["version"], world.status["history"][0]["outcome"]) == (version(TWO), "Reverted")
    assert "failedVersions" not in world.status


@pytest.mark.parametrize("event", ["the job is deleted", "a pinned job is deleted", "a newer artifact is refused"])
def test_what_only_the_world_has_changed_takes_no_canary_back(event: str):
    world = baking(3)
    if event == "a pinned job is deleted":
        world.change(adapter__digest=TWO)
    if event == "a newer artifact is refused":
        world.change(server__managed__replicas=4)
    world.job = JobArtifact("pvc://adapters/x", THREE, gated=False) if event == "a newer artifact is refused" else None
    world.run(30)
    assert world.route["canary"] == version(TWO)


@pytest.mark.parametrize("left", ["", ONE])
def test_withdrawing_the_approval_takes_the_canary_back(left: str):
    world = World(spec(adapter__promotion="Approval", approvedVersion=ONE))
    world.run_until("Healthy")
    world.publish(TWO)
    world.change(approvedVersion=TWO)
    world.run(100)
    assert world.route["canary"] == version(TWO)
    world.publish(THREE)
    world.tick()
    assert world.route["canary"] == version(TWO), "a newer artifact that waits for approval takes none away"
    world.change(approvedVersion=left)
    world.reconcile()
    assert (world.route.get("canary"), world.route["stable"]) == (None, version(ONE))
    world.run(60)
    assert world.condition("Ready")[1] == "WaitingForApproval"
    assert world.status is not None
    assert world.status["history"][0]["outcome"] == "Reverted"
    assert "failedVersions" not in world.status


def test_going_back_later_is_a_rollout_like_any_other():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.run_until("Healthy")
    world.publish(ONE)
    world.tick()
    assert world.phase in ("Validating", "Loading", "Progressing")


def test_paused_the_weight_stays_and_the_bake_clock_stands_still():
    world = baking(3)
    world.run(30)
    world.change(paused=True)
    world.run(1200)
    assert world.phase == "Paused"
    assert world.route["weight"] == 25
    world.change(paused=False)
    world.tick()
    assert world.rollout["step"] == 3, "half of the bake is still to come"
    world.run(60)
    assert world.rollout["step"] == 4


def test_paused_a_failing_canary_goes_back_all_the_same():
    world = baking(3)
    world.change(paused=True)
    world.tick()
    with_truth(world, TWO, errors=0.9)
    world.run(120)
    assert world.phase in ("RollingBack", "Degraded")


def test_paused_before_the_first_step_no_caller_gets_the_canary():
    world = serving()
    world.change(paused=True)
    world.publish(TWO)
    world.run(20_000, step=500)
    assert world.phase == "Paused"
    assert "canary" not in world.route
    world.change(paused=False)
    world.run_until("Healthy")
    assert world.stable == version(TWO)


def test_a_step_that_needs_approval_waits_for_the_digest_of_its_version():
    steps = [{"weight": 10, "bakeSeconds": 30, "approval": True}]
    world = serving(strategy__canary__steps=steps)
    world.publish(TWO)
    world.run(600)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "WaitingForApproval")
    assert TWO in message
    world.change(approvedVersion=ONE)
    world.run(60)
    assert world.stable == version(ONE)
    world.change(approvedVersion=TWO)
    world.run(60)
    assert world.stable == version(TWO)


def test_a_new_artifact_waits_for_approval_where_promotion_asks_for_it():
    world = World(spec(adapter__promotion="Approval", approvedVersion=ONE))
    world.run_until("Healthy")
    world.publish(TWO)
    world.run(120)
    assert world.rollout == {}
    assert world.condition("Ready")[1] == "WaitingForApproval"
    assert version(ONE) in world.condition("Ready")[2]
    world.change(approvedVersion=TWO)
    world.tick()
    assert world.rollout["version"] == version(TWO)


def test_without_automatic_rollback_a_failed_check_stops_and_a_person_decides():
    world = with_truth(serving(rollback__automatic=False), TWO, errors=0.4)
    world.publish(TWO)
    world.run(900)
    assert world.condition("Ready")[1] == "AnalysisFailed"
    assert world.condition("AnalysisPassing")[0] == "False"
    assert world.rollout["stage"] == "Baking"
    written = len(world.writes)
    world.run(300)
    assert len(world.writes) == written, "the words stay those of the moment"
    step = world.rollout["step"]
    world.truth.clear()
    world.order("promote:1")
    world.tick()
    assert world.rollout["step"] == step + 1
    world.order("abort:1")
    world.tick()
    assert world.phase == "RollingBack"
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "Aborted"


def test_an_order_is_heeded_once():
    world = baking(2)
    world.order("promote:1")
    world.tick()
    world.tick()
    assert world.rollout["step"] == 3
    world.run(30)
    assert world.rollout["step"] == 3


def test_blue_green_switches_all_callers_at_once():
    world = World(spec(strategy={"blueGreen": {}}))
    world.run_until("Healthy")
    world.publish(TWO)
    world.run_until("Retaining")
    assert world.stable == version(TWO)
    assert all(weight == 0 for weight, _ in world.weights)


def test_the_former_version_stays_loaded_until_its_time_is_over():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.run_until("Retaining")
    world.run(300)
    assert world.loaded() == {version(ONE), version(TWO)}
    world.run_until("Healthy")
    world.run(20)
    assert world.loaded() == {version(TWO)}
    assert world.route["versions"] == [version(TWO)]


def test_ready_stays_true_while_a_former_version_is_forgotten():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.run_until("Retaining")
    seen = set()
    for _ in range(80):
        world.tick()
        seen.add(world.condition("Ready")[0])
    assert seen == {"True"}


def test_a_version_refused_by_a_pod_is_dropped_before_any_caller_gets_it():
    world = serving()
    refused = HeldVersion(version(TWO), HeldState.REJECTED, "UnsupportedRank", "adapter_config.json: r is 256. Raise maxLoraRank.")
    world.refused[version(TWO)] = refused
    world.publish(TWO)
    world.run(60)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "LoadFailed")
    assert "r is 256. Raise maxLoraRank" in message
    assert all(canary is None for _, canary in world.weights)
    assert world.stable == version(ONE)


def test_an_adapter_without_effect_is_dropped_unless_that_is_switched_off():
    idle = HeldVersion(version(TWO), HeldState.LOADED, has_effect=False)
    for probe, reason in (("Enforce", "NoEffect"), ("Off", "Applying")):
        world = serving(preflight__effectProbe=probe)
        world.refused[version(TWO)] = idle
        world.publish(TWO)
        world.run(30)
        assert world.condition("Ready")[1] in (reason, "Baking" if probe == "Off" else reason)


def test_a_changed_weight_begins_the_bake_anew():
    world = baking(3)
    world.run(50)
    steps = world.spec["strategy"]["canary"]["steps"]
    world.change(strategy__canary__steps=[*steps[:2], {"weight": 30, "bakeSeconds": 60}, *steps[3:]])
    world.tick()
    assert (world.rollout["step"], world.route["weight"]) == (3, 30)
    world.run(40)
    assert world.rollout["step"] == 3
    world.run(40)
    assert world.rollout["step"] == 4


def test_a_strategy_with_fewer_steps_promotes_what_has_passed_them():
    world = baking(4)
    world.routers["router-1"].silent = True
    world.change(strategy__canary__steps=world.spec["strategy"]["canary"]["steps"][:2])
    world.run(30)
    assert (world.route["weight"], world.route["canary"]) == (50, version(TWO)), "the weight stays while a router cannot be asked"
    world.routers["router-1"].silent = False
    world.run(30)
    assert world.stable == version(TWO)


def test_the_history_is_as_long_as_the_spec_says():
    world = serving()
    world.publish(TWO)
    world.tick()
    world.run_until("Healthy")
    world.change(revisionHistoryLimit=1)
    world.tick()
    assert world.status is not None
    assert [entry["version"] for entry in world.status["history"]] == [version(TWO)]


def test_a_promotion_that_routers_are_late_to_apply_names_them():
    world = baking(5)
    world.run(40)
    world.routers["router-1"].lags = True
    world.run(200)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "Promoting")
    assert "router-1" in message
    assert world.stable == version(ONE)
    world.routers["router-1"].lags = False
    world.run(20)
    assert world.stable == version(TWO)


def test_an_order_to_promote_waits_for_every_router():
    world = baking(2)
    world.routers["router-1"].silent = True
    world.order("promote:1")
    world.tick()
    assert world.rollout["step"] == 2
    world.routers["router-1"].silent = False
    world.tick()
    assert world.rollout["step"] == 3


def test_a_promotion_under_way_is_finished_before_anything_newer_begins():
    world = baking(5)
    world.run_until("Promoting")
    world.routers["router-1"].lags = True
    world.publish(THREE)
    world.run(30)
    assert (world.rollout["version"], world.route["stable"]) == (version(TWO), version(TWO))
    world.routers["router-1"].lags = False
    world.tick()
    assert world.stable == version(TWO)
    assert world.rollout["version"] == version(THREE)


@pytest.mark.parametrize(("way", "outcome"), [("a revert", "Reverted"), ("a pin", "Reverted"), ("an abort", "Aborted")])
def test_a_promotion_that_a_router_holds_up_is_taken_back_at_once(way: str, outcome: str):
    world = baking(5)
    world.run_until("Promoting")
    world.routers["router-1"].lags = True
    world.tick()
    if way == "a revert":
        world.publish(ONE)
    elif way == "a pin":
        world.change(adapter__digest=THREE)
    else:
        world.order("abort:1")
    before = len(world.writes)
    world.reconcile()
    assert len(world.writes) == before + 1
    assert (world.route["stable"], world.route.get("canary")) == (version(ONE), None)
    world.routers["router-1"].lags = False
    world.run(30)
    assert world.stable == version(ONE)
    assert world.status is not None
    assert world.status["history"][0]["outcome"] == outcome


def test_a_promotion_that_a_router_holds_up_ends_after_the_deadline_and_names_it():
    world = baking(5, progressDeadlineSeconds=120)
    world.run_until("Promoting")
    world.routers["router-1"].lags = True
    world.run(100)
    assert world.phase == "Promoting"
    world.run(40)
    assert world.route["stable"] == version(ONE)
    world.routers["router-1"].lags = False
    world.run(30)
    reason, message = world.condition("Ready")[1:]
    assert reason == "DeadlineExceeded"
    assert "router-1" in message
    assert world.stable == version(ONE)


def test_the_promotion_of_a_first_version_has_nothing_to_go_back_to():
    world = World(spec(progressDeadlineSeconds=60))
    for router in world.routers.values():
        router.lags = True
    world.run_until("Promoting")
    world.order("abort:1")
    world.run(200)
    assert (world.phase, world.route["stable"]) == ("Promoting", version(ONE))
    for router in world.routers.values():
        router.lags = False
    world.run_until("Healthy")


def test_a_newer_version_does_not_make_forget_why_the_one_before_was_taken_back():
    world = with_truth(serving(), TWO, errors=0.4)
    world.publish(TWO)
    world.run_until("RollingBack")
    world.publish(THREE)
    world.run(20)
    assert world.status is not None
    assert [entry["reason"] for entry in world.status["failedVersions"]] == ["RolledBack"]
    assert world.rollout["version"] == version(THREE)


def test_callers_known_by_nothing_but_their_header_are_a_wish_that_lasts():
    world = serving(stickiness__header="x-session-id", stickiness__fallback=[])
    assert world.route["stickiness"] == {"header": "x-session-id", "fallback": []}
    writes = len(world.writes)
    world.run(600)
    assert len(world.writes) == writes
