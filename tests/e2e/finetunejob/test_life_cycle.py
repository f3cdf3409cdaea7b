"""What `kubectl` tells a job's owner from the first second to the last, and after a change of mind."""

import json
import re
import subprocess
from dataclasses import dataclass, field

import pytest

from demo.install import NAMESPACE as OPERATOR_NAMESPACE
from demo.kubectl import Kubectl, KubectlError, conditions
from finetune_testbed import debian
from tests.e2e.tenant import NAMESPACE, Job, Tenant, manifest

NAME = "life-cycle"
STEPS = 250
EVENTS_OF_A_RUN = 8
COLUMNS = ["NAME", "READY", "REASON", "STAGE", "TUNER", "STEP", "LOSS", "ETA", "AGE"]
JOB = manifest(
    NAME,
    training={"maxSteps": STEPS},
    resources={"requests": {"cpu": "1"}},
    artifact={"uri": "pvc://adapters/life-cycle"},
)

PASSING = {"WaitingForVolume", "WaitingForImage"}
"""A node under load may take longer than the operator's patience to mount or to pull: then it says so, and it clears by itself."""

Row = dict[str, str]


@dataclass
class Story:
    """What `kubectl get` printed and what the object held at the same moments, in order, without repetitions."""

    rows: list[Row] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    trainer_metrics: str = ""

    def rows_while(self, reason: str) -> list[Row]:
        return [row for row in self.rows if row["REASON"] == reason]

    def conditions_while(self, reason: str) -> list[dict[str, str]]:
        """Condition type → status, of every moment at which Ready gave this reason."""
        found = [conditions(job) for job in self.jobs]
        return [{kind: c["status"] for kind, c in now.items()} for now in found if now.get("Ready", {}).get("reason") == reason]


def printed(kubectl: Kubectl, name: str) -> Row:
    """The columns of `kubectl get ftj`, by header."""
    header, line = kubectl.run("get", "ftj", name, "-n", NAMESPACE).splitlines()
    starts = [column.start() for column in re.finditer(r"\S+", header)]
    ends = [*starts[1:], max(len(line), len(header)) + 1]
    return {header[start:end].strip(): line[start:end].strip() for start, end in zip(starts, ends, strict=True)}


@pytest.fixture(scope="module")
def story(tenant: Tenant) -> Story:
    """A run watched from its first moment to Ready."""
    told = Story()
    tenant.start(JOB)

    def ready(job: Job) -> bool:
        row = printed(tenant.kubectl, NAME)
        if not told.rows or {**told.rows[-1], "AGE": ""} != {**row, "AGE": ""}:
            told.rows.append(row)
        if not told.jobs or told.jobs[-1]["metadata"]["resourceVersion"] != job["metadata"]["resourceVersion"]:
            told.jobs.append(job)
        if row["REASON"] == "Training" and not told.trainer_metrics:
            told.trainer_metrics = scrape_trainer(tenant)
        return conditions(job).get("Ready", {}).get("status") == "True"

    tenant.wait(NAME, ready, 420)
    return told


def scrape_trainer(tenant: Tenant) -> str:
    """What the trainer tells Prometheus; nothing while its server is not up yet."""
    training = [pod["metadata"]["name"] for pod in tenant.pods(NAME) if pod["metadata"]["labels"]["finetune.dev/step"] == "train"]
    try:
        return tenant.kubectl.run("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{training[-1]}:9400/proxy/metrics")
    except (KubectlError, IndexError):
        return ""


def test_the_columns_say_whether_it_is_ready_why_not_and_how_far(story: Story) -> None:
    assert [list(row) for row in story.rows[-1:]] == [COLUMNS]
    assert {(row["STAGE"], row["TUNER"]) for row in story.rows} == {("SFT", "LoRA")}
    assert {row["READY"] for row in story.rows[:-1] if row["REASON"]} == {"False"}
    assert story.rows_while("Preparing")
    training = story.rows_while("Training")
    assert all(row["STEP"].endswith(f"/{STEPS}") for row in training)
    assert any(float(row["LOSS"]) > 0 for row in training if row["LOSS"])
    assert any(row["ETA"].endswith(("s", "m")) for row in training)
    assert all(row["AGE"] for row in story.rows)


