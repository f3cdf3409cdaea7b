"""How an attempt may end before its time, and what the operator answers: class, evidence and next action in the conditions."""

import pytest

from tests.unit.domain.samples import words
from tests.unit.domain.world import World, begun, training


def retry(world: World) -> None:
    """Let the waiting time pass and the next attempt begin."""
    world.tick(400)
    world.settle()


class TestAPersonsMistake:
    @pytest.mark.parametrize(
        ("code", "step", "reason"),
        [
            (64, "prepare", "ConfigurationRejected"),
            (65, "prepare", "DataRejected"),
            (66, "prepare", "ModelRejected"),
            (71, "train", "Diverged"),
        ],
    )
    def test_is_never_retried_and_shows_class_evidence_and_hint(self, code: int, step: str, reason: str):
        world = begun() if step == "prepare" else training()
        world.end_pod(
            code, reason="MalformedRow", message=words(step, world.run["key"], code, reason="Why", message="row 213: no text", hint="Do x.")
        )
        world.settle()
        assert world.run["outcome"] == "Failed"
        assert world.says("Ready") == ("False", reason)
        assert world.says("Stalled") == ("True", reason)
        assert world.says("Prepared" if step == "prepare" else "Trained") == ("False", reason)
        message = world.condition("Ready")["message"]
        assert "Why: row 213: no text" in message
        assert f"exit code {code}" in message
        assert "Do x." in message
        assert world.active_jobs() == []

    def test_is_recognised_by_the_jobs_condition_alone_when_the_pod_is_gone(self):
        world = begun()
        name = world.end_pod(65)
        world.pods.pop(name)
        world.tick(10)
        world.settle()
        assert world.says("Ready") == ("False", "DataRejected")


class TestOutOfMemory:
    def test_halves_the_micro_batch_and_keeps_the_effective_batch(self):
        world = training()
        world.end_pod(70)
        world.settle()
        assert world.active.endswith("-train-2")
        arguments = world.jobs[world.active]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert arguments[-2:] == ["--micro-batch-size", "4"]
        assert world.run["microBatchSize"] == 4

    def test_happens_twice_at_most_and_is_then_explained(self):
        world = training()
        for _ in range(2):
            world.end_pod(70)
            world.settle()
        arguments = world.jobs[world.active]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert arguments[-1] == "2"
        world.end_pod(70)
        world.settle()
        assert world.says("Ready") == ("False", "OutOfMemory")
        assert "halved twice, to 2" in world.condition("Ready")["message"]

    def test_ends_the_run_when_nothing_is_left_to_halve(self):
        world = training()
        assert world.status is not None
        world.status["currentRun"]["microBatchSize"] = 1
        world.end_pod(70)
        world.settle()
        assert world.says("Ready") == ("False", "OutOfMemory")

    def test_of_the_host_has_a_budget_of_its_own(self):
        world = training()
        world.end_pod(137, reason="OOMKilled")
        world.settle()
        assert world.run["retries"]["hostOutOfMemory"] == 1
        assert world.run["retries"]["outOfMemory"] == 0
        assert world.run["microBatchSize"] == 4

    def test_the_first_attempt_leaves_the_micro_batch_to_the_sealed_plan(self):
        world = training()
        arguments = world.jobs[world.active]["spec"]["template"]["spec"]["containers"][0]["args"]
        assert "--micro-batch-size" not in arguments


