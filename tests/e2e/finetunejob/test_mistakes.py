"""A user's mistakes that need a real node to show: each ends with field, reason and next action, never with a loop or a traceback."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from demo.kubectl import Kubectl, conditions
from tests.cluster.evidence import assert_prompt, first_evidence, moment
from tests.e2e.tenant import NAMESPACE, Job, Tenant, manifest

GPU = "nvidia.com/gpu"
LIMIT_SECONDS = 540


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and what its owner must be told; ``attempts`` of the step that shows it."""

    changes: Job
    reason: str
    mentions: tuple[str, ...]
    attempts: dict[str, int] = field(default_factory=lambda: {"prepare": 1})


def dataset(path: str, **more: str) -> Job:
    return {"dataset": {"inline": {"uri": f"pvc://datasets/{path}", **more}}}


MISTAKES = {
    "dataset-path-missing": Mistake(dataset("nowhere.jsonl"), "DataRejected", ("dataset", "nowhere.jsonl", "Check the path")),
    "wrong-format": Mistake(dataset("tickets.jsonl", format="Alpaca"), "DataRejected", ("dataset", "Alpaca")),
    "torn-last-row": Mistake(dataset("torn.jsonl"), "DataRejected", ("row 241", "torn.jsonl")),
    "empty-dataset": Mistake(dataset("empty.jsonl"), "DataRejected", ("dataset", "holds no row", "Write rows")),
    "target-off-schema": Mistake(dataset("off-schema.jsonl"), "DataRejected", ("240 of 240 rows", "Correct the rows")),
    "base-without-config": Mistake({"baseModel": {"uri": "pvc://models/no-config"}}, "ModelRejected", ("no config.json", "baseModel.uri")),
    "claim-missing": Mistake({"baseModel": {"uri": "pvc://absent/model"}}, "ClaimMissing", ("spec.baseModel.uri", "absent", "Create it")),
    "rate-too-hot": Mistake(
        {
            "tuner": {"type": "Full", "lora": None},
            "training": {"maxSteps": 60, "learningRate": "0.9", "warmupFraction": "0", "maxGradientNorm": "1000"},
        },
        "Diverged",
        ("step", "learningRate"),
        {"prepare": 1, "train": 1},
    ),
    "memory-too-small": Mistake(
        {"resources": {"requests": {"memory": "200Mi"}, "limits": {"memory": "200Mi"}}},
        "OutOfMemory",
        ("OOMKilled", "micro-batch halved twice, to 2", "spec.resources.limits.memory"),
        {"prepare": 1, "train": 3},
    ),
    "disk-full": Mistake(
        {
            "tuner": {"type": "Full", "lora": None},
            "training": {"maxSteps": 200},
            "checkpoint": {"everySeconds": 1},
            "workspace": {"claimName": "small"},
            "runPolicy": {"maxAttempts": 1},
        },
        "StorageFailed",
        ("full",),
        {"prepare": 1, "train": 1},
    ),
    "gpu-missing": Mistake({"resources": {"gpusPerNode": 1}}, "WaitingForNode", (f"1 x {GPU}", "Insufficient"), {"prepare": 1, "train": 1}),
}


def name_of(mistake: str) -> str:
    return f"mistake-{mistake}"


@pytest.fixture(scope="module")
def applied(tenant: Tenant) -> Iterator[None]:
    """All of them at once; the scheduler lets in as many pods as the node's cores take."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "small", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "finetune-limited", "resources": {"requests": {"storage": "16Mi"}}},
    }
    tenant.kubectl.run("apply", "-f", "-", stdin=json.dumps(claim).encode())
    tenant.start(*(manifest(name_of(mistake), **expected.changes) for mistake, expected in MISTAKES.items()))
    yield
    tenant.kubectl.run("delete", "finetunejob", "-n", NAMESPACE, *map(name_of, MISTAKES), "--ignore-not-found")
    tenant.kubectl.run("delete", "persistentvolumeclaim", "-n", NAMESPACE, "small", "--wait=false")


def ready_reason(job: Job) -> str:
    return str(conditions(job).get("Ready", {}).get("reason"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_field_reason_and_next_action(mistake: str, applied: None, tenant: Tenant) -> None:
    expected, name = MISTAKES[mistake], name_of(mistake)
    job = tenant.wait(name, lambda job: ready_reason(job) == expected.reason and prepared_as_far(job, expected), LIMIT_SECONDS)
    ready = conditions(job)["Ready"]
    assert ready["status"] == "False"
    assert [text for text in expected.mentions if text not in ready["message"]] == [], ready["message"]
    assert "Traceback" not in ready["message"]
    if finished := job["status"]["currentRun"].get("finishedAt"):
        assert_prompt(first_evidence(job, tenant.pods(name)), moment(finished))
    tried = [made.rsplit("-", 2) for made in tenant.batch_jobs(name)]
    assert {step: sum(1 for made in tried if made[1] == step) for step in {made[1] for made in tried}} == expected.attempts
    logs = [tenant.log(pod["metadata"]["name"]) for pod in tenant.pods(name) if pod["status"]["phase"] == "Failed"]
    assert [log for log in logs if "Traceback" in log] == []


def prepared_as_far(job: Job, expected: Mistake) -> bool:
    """Waiting for a free core looks like waiting for a GPU, until the train step is reached."""
    run = job["status"].get("currentRun", {})
    return "train" not in expected.attempts or run.get("activeStep") == "train"


@pytest.fixture
def gpu(applied: None, tenant: Tenant) -> Iterator[None]:
    """The node gets the resource, as when a device plugin has started."""
    patch_capacity(tenant.kubectl, {"op": "add", "value": "1"})
    yield
    patch_capacity(tenant.kubectl, {"op": "remove"})


def patch_capacity(kubectl: Kubectl, operation: dict[str, str]) -> None:
    (node,) = kubectl.get("nodes")["items"]
    path = "/status/capacity/" + GPU.replace("/", "~1")
    patch = json.dumps([{**operation, "path": path}])
    kubectl.run("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "--patch", patch)


def test_a_job_that_waits_for_a_gpu_goes_on_when_there_is_one(tenant: Tenant, gpu: None) -> None:
    """The resource is only a number here, so that the trainer then finds no device and says so."""
    name = name_of("gpu-missing")
    job = tenant.wait_for(name, "Stalled", seconds=LIMIT_SECONDS)
    ready = conditions(job)["Ready"]
    assert ready["reason"] == "ConfigurationRejected"
    assert "AcceleratorMissing" in ready["message"]
    assert [made for made in tenant.batch_jobs(name) if "-train-" in made][1:] == []
