"""A pod is taken from a training run in four ways; each run resumes and ends with the very adapter of an undisturbed one."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from demo.kubectl import KubectlError, conditions
from tests.e2e.finetunejob.disturbances import DISTURBANCES
from tests.e2e.tenant import Job, Tenant, artifact_folder, manifest

STEPS = 150
LIMIT_SECONDS = 540
TRIES = 3
"""On a busy node a disturbance may reach its pod only after the last step: then there is nothing to resume, and the run is begun anew."""
UNDISTURBED = "undisturbed"
BUDGETS = ("infrastructure", "outOfMemory", "hostOutOfMemory", "storage", "internal", "lostMessages")
STOPPED_GRACEFULLY = ("delete", "term", "evict")


@dataclass(frozen=True)
class Preempted:
    """A run that was disturbed: as its second attempt began, as it ended, and the record beside its artifact."""

    sealed_step: int
    between: Job
    end: Job
    record: dict[str, Any]

    @property
    def in_time(self) -> bool:
        """Whether steps were left when it was disturbed."""
        return int(self.record["training"].get("resumedFromStep") or STEPS) < STEPS


def job_of(how: str) -> Job:
    return manifest(
        f"preempted-{how}",
        training={"maxSteps": STEPS},
        checkpoint={"everySeconds": 1},
        evaluation={"maxItems": 2, "maxNewTokens": 16},
        resources={"requests": {"cpu": "300m"}, "limits": {"cpu": "1"}},
        artifact={"uri": f"pvc://adapters/preempted/{how}"},
    )


def name_of(how: str) -> str:
    return str(job_of(how)["metadata"]["name"])


@pytest.fixture(scope="module")
def runs(tenant: Tenant) -> dict[str, Preempted]:
    """All runs side by side, each disturbed as soon as it has sealed its first checkpoint."""
    tenant.start(job_of(UNDISTURBED), *map(job_of, DISTURBANCES))
    with ThreadPoolExecutor(len(DISTURBANCES)) as pool:
        disturbed = {how: pool.submit(disturb, tenant, how) for how in DISTURBANCES}
        return {how: future.result() for how, future in disturbed.items()}


@pytest.fixture(scope="module")
def undisturbed(runs: dict[str, Preempted], tenant: Tenant) -> Job:
    return tenant.wait_for(name_of(UNDISTURBED), "Ready", seconds=LIMIT_SECONDS)


def disturb(tenant: Tenant, how: str) -> Preempted:
    for _ in range(TRIES - 1):
        made = disturb_once(tenant, how)
        if made is not None and made.in_time:
            return made
        tenant.start(job_of(how))
    made = disturb_once(tenant, how)
    assert made is not None, f"{TRIES} times the run was over before {how} reached its pod"
    return made


def disturb_once(tenant: Tenant, how: str) -> Preempted | None:
    """None if the train step had ended well before the disturbance came."""
    name = name_of(how)
    pod = tenant.training_pod(name, seconds=LIMIT_SECONDS)
    with tenant.versions(name, 2 * LIMIT_SECONDS) as versions:
        next(versions)  # from here on none is missed: a look from time to time might come after the second attempt's first report
        sealed = tenant.follow_until(pod["metadata"]["name"], "checkpoint", seconds=LIMIT_SECONDS)
        try:
            DISTURBANCES[how](tenant, pod)
        except (KubectlError, ValueError):
            if tenant.get(name)["status"]["currentRun"]["activeStep"] == "train":
                raise
            return None
        between = next((job for job in versions if is_second(job) or not is_training(job)), None)
    assert between is not None, f"{name} began no second attempt in {2 * LIMIT_SECONDS} s"
    if not is_second(between):
        return None
    end = tenant.wait_decided(name, LIMIT_SECONDS)
    record = json.loads(tenant.read(f"{artifact_folder(end)}.meta/record.json"))
    return Preempted(int(sealed["step"]), between, end, record)


def is_training(job: Job) -> bool:
    return str(job["status"]["currentRun"]["activeStep"]) == "train"


def is_second(job: Job) -> bool:
    return is_training(job) and job["status"]["currentRun"].get("attempt") == 2


@pytest.mark.parametrize("how", DISTURBANCES)
def test_a_disturbed_run_ends_with_the_adapter_of_an_undisturbed_one(how: str, runs: dict[str, Preempted], undisturbed: Job) -> None:
    end = runs[how].end
    assert conditions(end)["Ready"]["status"] == "True"
    assert end["status"]["artifact"]["digest"] == undisturbed["status"]["artifact"]["digest"]
    assert end["status"]["currentRun"]["number"] == 1


@pytest.mark.parametrize("how", DISTURBANCES)
def test_it_goes_on_from_the_last_sealed_checkpoint(how: str, runs: dict[str, Preempted]) -> None:
    assert runs[how].sealed_step <= runs[how].record["training"]["resumedFromStep"] < STEPS
    assert runs[how].record["training"]["steps"] == STEPS


@pytest.mark.parametrize("how", STOPPED_GRACEFULLY)
def test_a_preemption_uses_up_no_retry(how: str, runs: dict[str, Preempted]) -> None:
    run = runs[how].between["status"]["currentRun"]
    assert run["activeStep"] == "train"
    assert run["retries"]["preemptions"] == 1
    assert {budget: count for budget, count in run["retries"].items() if budget in BUDGETS} == dict.fromkeys(BUDGETS, 0)


@pytest.mark.parametrize("how", STOPPED_GRACEFULLY)
def test_what_it_sealed_is_known_before_the_next_attempt_reports(how: str, runs: dict[str, Preempted]) -> None:
    run = runs[how].between["status"]["currentRun"]
    assert run["interruption"]["attempt"] == 1
    assert runs[how].sealed_step <= run["lastSealedStep"] <= runs[how].record["training"]["resumedFromStep"]
    assert run["retries"]["idlePreemptions"] == 0


def test_a_kill_without_a_word_is_tried_again_as_a_failure_of_the_infrastructure(runs: dict[str, Preempted]) -> None:
    run = runs["kill"].between["status"]["currentRun"]
    assert run["retries"]["infrastructure"] == 1
    assert run["retries"]["preemptions"] == 0


@pytest.mark.parametrize("how", DISTURBANCES)
def test_the_interruption_is_an_event_and_the_end_is_good(how: str, runs: dict[str, Preempted], tenant: Tenant) -> None:
    events = tenant.wait_event(name_of(how), "RunSucceeded")
    expected = "Interrupted" if how in STOPPED_GRACEFULLY else "PodLost"
    assert [event for event in events if event["reason"] == expected and "attempt 1 of train" in event["message"]]


def test_an_undisturbed_run_needs_one_attempt_of_each_step(undisturbed: Job, tenant: Tenant) -> None:
    attempts = [name.rsplit("-", 2)[1:] for name in tenant.batch_jobs(name_of(UNDISTURBED))]
    assert sorted(attempts) == [["prepare", "1"], ["publish", "1"], ["train", "1"]]