class TestPreemption:
    def test_does_not_use_up_retries_as_long_as_something_new_is_sealed(self):
        world = training(runPolicy={"maxAttempts": 1})
        for attempt in range(1, 6):
            world.end_pod(75, sealed=attempt * 50, disruption="Eviction API: evicting")
            world.settle()
            assert world.active.endswith(f"-train-{attempt + 1}")
        assert world.run["retries"] | {} == world.run["retries"]
        assert world.run["retries"]["preemptions"] == 5
        assert world.run["retries"]["infrastructure"] == 0
        assert world.run["lastSealedStep"] == 250

    def test_says_interrupted_until_the_next_attempt_runs(self):
        world = training()
        world.end_pod(75, sealed=50)
        world.settle()
        assert world.says("Trained") == ("False", "Interrupted")
        assert world.status is not None
        assert world.status["phase"] == "Interrupted"
        assert "attempt 2 is starting" in world.condition("Trained")["message"]
        world.run_pod()
        world.settle()
        assert world.says("Trained") == ("False", "Training")

    def test_twice_in_a_row_without_a_new_seal_counts_as_infrastructure(self):
        world = training()
        world.end_pod(75)
        world.settle()
        assert world.run["retries"]["infrastructure"] == 0
        world.end_pod(75)
        world.settle()
        assert world.run["retries"]["infrastructure"] == 1
        assert world.says("Ready") == ("False", "NoProgress")

    def test_a_seal_seen_in_the_progress_counts_too(self):
        world = training()
        for sealed in (40, 80, 120):
            world.run_pod()
            world.report(sealed + 5, checkpoint=sealed)
            world.settle()
            world.end_pod(137, message="", disruption="the node goes away")
            world.settle()
        assert world.run["retries"]["infrastructure"] == 0
        assert world.run["retries"]["preemptions"] == 3

    def test_is_recognised_by_the_jobs_condition_alone(self):
        world = training()
        name = world.active
        world.pods.pop(name)
        world.end_job(name, 1, "Pod support/x has condition DisruptionTarget matching FailJob rule at index 1")
        world.tick(10)
        world.settle()
        assert world.run["retries"]["preemptions"] == 1


class TestLastWordsOfADeletedPod:
    """Such a pod is gone before its Job says that it failed."""

    def lose(self, world: World, **fields: object) -> str:
        name = world.delete_pod(disruption="Eviction API: evicting", **fields)
        world.settle()
        world.pods.pop(name)
        world.settle()
        return name

    def end(self, world: World, name: str) -> None:
        world.end_job(name, 75)
        world.tick(10)
        world.settle()

    def test_are_remembered_before_its_job_has_ended(self):
        world = training()
        name = self.lose(world, sealed=50)
        assert world.run["lastSealedStep"] == 50
        assert world.active == name, "its Job is left to end by itself"
        self.end(world, name)
        assert world.active.endswith("-train-2")
        assert world.run["lastSealedStep"] == 50
        assert world.run["retries"]["preemptions"] == 1
        assert world.run["retries"]["idlePreemptions"] == 0
        assert "attempt 1 of train: the pod was stopped (exit code 75); step 50 is sealed" in world.run["interruption"]["message"]

    def test_do_not_wait_for_the_turn_of_figures(self):
        world = training()
        world.report(40)
        world.settle()
        world.tick()
        world.delete_pod(sealed=50)
        plan = world.decide()
        assert plan.status is not None
        assert plan.status["currentRun"]["lastSealedStep"] == 50

    def test_cost_one_write_and_no_second_attempt_beside_the_first(self):
        world = training()
        before, created = world.writes, len(world.created)
        world.delete_pod(sealed=50)
        world.settle()
        assert world.writes == before + 1
        assert len(world.created) == created

    def test_of_a_step_that_is_done_cost_nothing(self):
        world = training()
        before = world.writes
        world.delete_pod(0)
        world.settle()
        assert world.writes == before

    def test_that_name_nothing_new_count_as_an_idle_preemption(self):
        world = training(runPolicy={"maxAttempts": 2})
        for attempt in (1, 2):
            world.run_pod()
            self.end(world, self.lose(world, sealed=50))
            assert world.run["retries"]["idlePreemptions"] == attempt - 1
        world.run_pod()
        self.end(world, self.lose(world, sealed=50))
        assert world.run["retries"]["infrastructure"] == 1
        assert world.says("Ready") == ("False", "NoProgress")

    def test_of_another_run_are_not_believed(self):
        world = training()
        world.delete_pod(message=words("train", "f" * 64, 75, sealed=50))
        world.settle()
        assert "lastSealedStep" not in world.run

    def test_of_a_suspended_attempt_are_remembered_too(self):
        world = training()
        world.change(suspend=True)
        world.settle()
        world.delete_pod(sealed=50)
        world.settle()
        world.collect()
        world.settle()
        assert world.says("Suspended") == ("True", "Suspended")
        assert world.run["lastSealedStep"] == 50

    def test_a_checkpoint_that_only_the_next_attempt_reports_is_its_beginning_and_not_its_work(self):
        world = training(runPolicy={"maxAttempts": 2})
        world.end_pod(137, message="", disruption="the node goes away")
        world.settle()
        assert world.run["retries"]["idlePreemptions"] == 1
        world.run_pod()
        world.report(60, resumed_from_step=50)
        world.settle()
        assert world.run["retries"]["idlePreemptions"] == 0, "the attempt before had sealed it"
        world.end_pod(137, message="", disruption="the node goes away")
        world.settle()
        assert world.run["retries"]["idlePreemptions"] == 1


