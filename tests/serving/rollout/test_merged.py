"""Mode Merged: merged before a server is made, blue and green behind one alias, the same promises as with adapters."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from finetune_operator.domain.children import Unscheduled
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.rollout.observed import HeldState, HeldVersion
from finetune_trainer.contract import FailureClass
from tests.serving.rollout.merged_world import REPLICAS, STEPS, MergedWorld, merged_digest, merged_spec
from tests.serving.rollout.test_crashes import essence, promises
from tests.serving.rollout.world import NOON, ONE, THREE, TWO, Behaviour, version

FAST = {"rollback__keepStableLoadedSeconds": 60, "rollback__drainTimeoutSeconds": 20}


def serving(**changes: Any) -> MergedWorld:
    world = MergedWorld(merged_spec(**{**FAST, **changes}))
    world.run_until("Healthy")
    return world


def test_the_first_version_is_merged_then_served_then_answers():
    world = MergedWorld()
    world.settle()
    assert world.rollout["stage"] == "Merging"
    assert "desired" not in (world.status or {}), "no server is made of a version that is not merged"
    assert len(world.created) == 1
    world.run_until("Healthy")
    assert world.stable == version(ONE)
    stable = (world.status or {})["stable"]
    assert stable["merged"] == {"uri": f"pvc://merged/bot/{merged_digest(ONE)[7:]}", "digest": merged_digest(ONE)}
    assert (world.status or {})["loaded"] == f"{REPLICAS}/{REPLICAS}"
    assert (world.status or {})["selector"] == f"app=bot,finetune.dev/version={ONE[7:19]}"


def test_an_update_goes_step_by_step_between_two_sets_of_servers_and_the_old_one_goes():
    world = serving()
    written = len(world.writes)
    world.publish(TWO)
    world.run_until("Retaining")
    weights = [weight for weight, canary in world.weights if canary == version(TWO)]
    assert sorted(set(weights)) == [0, 5, 20, 40, 60, 80] or sorted(set(weights)) == [5, 20, 40, 60, 80]
    assert len(world.created) == 2
    assert world.loaded() == {version(ONE), version(TWO)}, "the former version keeps its servers"
    objects = 3  # a Job and a Deployment are created, a Deployment is deleted
    assert len(world.writes) - written + objects <= 25
    world.run(120)
    assert world.phase == "Healthy"
    assert world.loaded() == {version(TWO)}
    assert max(world.crowd) == 2


def test_a_bad_version_is_taken_back_and_its_servers_go_once_they_have_drained():
    world = serving()
    world.truth[version(TWO)] = Behaviour(errors=0.5)
    world.publish(TWO)
    world.run_until("Degraded")
    assert world.route["stable"] == version(ONE)
    assert (world.status or {})["failedVersions"][0]["digest"] == TWO
    world.run(60)
    assert world.loaded() == {version(ONE)}
    assert len(world.created) == 2


def test_the_version_before_answers_again_at_once_while_its_servers_are_kept():
    world = serving(rollback__keepStableLoadedSeconds=6000)
    world.publish(TWO)
    world.run_until("Retaining")
    merges = len(world.created)
    world.publish(ONE)
    world.tick(1)
    world.tick(1)
    assert world.stable == version(ONE)
    assert len(world.created) == merges
    assert (world.status or {})["stable"]["merged"]["digest"] == merged_digest(ONE)


def test_a_third_version_makes_the_servers_without_traffic_go_early():
    world = serving(rollback__keepStableLoadedSeconds=6000)
    world.publish(TWO)
    world.run_until("Retaining")
    world.publish(THREE)
    world.run(60)
    assert world.loaded() == {version(TWO), version(THREE)}


@pytest.mark.parametrize("outcome", [FailureClass.MODEL, FailureClass.DATA, FailureClass.OUT_OF_MEMORY])
def test_what_no_repetition_mends_ends_the_rollout_with_the_reason_and_the_way_out(outcome: FailureClass):
    world = serving()
    world.outcomes = [outcome]
    world.publish(TWO)
    world.run_until("Degraded")
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "MergeFailed")
    assert "AdapterMisfit" in message
    assert "Merge it into the base it was trained on." in message
    assert len(world.created) == 2
    assert world.stable == version(ONE)
    assert world.loaded() == {version(ONE)}


def test_what_may_pass_is_tried_three_times_with_growing_waits():
    world = serving()
    world.outcomes = [FailureClass.STORAGE] * 3
    world.publish(TWO)
    world.run_until("Degraded")
    assert [name.rsplit("-", 1)[1] for name in world.created[1:]] == ["1", "2", "3"]
    assert world.condition("Ready")[1] == "MergeFailed"
    world.change(retry="again")
    world.run_until("Retaining")
    assert world.created[-1].endswith("-merge-4"), "a Job is created once: another try has another number"
    assert world.stable == version(TWO)


def test_an_evicted_merge_and_a_lost_result_count_for_nothing():
    world = serving()
    world.outcomes = [FailureClass.STOPPED] * 4
    world.publish(TWO)
    world.run(60)
    assert len(world.created) == 6
    world.lost = True
    world.publish(THREE)
    world.run(30)
    world.lost = False
    world.run_until("Retaining")
    assert world.stable == version(THREE)


def test_a_merge_that_is_superseded_is_ended():
    world = serving()
    world.stuck = True
    world.publish(TWO)
    world.run(30)
    running = world.created[-1]
    world.publish(THREE)
    world.run(10)
    assert world.ended == [running]
    world.stuck = False
    world.run_until("Retaining")
    assert world.stable == version(THREE)


def test_what_the_merge_waits_for_is_said_and_the_deadline_ends_it():
    world = serving()
    world.stuck = True
    world.publish(TWO)
    world.run(10)
    name = world.created[-1]
    order, attempt = world.jobs[name]
    refused = 'Error creating: pods "bot-merge-1-{}" is forbidden: exceeded quota: team'
    quota = WarningEvent(attempt.job.reference, "FailedCreate", refused.format("abcde"), NOON)
    world.jobs[name] = (order, replace(attempt, warnings=(quota,)))
    world.tick()
    assert world.condition("Ready")[1] == "Merging"
    assert "the pod is forbidden: exceeded quota: team. Free quota in this namespace" in world.condition("Ready")[2]
    writes = len(world.writes)
    again = replace(quota, message=refused.format("vwxyz"), last_seen=NOON + timedelta(seconds=20))
    world.jobs[name] = (order, replace(attempt, warnings=(again,)))
    world.tick()
    assert len(world.writes) == writes, "every try has another name"
    pod = world._ended(attempt, order, FailureClass.DONE).pod
    assert pod is not None
    waiting = replace(pod, phase="Pending", unscheduled=Unscheduled('persistentvolumeclaim "merged" not found', NOON))
    world.jobs[name] = (order, replace(attempt, pod=waiting))
    world.tick()
    absent = "claim merged does not exist in this namespace. Create it, or correct what names it: spec.merge.uri, spec.baseModel.uri"
    assert absent in world.condition("Ready")[2]
    unpulled = replace(pod, phase="Pending", waiting_reason="ImagePullBackOff", waiting_message='Back-off pulling image "x": not found')
    world.jobs[name] = (order, replace(attempt, pod=unpulled))
    world.tick()
    pulled_in_vain = "the image of the merge cannot be pulled: not found. Check the trainer image and imagePullSecrets"
    assert pulled_in_vain in world.condition("Ready")[2]
    tainted = replace(pod, phase="Pending", unscheduled=Unscheduled("0/3 nodes are available: 3 had untolerated taint {gpu}", NOON))
    world.jobs[name] = (order, replace(attempt, pod=tainted))
    world.tick()
    assert "Or tolerate a taint in spec.server.managed.resources.tolerations and delete the Job" in world.condition("Ready")[2]
    world.jobs[name] = (order, replace(attempt, pod=waiting))
    world.run(7300, step=100)
    assert world.condition("Ready")[1] == "DeadlineExceeded"
    assert absent in world.condition("Ready")[2]
    assert world.ended == [name]


def test_servers_whose_files_are_not_those_that_were_merged_end_the_rollout():
    world = serving()
    bad = HeldVersion(version(TWO), HeldState.REJECTED, "DigestMismatch", "merged.digest: other files. Remove the folder.")
    world.refused[version(TWO)] = bad
    world.publish(TWO)
    world.run_until("Degraded")
    assert world.condition("Ready")[1] == "LoadFailed"
    assert "DigestMismatch" in world.condition("Ready")[2]


@pytest.mark.parametrize("state", [HeldState.REJECTED, HeldState.RETRYING])
def test_a_later_server_that_cannot_have_the_model_is_named_with_what_it_says(state: HeldState):
    """At rest: who holds the model answers on, and nothing is taken back."""
    world = serving()
    world.refused[version(ONE)] = HeldVersion(version(ONE), state, "DigestMismatch", "merged.digest: other files. Merge again.")
    world.run(20)
    status, reason, message = world.condition("Loaded")
    assert (status, reason) == ("False", "Loading")
    assert "pod 111111111111.0 " in message
    assert "DigestMismatch: merged.digest: other files. Merge again." in message
    assert world.stable == version(ONE)


class Watched(MergedWorld):
    """Checks the promises at every write."""

    def reconcile(self) -> Any:
        before, written = self.status, len(self.writes)
        plan = super().reconcile()
        if len(self.writes) > written:
            promises(self, before)
        return plan


def rolled_out(errors: float, crash_at: int | None) -> Watched:
    world = Watched({**merged_spec(**FAST), "strategy": {"canary": {"steps": STEPS[::2]}}})
    world.run_until("Healthy")
    world.truth[version(TWO)] = Behaviour(errors=errors)
    world.publish(TWO)
    world.crash_at = crash_at
    world.run(200)
    return world


PLAIN = {errors: rolled_out(errors, None) for errors in (0.0, 0.5)}


@pytest.mark.parametrize("errors", PLAIN)
def test_killed_at_any_write_it_ends_the_same(errors: float):
    plain = PLAIN[errors]
    assert plain.stable == version(ONE if errors else TWO)
    assert len(plain.created) == 2
    for write in range(len(plain.writes) + len(plain.created)):
        world = rolled_out(errors, write)
        assert essence(world) == essence(plain), f"killed at write {write}"
        assert world.created == plain.created, f"killed at write {write}"


def test_servers_that_are_refused_are_said_with_field_and_way_out_and_come_once_they_may():
    world = serving()
    world.stuck = True
    world.publish(TWO)
    world.run(10)
    world.refusal = "the API server does not take Deployment server-bot: exceeded quota: team. Free quota in this namespace"
    world.tick()
    kind, reason, message = world.condition("Ready")
    assert (kind, reason) == ("False", "Merging")
    assert world.refusal in message
    world.stuck = False
    world.run(30)
    for condition in ("Ready", "Stalled"):
        assert world.condition(condition)[1:] == ("ServersRefused", world.refusal)
    assert world.refusal in world.condition("Loaded")[2]
    assert world.stable == version(ONE), "what serves goes on"
    world.refusal = ""
    world.run_until("Retaining")
    assert world.stable == version(TWO)


def test_servers_that_do_not_come_and_nobody_says_why_are_told_after_a_minute():
    world = serving()
    world.barred = True
    world.publish(TWO)
    world.run(30)
    assert world.condition("Ready")[2] == f"server pods fetch, verify and load {version(TWO)}"
    world.run(60)
    kind, reason, message = world.condition("Ready")
    assert (kind, reason) == ("False", "Loading")
    assert f"no server pod of {version(TWO)} is there yet. Look at the events of its Deployment" in message
    assert "ask for less in spec.server.managed.resources" in message
