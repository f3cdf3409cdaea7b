"""The example is what it says it is: valid manifests, data that anyone can write again, answers that satisfy the schema."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from examples import tickets
from finetune_operator.api.adapterdeployment.deployment import AdapterDeployment
from finetune_operator.api.finetunejob import FineTuneJob
from finetune_operator.api.spec import FineTuneJobSpec

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "ticket-routing"
JOBS = sorted(FOLDER.glob("finetunejob*.yaml"))
PAIRS = [("finetunejob.yaml", "finetunejob-too-hot.yaml"), ("finetunejob-tiny.yaml", "finetunejob-tiny-too-hot.yaml")]

DEPLOYMENTS = [("adapterdeployment.yaml", "finetunejob.yaml"), ("adapterdeployment-tiny.yaml", "finetunejob-tiny.yaml")]


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return document


def spec_of(name: str) -> FineTuneJobSpec:
    return FineTuneJob.from_manifest(read(name)).spec


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "data" / name).read_text().splitlines()]


def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(read("output-schema.yaml")["data"]["schema.json"])
    return document


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_every_manifest_is_a_finetunejob_with_known_fields_only(path: Path) -> None:
    assert spec_of(path.name).artifact.uri == "pvc://adapters/ticket-router"


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_every_claim_and_config_map_that_a_job_names_is_in_the_example(path: Path) -> None:
    claims = {claim["metadata"]["name"] for claim in yaml.safe_load_all((FOLDER / "claims.yaml").read_text())}
    manifest = path.read_text()
    named = {word.removeprefix("pvc://").split("/")[0] for word in manifest.split() if word.startswith("pvc://")}
    assert named == claims
    assert read(path.name)["spec"]["task"]["outputSchema"]["configMapRef"]["name"] == read("output-schema.yaml")["metadata"]["name"]
    loader = read("loader.yaml")["spec"]
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in loader["volumes"]} == claims


@pytest.mark.parametrize(("deployment", "job"), DEPLOYMENTS)
def test_a_deployment_serves_its_job_on_the_jobs_base_model_and_checks_the_jobs_schema(deployment: str, job: str) -> None:
    tuned, served = read(job), AdapterDeployment.from_manifest(read(deployment))
    spec = served.spec
    assert spec.adapter.fine_tune_job_ref is not None
    assert spec.adapter.fine_tune_job_ref.name == tuned["metadata"]["name"]
    assert read(deployment)["metadata"]["namespace"] == tuned["metadata"]["namespace"]
    assert spec.base_model.uri == tuned["spec"]["baseModel"]["uri"]
    assert spec.analysis.checks.schema_ is not None
    assert (
        spec.analysis.checks.schema_.config_map_ref.to_manifest()["name"] == tuned["spec"]["task"]["outputSchema"]["configMapRef"]["name"]
    )


def test_both_deployments_roll_out_alike() -> None:
    one, other = (AdapterDeployment.from_manifest(read(name)).spec for name, _ in DEPLOYMENTS)
    differing = {"base_model", "server"}
    assert one.model_dump(exclude=differing) == other.model_dump(exclude=differing)


@pytest.mark.parametrize(("good", "hot"), PAIRS)
def test_too_hot_is_the_same_job_with_ten_times_the_learning_rate_and_fewer_steps(good: str, hot: str) -> None:
    one, other = spec_of(good), spec_of(hot)
    assert float(other.training.learning_rate or 0) == pytest.approx(10 * float(one.training.learning_rate or 0))
    assert steps(other) < steps(one)
    differing = {"training": {"learning_rate", "epochs", "max_steps"}}
    assert other.model_dump(exclude=differing) == one.model_dump(exclude=differing)
    assert f"# {good} with a learning rate ten times too high, and {other.training.max_steps} steps" in (FOLDER / hot).read_text()


def steps(spec: FineTuneJobSpec) -> float:
    """Optimizer steps that a job asks for."""
    rows = len(rows_of("train.jsonl"))
    return spec.training.max_steps or float(spec.training.epochs or 0) * rows / spec.training.batch_size


def test_the_committed_tickets_are_those_the_generator_writes() -> None:
    train, held_out = rows_of("train.jsonl"), rows_of("held-out.jsonl")
    assert train == tickets.rows(len(train), seed=7)
    assert held_out == tickets.rows(len(held_out), seed=7, skip=len(train))


def test_no_ticket_is_in_both_files() -> None:
    texts = [{row["messages"][1]["content"] for row in rows_of(name)} for name in ("train.jsonl", "held-out.jsonl")]
    assert len(texts[0]) == 1200
    assert texts[0].isdisjoint(texts[1])


def test_every_answer_satisfies_the_output_schema_and_the_schema_refuses_others() -> None:
    validator = Draft202012Validator(schema())
    answers = [json.loads(row["messages"][2]["content"]) for name in ("train.jsonl", "held-out.jsonl") for row in rows_of(name)]
    assert all(validator.is_valid(answer) for answer in answers)
    assert not validator.is_valid({**answers[0], "category": "weather"})
    assert {answer["category"] for answer in answers} == set(tickets.CATEGORIES)


@pytest.mark.parametrize(
    ("priority", "plan", "category", "escalates"),
    [
        ("urgent", "free", "billing", True),
        ("high", "enterprise", "billing", True),
        ("high", "free", "security", True),
        ("high", "plus", "billing", False),
    ],
)
def test_escalation_follows_the_rule(priority: str, plan: str, category: str, escalates: bool) -> None:
    stream = tickets.tickets(seed=3)
    ticket = next(t for t in stream if t.priority == priority and t.category == category and t.text.startswith(f"[{plan}]"))
    assert ticket.escalate is escalates


def test_the_generator_runs_as_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.tickets", "--rows", "2"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [json.loads(line) for line in done.stdout.splitlines()] == tickets.rows(2, seed=7)


def test_the_loader_satisfies_the_restricted_level() -> None:
    pod = read("loader.yaml")["spec"]
    container = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert read("namespace.yaml")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