class TestSkippedCheckpoint:
    def test_is_named_in_an_event_with_the_reason(self):
        world = training()
        world.end_pod(message=words("train", world.run["key"], skipped=["checkpoint-120: its manifest does not match"]))
        plan = world.decide()
        assert any("checkpoint-120: its manifest does not match" in event.message for event in plan.events)
        world.settle()
        assert world.run["activeStep"] == "publish"

    def test_is_part_of_the_evidence_of_an_early_end(self):
        world = training()
        world.end_pod(75, message=words("train", world.run["key"], 75, skipped=["checkpoint-120: torn"]))
        world.settle()
        assert "skipped checkpoint-120: torn" in world.condition("Trained")["message"]


class TestInfrastructure:
    def test_is_retried_with_growing_waits_and_given_up_after_max_attempts(self):
        world = training()
        world.end_pod(137)
        plan = world.reconcile()
        assert plan.requeue_after is not None
        first = plan.requeue_after
        assert world.active_jobs() == []
        assert world.says("Ready") == ("False", "PodLost")
        world.tick(first + 1)
        world.settle()
        world.end_pod(137)
        plan = world.reconcile()
        assert plan.requeue_after is not None
        assert plan.requeue_after > first
        retry(world)
        world.end_pod(137)
        world.settle()
        assert world.says("Ready") == ("False", "AttemptsExhausted")
        assert world.run["attempt"] == 3

    def test_a_child_deleted_during_a_run_counts_as_infrastructure(self):
        world = training()
        world.lose(world.active)
        world.settle()
        assert world.says("Ready") == ("False", "ChildDeleted")
        assert "to stop a run; the next attempt begins at" in world.condition("Ready")["message"]
        retry(world)
        assert world.active.endswith("-train-2")
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_a_step_whose_job_is_gone_may_have_ended_well_and_is_asked_once_more(self):
        world = training(runPolicy={"maxAttempts": 1})
        world.lose(world.end_pod())
        world.tick(100)
        world.settle()
        assert world.says("Ready") == ("False", "ChildDeleted")
        assert world.run["retries"]["infrastructure"] == 0
        retry(world)
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_a_job_that_is_gone_again_uses_up_an_attempt(self):
        world = training(runPolicy={"maxAttempts": 1})
        for _ in range(2):
            world.lose(world.active)
            world.settle()
            retry(world)
        assert world.says("Ready") == ("False", "AttemptsExhausted")

    def test_the_next_attempt_waits_for_a_pod_that_outlives_its_job(self):
        world = training()
        name = world.active
        del world.jobs[name]
        world.settle()
        retry(world)
        assert world.active_jobs() == []
        assert "waits for pod" in world.condition("Ready")["message"]
        world.pods.clear()
        world.settle()
        assert world.active.endswith("-train-2")

    def test_an_unexpected_error_is_retried_and_given_up_as_internal(self):
        world = training(runPolicy={"maxAttempts": 2})
        world.end_pod(1)
        world.settle()
        retry(world)
        world.end_pod(1)
        world.settle()
        assert world.says("Ready") == ("False", "Internal")

    def test_storage_has_a_budget_of_its_own(self):
        world = training(runPolicy={"maxAttempts": 2})
        world.end_pod(137)
        world.settle()
        retry(world)
        world.end_pod(74)
        world.settle()
        assert world.run["retries"]["storage"] == 1
        retry(world)
        world.end_pod(74)
        world.settle()
        assert world.says("Ready") == ("False", "StorageFailed")

    def test_budgets_begin_anew_with_each_step(self):
        world = begun()
        world.end_pod(137)
        world.settle()
        retry(world)
        world.end_pod()
        world.settle()
        assert world.run["activeStep"] == "train"
        assert world.run["attempt"] == 1
        assert world.run["retries"]["infrastructure"] == 0


