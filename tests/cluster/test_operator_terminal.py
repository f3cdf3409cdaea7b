"""Terminal is terminal: what has ended never starts again by itself, and what somebody asks for starts exactly once."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from finetune_operator.api.base import LABEL_JOB, LABEL_STEP
from finetune_operator.api.finetunejob import PLURAL
from finetune_testbed import faults, outcomes
from finetune_testbed.apiserver import MERGE
from finetune_testbed.faults import Fault
from finetune_testbed.outcomes import PodOutcome
from finetune_testbed.proxy import Proxy
from finetune_trainer.contract import FailureClass, TerminationMessage
from tests.cluster import operator_process
from tests.cluster.finetunejobs import Object, Place
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


@pytest.mark.timeout(900)
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
        watch.catch_up()
        assert len(watch.created) == known
    after = here.status("done")
    assert after["history"] == before["history"]
    assert after["artifact"] == before["artifact"]


@pytest.mark.timeout(900)
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
        upgraded = ("--namespace", here.namespace, "--trainer-image", "registry.invalid/new:2")
        with operator_process.running(here.bed.kubeconfig, tmp_path, upgraded):
            quiet()
            here.patch("failed", {"runPolicy": {"failedRunsHistoryLimit": 3}, "resources": {"limits": {"memory": "9Gi"}}})
            quiet()
        assert len(watch.created) == created
    assert len(here.status("failed")["history"]) == 1


def both_ends(here: Place) -> dict[str, Object]:
    """One run that succeeded and one that failed; their statuses."""
    rejected = PodOutcome(exit_code=65, termination_message=words("MalformedRow"))
    labels = {LABEL_STEP: "prepare", LABEL_JOB: "failed"}
    with outcomes.played(here.bed, labels, rejected, name=here.namespace, namespace=here.namespace):
        here.apply("failed")
        here.apply("done")
        assert {name: here.wait_ended(name) for name in ("done", "failed")} == {"done": "Succeeded", "failed": "Failed"}
    return {name: here.status(name) for name in ("done", "failed")}


def lists_of_our_kind(proxy: Proxy) -> int:
    """How often the operator has listed it, refused lists included."""
    return len([call for call in proxy.calls if (call.verb, call.resource) == ("list", PLURAL)])


@pytest.mark.timeout(900)
def test_nothing_starts_again_when_the_jobs_time_to_live_is_over(operator: OperatorProcess, here: Place) -> None:
    before = both_ends(here)
    with JobWatch(here.bed, here.namespace) as watch:
        jobs = here.jobs()
        until(lambda: len(watch.created) == len(jobs))
        for job in jobs:
            assert job["spec"]["ttlSecondsAfterFinished"] == 3600, "the operator leaves them to the controller that removes them"
            here.server.request("PATCH", here.batch_path(job["metadata"]["name"]), {"spec": {"ttlSecondsAfterFinished": 1}}, MERGE)
        until(lambda: not here.jobs() and not here.pods())
        until(lambda: operator.metric('finetune_cache_objects{resource="jobs"}') == 0)
        quiet()
        assert len(watch.created) == len(jobs)
    assert {name: here.status(name) for name in before} == before


@pytest.mark.timeout(900)
def test_nothing_starts_again_when_everything_has_to_be_listed_again(here: Place, tmp_path: Path) -> None:
    with Proxy(here.bed) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        with operator_process.running(kubeconfig, tmp_path, ("--namespace", here.namespace)) as operator:
            before = both_ends(here)
            with JobWatch(here.bed, here.namespace) as watch:
                known = len(here.jobs())
                until(lambda: len(watch.created) == known)
                proxy.freeze_watches()
                for name in before:
                    delete_children(here, name)
                until(lambda: not here.pods())
                proxy.expire_watches()
                proxy.thaw_watches()
                until(lambda: operator.metric('finetune_cache_objects{resource="jobs"}') == 0)
                until(lambda: operator.metric('finetune_cache_objects{resource="pods"}') == 0)
                for resource in (PLURAL, "jobs", "pods"):
                    operator.wait_metric(f'finetune_watch_restarts_total{{reason="expired",resource="{resource}"}}', 1)
                quiet()
                assert len(watch.created) == known
            assert {name: here.status(name) for name in before} == before
            here.apply("next")
            assert here.wait_ended("next") == "Succeeded"


@pytest.mark.timeout(900)
def test_nothing_starts_again_when_watch_and_list_are_refused_as_too_old(here: Place, tmp_path: Path) -> None:
    """The other form of a 410: as the answer to the request, first to the watch of our own kind and then to the list after it."""
    with Proxy(here.bed) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "proxied.kubeconfig")
        with operator_process.running(kubeconfig, tmp_path, ("--namespace", here.namespace)) as operator:
            before = both_ends(here)
            with JobWatch(here.bed, here.namespace) as watch:
                known, lists = len(here.jobs()), lists_of_our_kind(proxy)
                until(lambda: len(watch.created) == known)
                refusals = [
                    faults.at({1: Fault.GONE}, among=lambda call, verb=verb: (call.verb, call.resource) == (verb, PLURAL))
                    for verb in ("watch", "list")
                ]
                proxy.set_rule(faults.first_of(*refusals))
                proxy.cut_watches()
                until(lambda: lists_of_our_kind(proxy) >= lists + 2)
                quiet()
                assert len(watch.created) == known
            assert {name: here.status(name) for name in before} == before
            assert operator.running
            here.apply("next")
            assert here.wait_ended("next") == "Succeeded"


@pytest.mark.timeout(900)
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


@pytest.mark.timeout(1800)
def test_an_upgrade_under_fifty_finished_and_five_running_jobs_starts_nothing(here: Place, tmp_path: Path) -> None:
    arguments = ("--namespace", here.namespace)
    succeeded = [f"succeeded-{number:02d}" for number in range(40)]
    failed = [f"failed-{number}" for number in range(10)]
    finished = [*succeeded, *failed]
    running = [f"running-{number}" for number in range(5)]
    with operator_process.running(here.bed.kubeconfig, tmp_path, arguments):
        rejected = PodOutcome(exit_code=65, termination_message=words("MalformedRow"))
        with ExitStack() as played:
            for name in failed:
                labels = {LABEL_STEP: "prepare", LABEL_JOB: name}
                played.enter_context(outcomes.played(here.bed, labels, rejected, name=f"{here.namespace}-{name}", namespace=here.namespace))
                here.apply(name)
            assert {here.wait_ended(name, 180) for name in failed} == {"Failed"}
        for name in succeeded:
            here.apply(name)
        assert {here.wait_ended(name, 180) for name in succeeded} == {"Succeeded"}
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
                assert here.wait_ended(name) == "Succeeded"
        watch.catch_up()
        assert len(watch.created) == known + len(running), "only the publish steps of the running jobs were still to come"
        assert watch.overlaps == []
    assert all(len(here.status(name)["history"]) == 1 for name in (*finished, *running))
