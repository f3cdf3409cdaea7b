"""Terminal is terminal: what has ended never starts again by itself, and what somebody asks for starts exactly once."""

import time
from pathlib import Path

import pytest

from finetune_testbed import outcomes
from finetune_testbed.apiserver import MERGE
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import FailureClass, TerminationMessage
from tests.cluster import operator_process
from tests.cluster.finetunejobs import Place
from tests.cluster.job_watch import JobWatch
from tests.cluster.operator_process import OperatorProcess, until


def quiet(seconds: float = 2.0) -> None:
    """Time in which something wrong would happen: the measurement itself."""
    time.sleep(seconds)


def words(reason: str) -> str:
    return TerminationMessage(
        step="prepare", run_key="", outcome=FailureClass.DATA, reason=reason, message="row 3 is no JSON", hint="correct the row"
    ).to_json()


def delete_children(here: Place, name: str) -> None:
    for path, items in ((here.batch_path, here.jobs(name)), (lambda n: here.path("configmaps", n), here.config_maps(name))):
        for item in items:
            here.server.request("DELETE", path(item["metadata"]["name"]), {"propagationPolicy": "Background"})
    until(lambda: not here.jobs(name) and not here.config_maps(name))


@pytest.mark.timeout(180)
def test_nothing_starts_again_after_success(operator: OperatorProcess, here: Place, tmp_path: Path) -> None:
    here.apply("done")
    assert here.wait_ended("done") == "Succeeded"
    before = here.status("done")
    with JobWatch(here.bed, here.namespace) as watch:
        known = len(here.jobs("done"))
        until(lambda: len(watch.created) == known)
        delete_children(here, "done")
        quiet()
        operator.stop()
        with operator_process.running(
            here.bed.kubeconfig, tmp_path, ("--namespace", here.namespace, "--trainer-image", "registry.invalid/new:2")
        ):
            quiet()
            here.patch("done", {"runPolicy": {"successfulRunsHistoryLimit": 3}, "suspend": True})
            quiet(1.0)
            here.patch("done", {"suspend": False})
            here.server.request("PATCH", here.job_path("done"), {"metadata": {"labels": {"team": "support"}}}, MERGE)
            quiet()
        assert len(watch.created) == known
    after = here.status("done")
    assert after["history"] == before["history"]
    assert after["artifact"] == before["artifact"]


@pytest.mark.timeout(180)
def test_nothing_starts_again_after_failure(operator: OperatorProcess, here: Place, tmp_path: Path) -> None:
    failing = PodOutcome(exit_code=65, termination_message=words("MalformedRow"))
    with outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, failing, name=here.namespace, namespace=here.namespace):
        here.apply("failed")
        assert here.wait_ended("failed") == "Failed"
    created = len(here.jobs("failed"))
    assert created == 1, "a data error is never retried"
    with JobWatch(here.bed, here.namespace) as watch:
        until(lambda: len(watch.created) == created)
        delete_children(here, "failed")
        quiet(1.0)
        operator.stop()
        with operator_process.running(here.bed.kubeconfig, tmp_path, ("--namespace", here.namespace)):
            quiet()
        assert len(watch.created) == created
    assert len(here.status("failed")["history"]) == 1


@pytest.mark.timeout(180)
def test_rerun_starts_exactly_one_run_and_a_revert_none(operator: OperatorProcess, here: Place) -> None:
    here.apply("again")
    here.wait_ended("again")
    first = here.status("again")["artifact"]
    here.patch("again", {"rerun": "please"})
    here.wait_ended("again")
    assert [entry["number"] for entry in here.status("again")["history"]] == [2, 1]
    here.patch("again", {"training": {"seed": 7}})
    here.wait_ended("again")
    assert len(here.status("again")["history"]) == 3
    jobs = {job["metadata"]["uid"] for job in here.jobs("again")}
    here.patch("again", {"rerun": "", "training": {"seed": 42}})
    here.wait_reason("again", "ArtifactReused")
    quiet()
    assert {job["metadata"]["uid"] for job in here.jobs("again")} <= jobs
    assert here.status("again")["artifact"] == first
    run = here.status("again")["currentRun"]
    assert (run["stepText"], run["loss"]) == ("100/100", "0.4200")


@pytest.mark.timeout(400)
def test_an_upgrade_under_fifty_finished_and_five_running_jobs_starts_nothing(here: Place, tmp_path: Path) -> None:
    arguments = ("--namespace", here.namespace)
    finished = [f"finished-{number:02d}" for number in range(50)]
    running = [f"running-{number}" for number in range(5)]
    with operator_process.running(here.bed.kubeconfig, tmp_path, arguments):
        for name in finished:
            here.apply(name)
        for name in finished:
            assert here.wait_ended(name, 180) == "Succeeded"
        holding = PodOutcome(hold=True)
        with outcomes.played(here.bed, {"finetune.dev/step": "train"}, holding, name=here.namespace, namespace=here.namespace):
            for name in running:
                here.apply(name)
            for name in running:
                here.wait_reason(name, "Training")
    with JobWatch(here.bed, here.namespace) as watch:
        known = len(here.jobs())
        until(lambda: len(watch.created) == known)
        upgraded = (*arguments, "--trainer-image", "registry.invalid/finetune-trainer:next")
        with operator_process.running(here.bed.kubeconfig, tmp_path, upgraded):
            quiet(4.0)
            assert len(watch.created) == known
            for pod in here.pods():
                if pod["status"]["phase"] == "Running":
                    outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
            for name in running:
                assert here.wait_ended(name, 60) == "Succeeded"
        assert len(watch.created) == known + len(running), "only the publish steps of the running jobs were still to come"
        assert watch.overlaps == []
    assert all(len(here.status(name)["history"]) == 1 for name in (*finished, *running))
