"""A run from its beginning to its end, and everything a person may do to it meanwhile."""

from datetime import timedelta

import orjson
import pytest

from finetune_trainer.contract import Verdict
from tests.unit.domain.samples import ADAPTER, spec, words
from tests.unit.domain.world import World, begun, finished, training


def test_accepting_a_spec_creates_the_document_and_the_first_job_and_says_so_in_one_write():
    world = World()
    plan = world.reconcile()
    assert [child.reference.kind for child in plan.creates] == ["ConfigMap", "Job"]
    assert plan.live_checks.resource
    assert world.says("Accepted") == ("True", "Accepted")
    assert world.says("Ready") == ("False", "Preparing")
    assert world.says("Reconciling") == ("True", "Preparing")
    assert world.status is not None
    assert world.status["observedGeneration"] == 1
    assert world.status["phase"] == "Preparing"
    assert world.status["currentRun"]["inputs"] == {"baseUri": world.spec["baseModel"]["uri"]}


@pytest.mark.parametrize(("age", "generation", "read"), [(0, 1, False), (2, 1, False), (3, 1, True), (-1, 1, True), (0, 2, True)])
def test_what_is_not_new_is_read_again_before_its_first_child(age: int, generation: int, read: bool):
    """A copy cannot be older than its object; that the clocks disagree is no reason to trust it."""
    world = World()
    world.created_at = world.now - timedelta(seconds=age)
    world.generation = generation
    assert world.decide().live_checks.resource is read


def test_every_condition_is_there_from_the_first_write_and_sorted():
    world = begun()
    assert world.status is not None
    kinds = [condition["type"] for condition in world.status["conditions"]]
    assert kinds == sorted(kinds)
    assert len(kinds) == 12
    assert all(condition["observedGeneration"] == 1 for condition in world.status["conditions"])


def test_a_successful_run_costs_twelve_writes():
    world = finished()
    assert world.run["outcome"] == "Succeeded"
    assert world.writes <= 12
    assert len(world.events) == 3


def test_a_successful_run_ends_ready_with_its_artifact():
    world = finished()
    assert world.says("Ready") == ("True", "RunSucceeded")
    assert world.says("Reconciling")[0] == "False"
    assert world.says("Stalled")[0] == "False"
    assert world.says("Complete")[0] == "True"
    assert world.says("Evaluated") == ("True", "GatePassed")
    assert world.status is not None
    assert world.status["artifact"]["digest"] == ADAPTER
    assert world.status["phase"] == "Ready"
    assert world.history[0]["outcome"] == "Succeeded"
    assert "declaredSpec" not in world.run


def test_each_step_is_one_job_named_after_run_step_and_attempt():
    world = finished()
    steps = [name.removeprefix(world.run["name"] + "-") for name in world.jobs]
    assert steps == ["prepare-1", "train-1", "publish-1"]


def test_the_next_job_is_created_in_the_reconcile_that_records_it():
    world = begun()
    world.end_pod()
    before = world.writes
    world.reconcile()
    assert world.active.endswith("-train-1")
    assert world.run["activeStep"] == "train"
    assert world.writes == before + 2


def test_facts_from_prepare_are_in_status_before_training_runs():
    world = begun()
    world.end_pod()
    world.reconcile()
    assert world.status is not None
    assert world.status["dataset"]["examples"] == 240
    assert world.status["estimate"]["memoryBytes"] == 10**9
    assert world.run["stepText"] == "0/300"
    assert world.says("Prepared") == ("True", "Prepared")
    assert world.says("Trained") == ("False", "Starting")


def test_at_rest_nothing_is_written():
    world = finished()
    world.tick(100_000)
    plan = world.decide()
    assert plan.empty
    assert plan.requeue_after is None


def test_empty_fields_that_the_api_server_adds_or_drops_are_no_change():
    world = training()
    world.report(1)
    world.settle()
    assert world.status is not None
    world.status = {**world.status, "history": [], "artifact": None}
    assert world.decide().status is None
    world.tick()
    world.report(2)
    assert world.decide().status is None, "figures still wait their turn"