def test_a_finished_job_prints_its_end(story: Story) -> None:
    last = story.rows[-1]
    assert (last["READY"], last["REASON"]) == ("True", "RunSucceeded")
    assert (last["STEP"], last["ETA"]) == (f"{STEPS}/{STEPS}", "")
    assert float(last["LOSS"]) > 0


def test_the_reasons_come_in_the_order_of_the_steps(story: Story) -> None:
    order = ["RunPending", "Preparing", "Starting", "WaitingForNode", "Training", "Publishing", "RunSucceeded"]
    seen = [row["REASON"] for row in story.rows if row["REASON"]]
    told = [reason for reason in dict.fromkeys(seen) if reason != "WaitingForNode" and reason not in PASSING]
    assert set(seen) - PASSING <= set(order)
    assert told == [reason for reason in order if reason in told]


def test_the_conditions_agree_with_each_other_at_every_moment(story: Story) -> None:
    preparing, training = story.conditions_while("Preparing"), story.conditions_while("Training")
    assert preparing
    assert all(now["Accepted"] == "True" and now["Prepared"] != "True" for now in preparing)
    assert training
    assert all(now["Prepared"] == now["Admitted"] == "True" and now["Trained"] != "True" for now in training)
    assert all(now["Reconciling"] == "True" and now["Stalled"] == "False" for now in preparing + training)
    (end, *_) = story.conditions_while("RunSucceeded")
    assert {kind for kind, status in end.items() if status == "True"} == {
        "Accepted", "Admitted", "Complete", "Evaluated", "Prepared", "Published", "Ready", "Trained",
    }  # fmt: skip


def test_figures_appear_while_it_trains_and_rates_go_when_it_ends(story: Story) -> None:
    runs = [job["status"]["currentRun"] for job in story.jobs if "currentRun" in job.get("status", {})]
    (first, *_) = [run for run in runs if "tokensPerSecond" in run]
    assert first["activeStep"] == "train"
    assert first["tokensPerSecond"] > 0
    assert first["etaSeconds"] >= 0
    assert 0 < first["step"] <= STEPS
    assert float(first["loss"]) > 0
    assert not {"eta", "etaSeconds", "tokensPerSecond"} & set(runs[-1])


