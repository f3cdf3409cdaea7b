"""What a person corrects takes effect: a blocked run gives way, a pending Job is made anew, and what cannot take effect is said."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.edits import APPLIED_AT_ONCE, FROM_THE_NEXT_RUN
from finetune_operator.domain.runkey import RESULT_DEFINING
from tests.unit.domain.samples import spec
from tests.unit.domain.world import World, begun, finished, training, warn


def blocked_by_a_claim(claim: str = "tickets", **changes: Any) -> World:
    world = begun(**changes)
    world.pend_pod(f'persistentvolumeclaim "{claim}" not found')
    world.settle()
    assert world.says("Ready") == ("False", "ClaimMissing")
    return world


def without_a_node(message: str = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", **changes: Any) -> World:
    """A world whose train step waits for a node."""
    world = begun(**{"resources": {"gpusPerNode": 8}, **changes})
    world.step_through()
    world.pend_pod(message)
    world.tick(5)
    world.settle()
    assert world.says("Ready") == ("False", "WaitingForNode")
    return world


def without_an_image() -> World:
    world = begun()
    world.pend_pod(waiting=("ImagePullBackOff", "no such image"))
    world.settle()
    assert world.says("Ready") == ("False", "WaitingForImage")
    return world


def corrected_image(world: World) -> None:
    world.settings = replace(world.settings, trainer_image="registry.example/trainer:2")


class TestABlockedRun:
    def test_gives_way_to_the_corrected_spec(self):
        world = blocked_by_a_claim()
        world.change(dataset__inline__uri="pvc://tickets-2/train.jsonl")
        world.clear()
        assert world.run["number"] == 2
        assert "tickets-2" in world.claims
        assert world.history[0]["outcome"] == "Replaced"
        assert world.history[0]["message"].startswith("replaced by a newer spec while nothing ran: spec.dataset.inline.uri: claim tickets")
        world.finish()
        assert world.says("Ready") == ("True", "RunSucceeded")

    @pytest.mark.parametrize(
        ("block", "correction"),
        [
            ("adapters", {"artifact__uri": "pvc://adapters-2/support"}),
            ("scratch", {"workspace": {"claimName": "scratch-2"}}),
        ],
    )
    def test_begins_again_when_the_claim_it_waits_for_is_corrected_in_a_field_that_makes_no_new_run(self, block: str, correction: Any):
        world = blocked_by_a_claim(block, **({"workspace": {"claimName": "scratch"}} if block == "scratch" else {}))
        world.change(**correction)
        world.clear()
        assert world.run["number"] == 1
        assert f"{block}-2" in world.claims
        assert world.document["artifact"]["uri"] == world.spec["artifact"]["uri"]
        world.finish()
        assert [(entry["number"], entry["outcome"]) for entry in world.history] == [(1, "Succeeded")]

    def test_begins_again_with_the_secret_that_was_corrected(self):
        world = begun(baseModel={"uri": "hf://org/model@main", "credentialsSecretRef": {"name": "hub"}})
        name = world.pend_pod()
        warn(world, f"{name}-x", "Pod", "FailedMount", 'MountVolume.SetUp failed for volume "credentials" : secret "hub" not found')
        world.settle()
        world.change(baseModel={"uri": "hf://org/model@main", "credentialsSecretRef": {"name": "hub-2"}})
        world.clear()
        assert any(volume.get("secret", {}).get("secretName") == "hub-2" for volume in world.pod_spec["volumes"])

    def test_that_the_api_server_refuses_gives_way_too(self):
        world = begun()
        world.taken = {world.active.replace("-prepare-1", "-train-1")}
        world.end_pod()
        world.settle()
        assert world.says("Ready") == ("False", "NameTaken")
        world.change(rerun="other")
        world.clear()
        assert world.run["number"] == 2
        assert world.history[0]["outcome"] == "Replaced"

    def test_goes_on_when_nothing_was_corrected(self):
        world = blocked_by_a_claim()
        world.change(runPolicy={"maxAttempts": 5}, checkpoint={"everySeconds": 5})
        world.clear()
        assert world.says("Ready") == ("False", "ClaimMissing")
        world.run_pod()
        world.settle()
        world.finish()
        assert [entry["number"] for entry in world.history] == [1]

    def test_that_waits_in_a_queue_keeps_its_turn_and_the_message_says_what_waits_behind_it(self):
        world = begun(queueName="gpu")
        world.step_through()
        world.jobs[world.active]["spec"]["suspend"] = True
        world.settle()
        world.change(rerun="next")
        world.clear()
        assert world.run["number"] == 1
        assert world.says("Ready") == ("False", "Queued")
        assert world.message().endswith("generation 2 waits until run 1 has ended; set spec.runPolicy.cancel: 1 to end it now")
        world.change(runPolicy={"cancel": 1})
        world.clear()
        assert world.run["number"] == 2

    def test_with_a_sealed_checkpoint_keeps_waiting_for_its_node(self):
        world = training()
        world.end_pod(75, sealed=50)
        world.settle()
        world.pend_pod("0/3 nodes are available")
        world.tick(5)
        world.change(rerun="next")
        world.clear()
        assert world.run["number"] == 1
        assert world.says("Ready") == ("False", "WaitingForNode")
        assert "set spec.runPolicy.cancel: 1" in world.message()

    def test_that_is_suspended_says_what_waits_behind_it(self):
        world = training()
        world.change(suspend=True)
        world.clear()
        world.change(rerun="next")
        world.settle()
        assert world.says("Ready") == ("False", "Suspended")
        assert "generation 3 waits until run 1 has ended" in world.message()


class TestResourcesOfAPendingJob:
    def test_that_were_corrected_make_it_anew_and_use_no_budget(self):
        world = without_a_node(runPolicy={"maxAttempts": 1})
        old = world.active
        world.change(resources={"gpusPerNode": 1})
        world.settle()
        assert world.jobs[old]["metadata"]["deletionTimestamp"]
        assert world.active == old, "nothing starts beside the old Job"
        world.clear()
        assert world.active.endswith("-train-2")
        assert world.pod_spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        assert "spec.resources or spec.queueName changed before the pod started" in world.message()
        assert world.says("Ready") == ("False", "Retrying")
        assert set(world.run["retries"].values()) == {0}
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_are_what_the_trainer_is_told_too(self):
        world = without_a_node()
        assert world.document["resources"]["gpus"] == 8
        world.change(resources={"gpusPerNode": 1})
        world.clear()
        assert world.document["resources"]["gpus"] == 1

    def test_that_changed_while_the_data_were_prepared_are_what_the_trainer_is_told(self):
        world = begun()
        world.run_pod()
        world.settle()
        world.change(resources={"gpusPerNode": 2})
        world.settle()
        assert world.active.endswith("-prepare-1"), "a pod that runs is left alone"
        world.end_pod()
        world.settle()
        assert world.pod_spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
        assert world.document["resources"]["gpus"] == 2

    def test_leave_a_running_pod_alone_and_apply_to_the_next_attempt(self):
        world = training()
        old = world.active
        world.change(resources={"limits": {"memory": "8Gi"}})
        world.settle()
        assert not world.jobs[old]["metadata"].get("deletionTimestamp")
        world.end_pod(75, sealed=50)
        world.settle()
        assert world.pod_spec["containers"][0]["resources"]["limits"] == {"memory": "8Gi"}
        assert world.document["resources"]["memoryBytes"] == 8 * 2**30

    def test_stay_as_applied_when_a_newer_spec_waits(self):
        world = begun(queueName="gpu")
        world.step_through()
        world.change(queueName="gpu-2")
        world.clear()
        world.jobs[world.active]["spec"]["suspend"] = True
        world.settle()
        world.change(rerun="next", queueName="gpu-3")
        world.clear()
        assert world.active.endswith("-train-2")
        assert world.jobs[world.active]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-2"

    def test_a_changed_queue_takes_a_waiting_job_over(self):
        world = begun(queueName="gpu")
        world.step_through()
        world.jobs[world.active]["spec"]["suspend"] = True
        world.settle()
        world.change(queueName="gpu-2")
        world.clear()
        assert world.jobs[world.active]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-2"


class TestImageThatCannotBePulled:
    def test_is_replaced_by_the_installations_corrected_one(self):
        world = without_an_image()
        corrected_image(world)
        world.clear()
        assert world.pod_spec["containers"][0]["image"] == "registry.example/trainer:2"
        assert world.run["image"] == "registry.example/trainer:2"
        assert set(world.run["retries"].values()) == {0}
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_is_kept_once_something_ran_with_it(self):
        world = training()
        world.end_pod(75, sealed=50)
        world.settle()
        world.pend_pod(waiting=("ImagePullBackOff", "registry is away"))
        corrected_image(world)
        world.clear()
        assert world.pod_spec["containers"][0]["image"] == "registry.example/trainer:1"

    def test_is_waited_for_while_the_installation_names_no_other(self):
        world = without_an_image()
        before = world.writes
        world.clear()
        assert world.writes == before


class TestAReplacedRunTakenBack:
    def replaced(self) -> World:
        world = training(runPolicy={"concurrency": "Replace"}, workspace={"claimName": "scratch"})
        world.change(training__learningRate="5e-4")
        world.clear()
        assert world.run["number"] == 2
        return world

    @pytest.mark.parametrize("elsewhere", [{"artifact__uri": "pvc://other/place"}, {"workspace": {"claimName": "scratch-2"}}])
    def test_begins_again_with_the_destination_of_the_present_spec(self, elsewhere: Any):
        world = self.replaced()
        made = len(world.created)
        world.change(training__learningRate="1e-3", **elsewhere)
        world.clear()
        assert [name.removeprefix(world.run["name"]) for name in world.created[made:]] == ["", "-prepare-1"]
        assert world.run["number"] == 1
        assert world.document["artifact"]["uri"] == world.spec["artifact"]["uri"]
        assert world.spec["workspace"]["claimName"] in world.claims
        world.finish()
        assert [(entry["number"], entry["outcome"]) for entry in world.history] == [(2, "Replaced"), (1, "Succeeded")]

    def test_waits_until_its_earlier_jobs_are_gone(self):
        world = self.replaced()
        world.end_pod(65)
        old = world.history[0]["name"]
        world.change(training__learningRate="1e-3")
        world.settle()
        assert world.run["outcome"] in {"Failed", "Replaced"}
        assert "waits for Job" in world.message()
        assert old in world.config_maps


class TestAForgottenRunAskedForAgain:
    def forgotten(self) -> World:
        """Run 1 failed while it trained and is forgotten; run 2 failed too."""
        world = begun(runPolicy={"failedRunsHistoryLimit": 1})
        world.step_through()
        world.end_pod(71)
        world.settle()
        world.change(rerun="b")
        world.settle()
        world.end_pod(65)
        world.settle()
        assert [entry["number"] for entry in world.history] == [2]
        return world

    def test_runs_anew_and_does_not_take_old_ends_for_its_own(self):
        world = self.forgotten()
        made = len(world.created)
        world.end_job(next(name for name in world.jobs if "-clean-" in name), 0)
        world.change(rerun="")
        world.clear()
        assert [name.removeprefix(world.run["name"]) for name in world.created[made:]] == ["", "-prepare-1"]
        assert world.run["number"] == 3
        assert world.document["run"]["number"] == 3
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_waits_for_the_removal_of_its_files(self):
        world = self.forgotten()
        world.change(rerun="")
        world.clear()
        assert "waits for Job" in world.message()
        assert world.active_jobs() == []
        world.end_job(next(name for name in world.jobs if "-clean-" in name), 0)
        world.clear()
        assert world.document["run"]["number"] == 3

    def test_costs_six_writes_to_forget(self):
        """Its clean-up Job, which goes again with the document, and the Jobs that are still there; a run in the middle pays no more."""
        world = finished(runPolicy={"successfulRunsHistoryLimit": 1})
        world.change(rerun="2")
        world.clear()
        before = world.writes
        world.finish()
        world.end_job(next(name for name in world.jobs if "-clean-" in name), 0)
        world.clear()
        of_the_run = finished().writes - 4  # without its document, first Job, first status and first Event
        assert world.writes - before <= of_the_run + 6


class TestAnInvalidSpec:
    def broken(self, world: World, **changes: Any) -> None:
        world.change(tuner={"type": "LoRA", "lora": {"rank": "many"}}, **changes)
        world.clear()
        assert world.says("Accepted") == ("False", "InvalidSpec")

    def test_leaves_a_suspended_run_suspended(self):
        world = training()
        world.change(suspend=True)
        world.clear()
        self.broken(world)
        assert world.active_jobs() == []
        assert world.says("Suspended") == ("True", "Suspended")

    def test_suspends_and_resumes_all_the_same(self):
        world = training()
        self.broken(world, suspend=True)
        assert world.active_jobs() == []
        world.change(suspend=False)
        world.clear()
        assert world.active.endswith("-train-2")

    def test_cancels_all_the_same(self):
        world = training()
        self.broken(world, runPolicy={"cancel": 1})
        assert world.run["outcome"] == "Cancelled"


class TestAFieldThatMakesNoNewRun:
    def test_a_destination_changed_after_success_is_answered_with_what_to_do(self):
        world = finished()
        world.change(artifact__uri="pvc://elsewhere/x")
        world.settle()
        told = "spec.artifact.uri now asks for pvc://elsewhere/x: set spec.rerun to a new value to publish there"
        assert world.says("Ready") == ("True", "RunSucceeded")
        for kind in ("Ready", "Published"):
            assert world.status is not None
            assert world.message(kind).endswith(f"{world.status['artifact']['uri']}; {told}")
        world.change(rerun="there")
        world.settle()
        world.finish()
        assert world.document["artifact"]["uri"] == "pvc://elsewhere/x"

    def test_a_destination_that_is_as_it_was_is_not_talked_about(self):
        world = finished()
        assert "now asks for" not in world.message()

    def test_fields_changed_during_a_run_are_said_to_apply_from_the_next(self):
        world = training()
        world.change(checkpoint={"everySeconds": 5})
        world.settle()
        assert world.message() == "the model trains; the changed spec.checkpoint applies from the next run"
        world.change(workspace={"claimName": "scratch"})
        world.settle()
        assert world.message().endswith("the changed spec.checkpoint and spec.workspace apply from the next run")
        world.finish()
        assert "next run" not in world.message()

    def test_taken_back_they_are_not_talked_about(self):
        world = training(checkpoint={"everySeconds": 5})
        world.change(checkpoint={"everySeconds": 6})
        world.change(checkpoint={"everySeconds": 5})
        world.settle()
        assert world.message() == "the model trains"

    def test_what_applies_at_once_is_not_talked_about(self):
        world = training()
        world.change(runPolicy={"maxAttempts": 7}, resources={"gpusPerNode": 1})
        world.settle()
        assert world.message() == "the model trains"


def test_of_every_field_it_is_known_when_a_change_of_it_takes_effect():
    fields = {field.alias or name for name, field in FineTuneJobSpec.model_fields.items()}
    assert fields == {*RESULT_DEFINING, *APPLIED_AT_ONCE, *FROM_THE_NEXT_RUN}


def test_a_corrected_spec_before_the_first_run_simply_begins():
    world = World(spec=spec(artifact={}))
    world.settle()
    world.change(artifact={"uri": "pvc://adapters/support"})
    world.settle()
    assert world.active.endswith("-prepare-1")