def test_a_running_train_step_is_admitted():
    world = training()
    assert world.says("Admitted") == ("True", "Admitted")
    assert world.says("Trained") == ("False", "Training")
    assert world.status is not None
    assert world.status["phase"] == "Training"


def test_a_rejected_gate_keeps_the_artifact_and_moves_nothing():
    world = begun()
    world.verdict = Verdict.FAIL
    world.finish()
    assert world.says("Evaluated") == ("False", "GateRejected")
    assert world.says("Published") == ("True", "Published")
    assert world.says("Ready") == ("False", "GateRejected")
    assert world.says("Stalled") == ("True", "GateRejected")
    assert world.says("Failed")[0] == "True"
    assert world.status is not None
    assert "artifact" not in world.status
    assert world.history[0]["artifactDigest"] == ADAPTER


def test_an_inconclusive_gate_is_held_by_default():
    world = begun()
    world.verdict = Verdict.INCONCLUSIVE
    world.finish()
    assert world.says("Evaluated") == ("False", "GateInconclusive")
    assert world.run["outcome"] == "GateHeld"
    assert "60 items" in world.condition("Evaluated")["message"]


def test_an_inconclusive_gate_is_rejected_where_the_spec_says_fail():
    world = begun(evaluation__onInconclusive="Fail")
    world.verdict = Verdict.INCONCLUSIVE
    world.finish()
    assert world.run["outcome"] == "GateRejected"


def test_an_earlier_artifact_stays_when_a_later_run_is_rejected():
    world = finished()
    assert world.status is not None
    artifact = world.status["artifact"]
    world.change(rerun="again")
    world.settle()
    world.verdict = Verdict.FAIL
    world.finish()
    assert world.status["artifact"] == artifact
    assert world.says("Ready") == ("False", "GateRejected")


class TestTerminalIsTerminal:
    def test_nothing_starts_when_every_child_is_gone(self):
        world = finished()
        before = list(world.created)
        world.jobs.clear()
        world.pods.clear()
        world.config_maps.clear()
        world.settle()
        assert world.created == before

    def test_nothing_starts_after_a_failed_run_either(self):
        world = begun()
        world.end_pod(65, reason="", message=None)
        world.settle()
        assert world.run["outcome"] == "Failed"
        before = list(world.created)
        world.jobs.clear()
        world.pods.clear()
        world.tick(10_000)
        world.settle()
        assert world.created == before

    def test_a_field_outside_the_run_key_starts_nothing(self):
        world = finished()
        before = list(world.created)
        world.change(resources={"gpusPerNode": 1}, runPolicy={"maxAttempts": 5}, checkpoint={"everySeconds": 5})
        world.settle()
        assert world.created == before
        assert world.says("Ready") == ("True", "RunSucceeded")
        assert world.condition("Ready")["observedGeneration"] == 2

    def test_an_upgrade_of_the_trainer_image_starts_nothing(self):
        world = finished()
        before = list(world.created)
        world.settings = type(world.settings)(trainer_image="registry.example/trainer:2", progress_key=b"k" * 32)
        world.settle()
        assert world.created == before

    def test_rerun_makes_exactly_one_new_run(self):
        world = finished()
        world.change(rerun="once more")
        world.settle()
        world.finish()
        assert [entry["number"] for entry in world.history] == [2, 1]
        world.settle()
        assert world.run["number"] == 2

    def test_reverting_points_at_the_earlier_artifact_without_training(self):
        world = finished()
        assert world.status is not None
        first = world.status
        world.change(training__learningRate="5e-4")
        world.settle()
        world.finish()
        before = list(world.created)
        world.change(training__learningRate="1e-3")
        world.settle()
        assert world.created == before
        assert world.status["artifact"] == first["artifact"]
        assert world.status["artifact"]["runNumber"] == 1
        assert world.says("Ready") == ("True", "ArtifactReused")

    def test_an_earlier_run_is_shown_again_with_its_figures(self):
        world = finished()
        shown = ("step", "totalSteps", "stepText", "loss", "adapterDigest", "artifactUri", "artifactBytes")
        first = {name: world.run[name] for name in shown}
        world.change(rerun="next")
        world.settle()
        world.finish()
        world.change(rerun="")
        world.settle()
        assert {name: world.run[name] for name in shown} == first

    def test_a_run_that_failed_is_shown_again_as_far_as_it_came(self):
        world = training()
        world.report(120)
        world.settle()
        world.end_pod(71)
        world.settle()
        world.change(rerun="next")
        world.settle()
        world.finish()
        world.change(rerun="")
        world.settle()
        assert (world.run["stepText"], world.run["loss"]) == ("120/300", "1.5")
        assert world.history[1]["step"] == 120
        assert "artifactBytes" not in world.history[1]

    def test_reverting_to_a_spec_that_failed_does_not_run_it_again(self):
        world = begun()
        world.end_pod(65)
        world.settle()
        world.change(training__learningRate="5e-4")
        world.settle()
        world.finish()
        before = list(world.created)
        world.change(training__learningRate="1e-3")
        world.settle()
        assert world.created == before
        assert world.says("Stalled") == ("True", "DataRejected")