def test_progress_is_written_at_most_every_fifteen_seconds(story: Story) -> None:
    """Few versions of the object: the API server is not a time series database."""
    trained = [job for job in story.jobs if job.get("status", {}).get("currentRun", {}).get("activeStep") == "train"]
    moments = sorted({job["status"]["currentRun"]["updatedAt"] for job in trained if "updatedAt" in job["status"]["currentRun"]})
    assert len(moments) <= 2 + (seconds_of(story.jobs[-1]) // 15)


def seconds_of(job: Job) -> int:
    return int(job["status"]["currentRun"]["runningSeconds"])


def test_describe_shows_few_events_and_none_of_them_twice(story: Story, tenant: Tenant) -> None:
    events = [event for event in tenant.wait_event(NAME, "RunSucceeded") if event["reason"] not in PASSING]
    assert 2 <= len(events) <= EVENTS_OF_A_RUN
    assert {event["type"] for event in events} == {"Normal"}
    reasons = [event["reason"] for event in events]
    assert len(reasons) == len(set(reasons))
    described = tenant.kubectl.run("describe", "ftj", NAME, "-n", NAMESPACE)
    assert all(event["message"][:60] in described for event in events)


def test_status_names_what_was_read_needed_measured_and_made(story: Story, tenant: Tenant) -> None:
    status = tenant.get(NAME)["status"]
    assert status["dataset"]["examples"] == 216  # 240 rows, of which a tenth is held out
    assert status["estimate"]["memoryBytes"] > 0
    assert status["evaluation"]["items"] == 4
    assert {metric["name"] for metric in status["evaluation"]["metrics"]} == {"JSONValidity", "ExactMatch"}
    assert status["artifact"]["uri"].startswith("pvc://adapters/life-cycle/")


@dataclass(frozen=True)
class ChangeOfMind:
    """The same object after an edit, and after the edit was taken back."""

    first: Job
    refused: str
    second: Job
    jobs_then: list[str]
    third: Job
    jobs_now: list[str]
    printed: Row


@pytest.fixture(scope="module")
def change(story: Story, tenant: Tenant) -> ChangeOfMind:
    first = tenant.get(NAME)
    tenant.kubectl.run("wait", f"ftj/{NAME}", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=120s")
    tenant.edit(NAME, {"training": {"maxSteps": 2}})
    refused = ""
    try:
        tenant.kubectl.run("wait", f"ftj/{NAME}", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=1s")
    except KubectlError as error:
        refused = str(error)
    tenant.kubectl.run("wait", f"ftj/{NAME}", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=300s")
    second, jobs_then = tenant.get(NAME), tenant.batch_jobs(NAME)
    tenant.edit(NAME, {"training": {"maxSteps": STEPS}})
    tenant.kubectl.run("wait", f"ftj/{NAME}", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=300s")
    return ChangeOfMind(first, refused, second, jobs_then, tenant.get(NAME), tenant.batch_jobs(NAME), printed(tenant.kubectl, NAME))


def test_after_an_edit_the_old_ready_satisfies_nobody(change: ChangeOfMind) -> None:
    assert "timed out" in change.refused
    assert change.second["status"]["currentRun"]["number"] == 2
    assert change.second["status"]["currentRun"]["stepText"] == "2/2"
    assert change.second["status"]["artifact"]["digest"] != change.first["status"]["artifact"]["digest"]
    assert change.second["status"]["observedGeneration"] == change.second["metadata"]["generation"]


def test_an_edit_taken_back_points_at_the_earlier_artifact_and_trains_nothing(change: ChangeOfMind) -> None:
    assert change.third["status"]["artifact"] == change.first["status"]["artifact"]
    assert conditions(change.third)["Ready"]["reason"] == "ArtifactReused"
    assert change.jobs_now == change.jobs_then
    assert [entry["number"] for entry in change.third["status"]["history"]].count(1) == 1


def test_a_result_that_is_pointed_at_again_prints_its_own_figures(story: Story, change: ChangeOfMind) -> None:
    made, reused = story.rows[-1], change.printed
    assert (reused["READY"], reused["REASON"], reused["ETA"]) == ("True", "ArtifactReused", "")
    assert (reused["STEP"], reused["LOSS"]) == (made["STEP"], made["LOSS"])


def test_a_suspended_job_says_so_and_starts_nothing(tenant: Tenant) -> None:
    tenant.start(manifest("suspended", suspend=True))
    job = tenant.wait_for("suspended", "Suspended")
    assert conditions(job)["Ready"]["reason"] == "Suspended"
    assert "spec.suspend" in conditions(job)["Ready"]["message"]
    row = printed(tenant.kubectl, "suspended")
    assert (row["READY"], row["REASON"], row["STEP"], row["ETA"]) == ("False", "Suspended", "", "")
    assert tenant.batch_jobs("suspended") == []
    tenant.delete("suspended")


@pytest.fixture(scope="module")
def promtool() -> str:
    debian.ensure(debian.PROMTOOL_REQUIREMENTS, print)
    return "promtool"


def check_metrics(promtool: str, text: str) -> None:
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_trainers_metrics_are_well_formed(story: Story, promtool: str) -> None:
    assert "finetune_" in story.trainer_metrics
    check_metrics(promtool, story.trainer_metrics)


def test_the_operators_metrics_are_well_formed(story: Story, tenant: Tenant, promtool: str) -> None:
    listed = tenant.kubectl.get("pods", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=finetune-operator")
    assert len(listed["items"]) == 2
    texts = [
        tenant.kubectl.run("get", "--raw", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod['metadata']['name']}:9090/proxy/metrics")
        for pod in listed["items"]
    ]
    for text in texts:
        check_metrics(promtool, text)
    assert all("finetune_" in text for text in texts)
    assert sorted(json.dumps(NAME) in text for text in texts) == [False, True], "the leader speaks for the jobs, and nobody else"
