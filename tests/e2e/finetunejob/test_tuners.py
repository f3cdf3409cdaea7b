"""Every tuner trains in a restricted pod, and what it publishes can be loaded by anybody and is the model that was measured."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.tenant import Job, Tenant, artifact_folder, manifest, merged

ITEMS = 4
LOGIT_TOLERANCE = 1e-4
"""Of a logit, and of the log-probability of a token in nats."""
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
POD_PATHS = (b"/mnt/", b"/workspace", b"/out/", b"/tmp")

MEASURED = {"metrics": ["ExactMatch", "Perplexity"], "maxItems": ITEMS, "maxNewTokens": 24}
METHODS: dict[str, Job] = {
    "full": {"tuner": {"type": "Full", "lora": None}},
    "lora": {"tuner": {"type": "LoRA"}},
    "qlora": {"tuner": {"type": "QLoRA"}},
    "dora": {"tuner": {"type": "DoRA"}},
    "rslora": {"tuner": {"type": "RSLoRA"}},
    "raw-text": {
        "stage": "ContinuedPretraining",
        "tuner": {"type": "LoRA"},
        "dataset": {"inline": {"uri": "pvc://datasets/text.jsonl", "format": "Text"}},
        "task": {"type": "Vocabulary", "outputSchema": None},
        "training": {"maxSteps": 8, "batchSize": 4, "microBatchSize": 4},
        "evaluation": {"metrics": ["Perplexity"]},
    },
}


@dataclass(frozen=True)
class Published:
    """A finished job with its artifact as it lies on this machine; ``outcomes`` has one line per evaluation item.

    ``probe`` is what the trained model answered to fixed tokens before it was saved, ``record`` the facts about the run.
    """

    job: Job
    artifact: Path
    outcomes: list[dict[str, Any]]
    items: list[dict[str, Any]]
    probe: dict[str, Any]
    record: dict[str, Any]


@pytest.fixture(scope="module")
def published(tenant: Tenant, datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Published]:
    """All methods are applied at once; the scheduler lets in as many as the node's cores take."""
    jobs = [job_of(method) for method in METHODS]
    tenant.start(*jobs)
    folder = tmp_path_factory.mktemp("artifacts")
    return {method: fetch(tenant, method, tenant.wait_decided(f"tuner-{method}", 600), folder, datasets) for method in METHODS}


def job_of(method: str) -> Job:
    common: Job = {
        "training": {"maxSteps": 8},
        "evaluation": MEASURED,
        "resources": {"requests": {"cpu": "600m"}},
        "artifact": {"uri": f"pvc://adapters/tuners/{method}"},
    }
    return manifest(f"tuner-{method}", **merged(common, METHODS[method]))


def fetch(tenant: Tenant, method: str, job: Job, folder: Path, datasets: Path) -> Published:
    assert "artifact" in job["status"], f"{method} did not end well: {job['status']['conditions']}"
    place = artifact_folder(job)
    artifact = tenant.fetch(place, folder / method)
    meta = tenant.fetch(f"{place}.meta", folder / f"{method}.meta")
    outcomes = [json.loads(line) for line in (meta / "evaluation-items.jsonl").read_text().splitlines()]
    if method == "raw-text":
        rows = (datasets / "text.jsonl").read_text().splitlines()
        items = [{"row": entry["row"], "prompt": "", "reference": json.loads(rows[entry["row"] - 1])["text"]} for entry in outcomes]
    else:
        examples = json.loads((meta / "examples.json").read_text())
        items = [{name: entry[name] for name in ("row", "prompt", "reference")} for entry in examples]
    probe, record = (json.loads((meta / name).read_text()) for name in ("logit-probe.json", "record.json"))
    return Published(job, artifact, outcomes, items, probe, record)


@pytest.fixture(scope="module")
def reloaded(published: dict[str, Published], base_model: Path) -> dict[str, dict[str, Any]]:
    """Log-likelihoods of the evaluation items and logits of the probe, measured in one fresh process."""
    questions = [
        {"base": str(base_model), "artifact": str(made.artifact), "four_bit": method == "qlora", "items": made.items, "probe": made.probe}
        for method, made in published.items()
    ]
    command = [sys.executable, "-m", "tests.e2e.finetunejob.reload"]
    done = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(published, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_to_its_last_step_in_a_restricted_pod(method: str, published: dict[str, Published]) -> None:
    status = published[method].job["status"]
    assert status["currentRun"]["stepText"] == "8/8"
    assert status["currentRun"]["outcome"] == "Succeeded"
    assert status["artifact"]["digest"] == status["currentRun"]["adapterDigest"]
    assert float(status["currentRun"]["loss"]) > 0


@pytest.mark.parametrize("method", METHODS)
def test_an_artifact_holds_no_pickle_and_no_path_of_the_pod(method: str, published: dict[str, Published]) -> None:
    files = [path for path in published[method].artifact.rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert [path.name for path in files if path.suffix in PICKLES] == []
    for path in files:
        text = tensor_names(path) if path.suffix == ".safetensors" else path.read_bytes()
        assert [place for place in POD_PATHS if place in text] == [], path.name


@pytest.mark.parametrize("method", METHODS)
def test_a_reloaded_artifact_answers_with_the_logits_it_had(
    method: str, published: dict[str, Published], reloaded: dict[str, dict[str, Any]]
) -> None:
    probe, found = published[method].probe, reloaded[method]["logits"]
    assert len(probe["logits"]) == len(probe["tokens"]) == 4
    for known, again in zip(probe["logits"], found, strict=True):
        assert len(known) == len(probe["columns"]) > 100
        assert max(abs(before - after) for before, after in zip(known, again, strict=True)) <= LOGIT_TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_the_pod_compared_what_it_published_with_what_it_had_trained(method: str, published: dict[str, Published]) -> None:
    made = published[method]
    assert made.probe["tolerance"] == LOGIT_TOLERANCE
    assert 0 <= made.probe["difference"] <= LOGIT_TOLERANCE
    assert float(made.record["training"]["reloadDifference"]) == pytest.approx(made.probe["difference"], rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_reloaded_artifact_is_as_surprised_by_the_held_out_items_as_it_was(
    method: str, published: dict[str, Published], reloaded: dict[str, dict[str, Any]]
) -> None:
    outcomes = published[method].outcomes
    assert len(outcomes) == ITEMS
    for known, (nats, tokens) in zip(outcomes, reloaded[method]["nats"], strict=True):
        assert tokens == known["tuned"]["tokens"]
        assert abs(nats - known["tuned"]["nats"]) <= LOGIT_TOLERANCE * tokens


@pytest.mark.parametrize("method", METHODS)
def test_the_tuned_model_is_another_than_its_base(method: str, published: dict[str, Published]) -> None:
    """Without this, an adapter that does nothing would pass every test of reloading."""
    differences = [abs(entry["tuned"]["nats"] - entry["base"]["nats"]) for entry in published[method].outcomes]
    assert max(differences) > 1


def tensor_names(path: Path) -> bytes:
    """The header of a safetensors file: its length in eight bytes, then JSON."""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))