class TestLostMessage:
    def test_another_attempt_answers_from_the_sealed_result_and_nothing_counts(self):
        world = training(runPolicy={"maxAttempts": 1})
        name = world.end_pod()
        world.pods.pop(name)
        world.tick(10)
        world.settle()
        assert world.active.endswith("-train-2")
        assert world.run["retries"]["infrastructure"] == 0
        world.finish()
        assert world.run["outcome"] == "Succeeded"

    def test_a_pod_that_is_seen_later_than_its_job_is_waited_for(self):
        world = training()
        name = world.end_pod()
        pod = world.pods.pop(name)
        plan = world.decide()
        assert plan.empty
        assert plan.requeue_after is not None
        assert plan.requeue_after < 3
        world.pods[name] = pod
        world.settle()
        assert world.run["activeStep"] == "publish"

    def test_a_message_of_another_run_is_not_believed(self):
        world = training()
        world.end_pod(message=words("train", "f" * 64))
        world.tick(10)
        world.settle()
        assert world.active.endswith("-train-2")


class TestProgress:
    def test_figures_are_written_every_fifteen_seconds_at_most(self):
        world = training()
        world.report(1)
        world.settle()
        before = world.writes
        for second in range(1, 61):
            world.tick()
            world.report(second)
            world.reconcile()
        assert world.writes - before == 4

    def test_nothing_is_written_when_no_figure_changed(self):
        world = training()
        world.report(10)
        world.settle()
        before = world.writes
        world.tick(60)
        world.report(10)
        world.settle()
        assert world.writes == before

    def test_a_held_back_figure_is_written_when_its_time_has_come(self):
        world = training()
        world.report(1)
        world.settle()
        world.tick(5)
        world.report(2)
        plan = world.decide()
        assert plan.status is None
        assert plan.requeue_after == pytest.approx(10)

    def test_step_loss_and_time_left_are_shown(self):
        world = training()
        world.report(120, eta_seconds=240, epoch="0.4")
        world.settle()
        assert world.run["stepText"] == "120/300"
        assert world.run["eta"] == "4m"
        assert world.run["loss"] == "1.5"

    def test_the_time_left_disappears_when_nothing_trains(self):
        world = training()
        world.report(120)
        world.settle()
        world.end_pod(75, sealed=120)
        world.settle()
        assert "eta" not in world.run
        assert world.run["stepText"] == "120/300"

    def test_the_time_left_of_a_pod_that_fell_silent_disappears_by_itself(self):
        world = training()
        world.report(120)
        world.settle()
        world.tick(60)
        plan = world.decide()
        assert plan.empty
        assert plan.requeue_after is not None
        world.tick(plan.requeue_after)
        world.settle()
        assert "eta" not in world.run
        assert "tokensPerSecond" not in world.run
        assert world.run["stepText"] == "120/300"
        world.report(121)
        world.settle()
        assert world.run["eta"] == "4m"

    def test_a_pod_that_answers_the_same_as_before_is_not_silent(self):
        world = training()
        world.report(120)
        world.settle()
        for _ in range(10):
            world.tick(30)
            world.report(120)
            world.settle()
        assert world.run["eta"] == "4m"

    def test_an_operator_that_started_again_believes_what_it_remembers_for_as_long(self):
        world = training()
        world.report(120)
        world.settle()
        world.progress = None
        world.tick(20)
        world.settle()
        assert world.run["eta"] == "4m"
        world.tick(50)
        world.settle()
        assert "eta" not in world.run

    def test_a_pod_on_a_dead_node_is_being_stopped_and_has_no_time_left(self):
        world = training()
        world.report(120)
        world.settle()
        world.pods[world.active]["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
        world.settle()
        assert world.says("Ready") == ("False", "Interrupted")
        assert world.says("Admitted") == ("False", "Interrupted")
        assert f"pod {world.active}-x on node node-1 is being stopped" in world.message()
        assert "delete the Node object or force-delete the pod" in world.message()
        assert "eta" not in world.run
        assert world.active_jobs() == [world.active]

    def test_a_report_of_another_run_or_pod_changes_nothing(self):
        world = training()
        world.report(120)
        assert world.progress is not None
        world.progress = type(world.progress)("another-pod", world.now, world.progress.report)
        world.settle()
        assert world.run["stepText"] == "0/300"

    def test_moving_figures_appear_in_no_condition(self):
        world = training()
        before = [dict(c) for c in (world.status or {})["conditions"]]
        world.report(120)
        world.tick(20)
        world.settle()
        assert [dict(c) for c in (world.status or {})["conditions"]] == before
