"""A user's mistakes that show only in the cluster end as a condition with field, reason and next action, within seconds."""

import time

import pytest

from finetune_testbed import outcomes
from finetune_testbed.bed import Testbed
from finetune_testbed.outcomes import PodOutcome
from finetune_trainer.contract import FailureClass, TerminationMessage
from tests.cluster import finetunejobs, operator_process
from tests.cluster.evidence import assert_prompt, first_evidence, last_word
from tests.cluster.finetunejobs import Place
from tests.cluster.operator_process import OperatorProcess, until


def wait_condition(here: Place, name: str, reason: str, *mentions: str) -> None:
    """Wait for what its owner must be told; that it comes soon after the evidence is part of it."""
    message = str(here.wait_reason(name, reason)["message"])
    job = here.get(name)
    assert_prompt(first_evidence(job, here.pods(name)), last_word(job))
    for text in mentions:
        assert text in message


def assert_calm(here: Place, operator: OperatorProcess, name: str, seconds: float = 3.0) -> None:
    """It waits: no loop of writes, no error in the log. More evidence may come in right after the first, and is told once."""
    seen: set[str] = set()
    while (version := here.get(name)["metadata"]["resourceVersion"]) not in seen:
        seen.add(version)
        assert len(seen) <= 3, f"{name} is written again and again"
        time.sleep(seconds)
    assert operator.messages("error") == []
    assert operator.messages("critical") == []


def test_a_missing_claim_is_named_and_the_run_goes_on_once_it_exists(operator: OperatorProcess, here: Place) -> None:
    here.apply("claimless", baseModel__uri="pvc://absent/tiny")
    wait_condition(here, "claimless", "ClaimMissing", "spec.baseModel.uri", "absent")
    assert_calm(here, operator, "claimless")
    here.add_claim("absent")
    assert here.wait_ended("claimless") == "Succeeded"


def test_a_job_quota_that_is_used_up_is_named_and_waited_for(operator: OperatorProcess, here: Place) -> None:
    quota = {"metadata": {"name": "no-jobs"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    here.server.request("POST", here.path("resourcequotas"), quota)
    until(lambda: here.server.request("GET", here.path("resourcequotas", "no-jobs"))["status"].get("hard"))
    here.apply("jobless")
    wait_condition(here, "jobless", "QuotaExceeded", "quota")
    assert_calm(here, operator, "jobless")


def test_a_pod_quota_that_is_used_up_is_named_and_clears_by_itself(operator: OperatorProcess, here: Place) -> None:
    quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
    here.server.request("POST", here.path("resourcequotas"), quota)
    until(lambda: here.server.request("GET", here.path("resourcequotas", "no-pods"))["status"].get("hard"))
    here.apply("podless")
    wait_condition(here, "podless", "QuotaExceeded", "quota")
    here.server.request("DELETE", here.path("resourcequotas", "no-pods"))
    assert here.wait_ended("podless") == "Succeeded"


def test_a_foreign_job_of_our_childs_name_is_left_alone_and_named(operator: OperatorProcess, here: Place) -> None:
    failing = PodOutcome(hold=True)
    with outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, failing, name=here.namespace, namespace=here.namespace):
        here.apply("namesake")
        pod = until(lambda: [p for p in here.pods("namesake") if p["status"].get("phase") == "Running"])[0]
        run = until(lambda: here.status("namesake").get("currentRun"))["name"]
    foreign = {
        "metadata": {"name": f"{run}-train-1"},
        "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}},
    }
    created = here.server.request("POST", here.batch_path(), foreign)
    outcomes.release(here.bed, here.namespace, pod["metadata"]["name"])
    wait_condition(here, "namesake", "NameTaken", f"{run}-train-1")
    assert_calm(here, operator, "namesake")
    assert here.server.request("GET", here.batch_path(f"{run}-train-1"))["metadata"]["uid"] == created["metadata"]["uid"]


def test_no_node_with_the_accelerator_is_said_and_clears_when_one_comes(operator: OperatorProcess, here: Place) -> None:
    here.apply("gpuless", resources__gpusPerNode=1, resources__gpuResourceName="example.com/absent")
    wait_condition(here, "gpuless", "WaitingForNode", "example.com/absent")
    assert_calm(here, operator, "gpuless")
    node = here.server.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    capacity = {"status": {"capacity": {"example.com/absent": "1"}, "allocatable": {"example.com/absent": "1"}}}
    here.server.request("PATCH", f"/api/v1/nodes/{node}/status", capacity, "application/merge-patch+json")
    try:
        assert here.wait_ended("gpuless") == "Succeeded"
    finally:
        removal = {"status": {"capacity": {"example.com/absent": None}, "allocatable": {"example.com/absent": None}}}
        here.server.request("PATCH", f"/api/v1/nodes/{node}/status", removal, "application/merge-patch+json")


def test_an_image_that_cannot_be_pulled_is_named(operator: OperatorProcess, here: Place) -> None:
    waiting = PodOutcome(waiting_reason="ImagePullBackOff", waiting_message=f"no such image: {operator_process.TRAINER_IMAGE}")
    with outcomes.played(here.bed, {"finetune.dev/step": "prepare"}, waiting, name=here.namespace, namespace=here.namespace):
        here.apply("imageless")
        wait_condition(here, "imageless", "WaitingForImage", operator_process.TRAINER_IMAGE, "imagePullSecrets")
        assert_calm(here, operator, "imageless")


@pytest.mark.parametrize(
    ("step", "exit_code", "outcome", "reason"),
    [
        ("prepare", 65, FailureClass.DATA, "DataRejected"),
        ("prepare", 66, FailureClass.MODEL, "ModelRejected"),
        ("prepare", 64, FailureClass.CONFIGURATION, "ConfigurationRejected"),
        ("train", 71, FailureClass.DIVERGED, "Diverged"),
    ],
)
def test_what_the_trainer_says_reaches_the_condition_and_is_not_retried(
    operator: OperatorProcess, here: Place, step: str, exit_code: int, outcome: FailureClass, reason: str
) -> None:
    message = TerminationMessage(
        step=step, run_key="", outcome=outcome, reason="Evidence", message="row 1001 is no JSON", hint="correct the row"
    ).to_json()
    ending = PodOutcome(exit_code=exit_code, termination_message=message)
    with outcomes.played(here.bed, {"finetune.dev/step": step}, ending, name=here.namespace, namespace=here.namespace):
        here.apply("spoken")
        assert here.wait_ended("spoken") == "Failed"
    assert here.condition("spoken")["reason"] == reason
    assert len([job for job in here.jobs("spoken") if job["metadata"]["labels"]["finetune.dev/step"] == step]) == 1


def test_a_manifest_without_claims_in_another_namespace_disturbs_nobody(t2: Testbed, operator: OperatorProcess, here: Place) -> None:
    with finetunejobs.place(t2, claims=()) as elsewhere:
        elsewhere.apply("unwatched")
        here.apply("watched")
        assert here.wait_ended("watched") == "Succeeded"
        assert elsewhere.status("unwatched") == {}