class TestImageOfARun:
    def test_all_attempts_of_a_run_use_the_image_it_began_with(self):
        world = begun()
        world.settings = type(world.settings)(trainer_image="registry.example/trainer:2", progress_key=b"k" * 32)
        world.step_through()
        container = world.jobs[world.active]["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "registry.example/trainer:1"


class TestNewerSpec:
    def test_a_newer_spec_waits_for_the_running_one(self):
        world = training()
        world.change(training__learningRate="5e-4")
        world.settle()
        assert world.run["number"] == 1
        assert world.active.endswith("-train-1")
        assert world.says("Ready") == ("False", "NewerSpecWaiting")
        assert world.condition("Ready")["observedGeneration"] == 2

    def test_only_the_newest_of_several_specs_runs(self):
        world = training()
        for rate in ("5e-4", "4e-4", "3e-4"):
            world.change(training__learningRate=rate)
            world.settle()
        world.finish()
        assert world.run["number"] == 2
        world.finish()
        assert [entry["generation"] for entry in world.history] == [4, 1]

    def test_the_running_run_goes_on_with_the_spec_it_was_accepted_with(self):
        world = begun()
        world.change(baseModel__uri="pvc://other-models/big", artifact__uri="pvc://elsewhere/x")
        world.settle()
        world.step_through()
        volumes = world.jobs[world.active]["spec"]["template"]["spec"]["volumes"]
        claims = [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]
        assert claims == ["models", "adapters"]

    def test_taking_the_newer_spec_back_leaves_the_run_alone(self):
        world = training()
        world.change(training__learningRate="5e-4")
        world.settle()
        world.change(training__learningRate="1e-3")
        world.settle()
        assert world.says("Ready") == ("False", "Training")
        world.finish()
        assert len(world.history) == 1

    def test_replace_stops_the_running_run_and_begins_the_newer_one_when_it_is_gone(self):
        world = training(runPolicy={"concurrency": "Replace"})
        old = world.active
        world.change(training__learningRate="5e-4")
        world.settle()
        assert world.jobs[old]["metadata"]["deletionTimestamp"]
        assert world.active == old, "nothing starts beside the old pod"
        world.collect()
        world.settle()
        assert world.run["number"] == 2
        assert world.history[0]["outcome"] == "Replaced"

    def test_a_replaced_run_goes_on_when_its_spec_is_asked_for_again(self):
        world = training(runPolicy={"concurrency": "Replace"})
        name = world.run["name"]
        for rate in ("5e-4", "1e-3"):
            world.change(training__learningRate=rate)
            world.settle()
            world.collect()
            world.settle()
        assert world.run["name"] == name
        assert world.run["number"] == 1
        world.settle()
        world.finish()
        assert [(entry["number"], entry["outcome"]) for entry in world.history] == [(2, "Replaced"), (1, "Succeeded")]

    def test_an_unchanged_result_keeps_the_run_across_generations(self):
        world = training()
        key = world.run["key"]
        world.change(checkpoint={"everySeconds": 30})
        world.settle()
        assert world.status is not None
        assert world.status["accepted"] == {"generation": 2, "key": key}
        assert world.says("Ready") == ("False", "Training")


class TestSuspend:
    def test_suspending_before_the_first_step_starts_nothing(self):
        world = World(spec=spec(suspend=True))
        world.settle()
        assert world.created == []
        assert world.says("Suspended") == ("True", "Suspended")
        world.change(suspend=False)
        world.settle()
        assert world.active.endswith("-prepare-1")

    def test_suspending_deletes_the_job_and_resuming_is_a_new_attempt(self):
        world = training()
        world.change(suspend=True)
        world.settle()
        assert world.says("Suspended") == ("False", "Suspending")
        world.collect()
        world.settle()
        assert world.says("Suspended") == ("True", "Suspended")
        assert world.active_jobs() == []
        world.change(suspend=False)
        world.settle()
        assert world.active.endswith("-train-2")
        assert world.says("Suspended") == ("False", "NotSuspended")
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_a_suspended_run_uses_no_retry_budget(self):
        world = training(runPolicy={"maxAttempts": 1})
        for _ in range(3):
            world.change(suspend=True)
            world.settle()
            world.collect()
            world.settle()
            world.change(suspend=False)
            world.settle()
        assert world.active.endswith("-train-4")
        assert world.run["retries"]["infrastructure"] == 0

    def test_resuming_waits_until_the_old_pod_is_gone(self):
        world = training()
        old = world.active
        world.change(suspend=True)
        world.settle()
        world.change(suspend=False)
        world.settle()
        assert world.active == old
        assert "waits for Job" in world.condition("Ready")["message"]

    def test_a_step_that_ends_while_suspended_is_not_followed_by_the_next(self):
        world = begun()
        world.end_pod()
        world.change(suspend=True)
        world.settle()
        assert world.run["activeStep"] == "train"
        assert world.active_jobs() == []
        world.change(suspend=False)
        world.settle()
        assert world.active.endswith("-train-1")

    def test_with_a_queue_the_job_carries_its_name_and_is_never_unsuspended_by_us(self):
        world = training(queueName="gpu-a100")
        name = world.active
        assert world.jobs[name]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-a100"
        world.pods.clear()
        world.jobs[name]["spec"]["suspend"] = True
        world.settle()
        assert world.says("Admitted") == ("False", "Queued")
        assert "gpu-a100" in world.condition("Admitted")["message"]
        assert world.jobs[name]["spec"]["suspend"] is True


class TestCancelAndDeadline:
    def test_cancel_ends_the_run_of_that_number_only(self):
        world = training(runPolicy={"cancel": 2})
        assert world.run.get("outcome") is None
        world.change(runPolicy={"cancel": 1})
        world.settle()
        world.collect()
        world.settle()
        assert world.run["outcome"] == "Cancelled"
        assert world.says("Ready") == ("False", "Cancelled")
        assert world.says("Failed") == ("True", "Cancelled")
        assert world.active_jobs() == []

    def test_the_deadline_counts_running_time_over_all_attempts(self):
        world = training(runPolicy={"activeDeadlineSeconds": 100})
        world.tick(60)
        world.end_pod(75, sealed=50)
        world.settle()
        world.tick(1000)  # waiting costs nothing
        world.settle()
        world.run_pod()
        world.settle()
        assert world.run.get("outcome") is None
        world.tick(30)
        plan = world.decide()
        assert plan.requeue_after is not None
        assert plan.requeue_after <= 10
        world.tick(11)
        world.settle()
        assert world.says("Ready") == ("False", "DeadlineExceeded")
        assert world.run["outcome"] == "Failed"

    def test_the_deadline_counts_what_ran_before_a_queue_took_its_admission_back(self):
        world = training(queueName="gpu", runPolicy={"activeDeadlineSeconds": 100})
        world.tick(60)
        job = world.jobs[world.active]
        world.pods.clear()
        job["spec"]["suspend"] = True
        world.settle()
        assert world.run["runningSeconds"] == 61, "a second of prepare, and what the pod ran before"
        world.tick(1000)  # queued time costs nothing
        world.settle()
        job["spec"]["suspend"] = False
        world.run_pod()
        world.settle()
        assert world.run.get("outcome") is None
        world.tick(41)
        world.settle()
        assert world.says("Ready") == ("False", "DeadlineExceeded")

    def test_the_deadline_counts_an_eviction_that_was_never_seen(self):
        world = training(queueName="gpu", runPolicy={"activeDeadlineSeconds": 100})
        world.tick(60)
        world.run_pod()
        world.settle()
        assert world.run["runningSeconds"] == 61
        world.settle()
        assert world.run["runningSeconds"] == 61, "counted once"

    def test_a_pod_that_is_gone_before_its_job_has_ended_is_counted_once(self):
        world = training(runPolicy={"activeDeadlineSeconds": 1000})
        world.tick(60)
        name = world.active
        world.pods.clear()
        world.settle()
        world.end_job(name, 137)
        world.jobs[name]["status"]["startTime"] = world.run["startedAt"]
        world.tick(10)
        world.settle()
        assert world.run["runningSeconds"] == 62

    def test_suspended_time_does_not_count_against_the_deadline(self):
        world = training(runPolicy={"activeDeadlineSeconds": 100})
        world.change(suspend=True)
        world.settle()
        world.collect()
        world.settle()
        world.tick(100_000)
        world.change(suspend=False)
        world.settle()
        assert world.run.get("outcome") is None


class TestHealthPolicy:
    def test_when_accepted_a_long_run_does_not_look_like_a_stuck_deploy(self):
        world = training(healthPolicy="WhenAccepted")
        assert world.says("Ready") == ("True", "SpecAccepted")
        assert world.says("Reconciling") == ("False", "SpecAccepted")

    def test_when_accepted_a_failed_run_is_stalled_all_the_same(self):
        world = training(healthPolicy="WhenAccepted")
        world.end_pod(71)
        world.settle()
        assert world.says("Ready") == ("False", "Diverged")
        assert world.says("Stalled") == ("True", "Diverged")


class TestHistory:
    def test_the_history_is_bounded_and_the_files_of_what_is_forgotten_are_removed(self):
        world = finished(runPolicy={"successfulRunsHistoryLimit": 1})
        first = world.run["name"]
        world.change(rerun="2")
        world.settle()
        world.finish()
        assert [entry["number"] for entry in world.history] == [2]
        clean = f"{first}-clean-1"
        assert world.created.count(clean) == 1
        assert first in world.config_maps, "the clean-up Job still reads it"
        world.end_job(clean, 0)
        world.settle()
        assert first not in world.config_maps
        assert world.jobs[clean]["metadata"]["deletionTimestamp"]

    def test_an_entry_is_small(self):
        """Forty of them, and a running run with its spec, have to fit an object of a megabyte with room to spare."""
        entry = finished().history[0]
        assert len(orjson.dumps(entry)) < 2048

    def test_what_the_present_spec_asks_for_is_never_forgotten(self):
        world = begun(runPolicy={"failedRunsHistoryLimit": 1, "concurrency": "QueueLatest"})
        world.end_pod(65)
        world.settle()
        assert len(world.history) == 1
        world.settle()
        assert world.says("Ready") == ("False", "DataRejected")


def test_a_transition_time_moves_only_with_the_status():
    world = begun()
    before = world.condition("Ready")["lastTransitionTime"]
    world.tick(50)
    world.end_pod()
    world.settle()
    assert world.condition("Ready")["lastTransitionTime"] == before
    assert world.condition("Prepared")["lastTransitionTime"] != before


def test_an_artifact_that_calls_itself_not_promotable_is_never_pointed_at():
    world = begun()
    world.step_through()
    world.step_through()
    words_of_publish = words("publish", world.run["key"], verdict=Verdict.FAIL)
    world.end_pod(message=words_of_publish)
    world.settle()
    assert world.says("Ready") == ("False", "GateRejected")
    assert world.status is not None
    assert "artifact" not in world.status
