"""What a training says about its tracker: in status, as a condition and once as an Event; the run goes on whatever it is."""

from typing import Any

from finetune_trainer.contract import TrackerReport
from tests.unit.domain.world import World, begun, finished, training

TRACKED: dict[str, Any] = {"tracking__mlflow": {"uri": "http://mlflow.mlops.svc:5000/base"}}
SILENT = TrackerReport(trouble="no connection: ConnectError", lost=7)
KNOWN = TrackerReport(run_id="5f2a")


def told(*reports: TrackerReport, **changes: Any) -> World:
    world = training(**(changes or TRACKED))
    for step, report in enumerate(reports, start=1):
        world.tick(60)
        world.report(step, tracker=report)
        world.settle()
    return world


def test_a_job_without_a_tracker_says_nothing_of_one() -> None:
    world = finished()
    assert world.status is not None
    assert "Tracked" not in [condition["type"] for condition in world.status["conditions"]]
    assert "tracking" not in world.run


def test_until_the_training_has_spoken_nothing_is_known() -> None:
    assert begun(**TRACKED).says("Tracked") == ("Unknown", "NotStarted")
    assert told().says("Tracked") == ("Unknown", "NotStarted")


def test_the_run_of_the_tracker_is_named() -> None:
    world = told(KNOWN)
    assert world.says("Tracked") == ("True", "Tracked")
    assert world.message("Tracked") == "run 5f2a at mlflow.mlops.svc"
    assert world.run["tracking"] == {"runId": "5f2a", "lost": 0}


def test_a_tracker_that_does_not_answer_is_told_once_with_what_to_do_and_changes_nothing_else() -> None:
    world = told(SILENT, SILENT.model_copy(update={"lost": 9}), SILENT.model_copy(update={"lost": 11}))
    assert world.says("Tracked") == ("False", "TrackerUnreachable")
    assert "no connection: ConnectError; the training goes on" in world.message("Tracked")
    assert "spec.tracking.mlflow" in world.message("Tracked")
    assert "/base" not in world.message("Tracked")
    assert world.events.count("TrackerUnreachable") == 1
    assert world.says("Reconciling") == ("True", "Training")
    world.finish()
    assert world.says("Ready") == ("True", "RunSucceeded")


def test_it_is_told_again_after_it_has_answered() -> None:
    world = told(SILENT, KNOWN, SILENT)  # the last one of an attempt that has not found the run again
    assert world.events.count("TrackerUnreachable") == 2
    assert world.run["tracking"]["runId"] == "5f2a"


def test_the_last_word_of_a_pod_counts_however_it_ended() -> None:
    for code in (0, 75):
        world = told(KNOWN)
        world.end_pod(code, tracker=TrackerReport(run_id="5f2a", trouble="no answer in time", lost=3))
        world.settle()
        assert world.says("Tracked") == ("False", "TrackerUnreachable")
        assert world.run["tracking"]["lost"] == 3


def test_figures_of_what_is_lost_wait_their_turn() -> None:
    world = told(SILENT)
    writes = world.writes
    world.tick(1)
    world.report(1, tracker=SILENT.model_copy(update={"lost": 99}))
    world.settle()
    assert world.writes == writes
