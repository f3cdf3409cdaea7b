"""What a user can get wrong in one object is refused by the API server, with the field and the remedy in the message."""

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_testbed.apiserver import ApiServer, RequestError
from finetune_testbed.bed import Testbed
from tests.cluster.crd import ABSENT, PATH, install, job

STRICT = f"{PATH}?dryRun=All&fieldValidation=Strict"
DIGEST = "sha256:" + "0" * 64
CPT = {"stage": "ContinuedPretraining"}
JUDGE = {"endpoint": "http://judge.models:8000/v1", "model": "critic"}
SCHEMA = {"task.outputSchema.configMapRef.name": "routing"}


@dataclass(frozen=True)
class Mistake:
    """A spec's changes, and the words that must be in the refusal: the field, and what to do."""

    says: str
    changes: dict[str, Any]
    words: tuple[str, ...]
    name: str = field(default="ticket-router")


MISTAKES = [
    # What is trained
    Mistake("rank on Full", {"tuner": {"type": "Full", "lora": {"rank": 8}}}, ("spec.tuner.lora", "remove lora, or set type LoRA")),
    Mistake("rank outside lora", {"tuner": {"type": "Full", "rank": 8}}, ("spec.tuner.rank", "unknown field")),
    Mistake("quantization without QLoRA", {"tuner": {"type": "LoRA", "quantization": {}}}, ("spec.tuner.quantization", "set type QLoRA")),
    Mistake("a rank of nought", {"tuner.lora.rank": 0}, ("spec.tuner.lora.rank", "greater than or equal to 1")),
    Mistake("an unknown tuner", {"tuner.type": "Lora"}, ("spec.tuner.type", '"LoRA"', '"QLoRA"')),
    Mistake("a stage of another kind", {"stage": "PPO"}, ("spec.stage", '"SFT"', '"ContinuedPretraining"')),
    Mistake("a dropout of one", {"tuner.lora.dropout": "1"}, ("spec.tuner.lora.dropout", "below 1")),
    Mistake("the same module twice", {"tuner.lora.targetModules": ["q_proj", "q_proj"]}, ("spec.tuner.lora.targetModules", "Duplicate")),
    # Where things are
    Mistake("a scheme that is not supported", {"baseModel.uri": "s3://b/m"}, ("spec.baseModel.uri", "pvc://CLAIM/PATH", "hf://ORG/NAME@")),
    Mistake("a hub model without revision", {"baseModel.uri": "hf://org/m"}, ("spec.baseModel.uri", "hf://ORG/NAME@REVISION")),
    Mistake("a hub model without organisation", {"baseModel.uri": "hf://m@main"}, ("spec.baseModel.uri", "hf://ORG/NAME@REVISION")),
    Mistake("data from the hub", {"dataset.inline.uri": "hf://org/data@main"}, ("spec.dataset.inline.uri", "use pvc://CLAIM/PATH")),
    Mistake("a host path", {"dataset.inline.uri": "/data/t.jsonl"}, ("spec.dataset.inline.uri", "use pvc://CLAIM/PATH")),
    Mistake("a path that leaves the claim", {"dataset.inline.uri": "pvc://data/../x"}, ("spec.dataset.inline.uri", "'..' segments")),
    Mistake("a hidden step up", {"artifact.uri": "pvc://adapters/a/.."}, ("spec.artifact.uri", "'..' segments")),
    Mistake("a claim without a path", {"artifact.uri": "pvc://adapters"}, ("spec.artifact.uri", "pvc://CLAIM/PATH")),
    Mistake("a claim with capitals", {"artifact.uri": "pvc://Adapters/x"}, ("spec.artifact.uri", "pvc://CLAIM/PATH")),
    Mistake("an artifact in the work folder", {"artifact.uri": "pvc://a/.finetune/x"}, ("spec.artifact.uri", "choose another path")),
    *(
        Mistake(f"{field} in the work folder", {f"{field}.uri": "pvc://a/.finetune/x/data"}, (f"spec.{field}.uri", "choose another path"))
        for field in ("dataset.inline", "baseModel")
    ),
    Mistake("an artifact on the hub", {"artifact.uri": "hf://org/name@main"}, ("spec.artifact.uri", "use pvc://CLAIM/PATH")),
    Mistake("a digest without algorithm", {"baseModel.digest": "0" * 64}, ("spec.baseModel.digest", "sha256:")),
    Mistake("a digest that is cut", {"dataset.inline.digest": DIGEST[:-1]}, ("spec.dataset.inline.digest", "sha256:")),
    Mistake("credentials for a volume", {"baseModel.credentialsSecretRef": {"name": "t"}}, ("credentialsSecretRef", "remove it")),
    Mistake("no artifact", {"artifact": ABSENT}, ("spec.artifact", "Required")),
    *(
        Mistake(f"a tracker at {uri}", {"tracking.mlflow.uri": uri}, ("spec.tracking.mlflow.uri", "write http://HOST[:PORT][/PATH]"))
        for uri in (
            "mlflow.mlops:5000",
            "//mlflow.mlops",
            "file:///mlruns",
            "databricks://profile",
            "http://user:word@mlflow.mlops",
            "http://mlflow.mlops@elsewhere.test",
            "http://mlflow.mlops\\@elsewhere.test",
            "http://mlflow.mlops#@elsewhere.test",
            "http://mlflow.mlops/?workspace=a",
            "http://mlflow.mlops/%2e%2e",
            "http://mlflow.mlops\n",
            "http://[::1]:5000",
            "http://mlflow.mlops:65536",
        )
    ),
    Mistake("a tracker of no kind", {"tracking": {}}, ("spec.tracking.mlflow", "Required")),
    Mistake("an experiment that nobody can read", {"tracking.mlflow": {"uri": "http://m", "experiment": "a\nb"}}, ("experiment",)),
    # The data
    Mistake("two datasets", {"dataset.ref": {"name": "tickets"}}, ("spec.dataset", "exactly one", "remove the other")),
    Mistake("no dataset", {"dataset.inline": ABSENT}, ("spec.dataset", "exactly one", "set one")),
    Mistake("two validations", {"dataset.validation": {"percent": 5, "uri": "pvc://d/v"}}, ("spec.dataset.validation", "remove percent")),
    Mistake("an empty validation", {"dataset.validation": {}}, ("spec.dataset.validation", "needs percent", "or uri")),
    Mistake("most rows held out", {"dataset.validation.percent": 80}, ("spec.dataset.validation.percent", "less than or equal to 50")),
    Mistake("validating on the training data", {"dataset.validation.uri": "pvc://data/tickets.jsonl"}, ("validation", "rows of their own")),
    Mistake("evaluating on the training data", {"evaluation.dataset.uri": "pvc://data/tickets.jsonl"}, ("evaluation", "held-out items")),
    Mistake(
        "a format for a share", {"dataset.validation": {"percent": 5, "format": "Text"}}, ("validation.format", "remove it, or set uri")
    ),
    Mistake("an unknown format", {"dataset.inline.format": "OpenAI"}, ("spec.dataset.inline.format", '"Messages"')),
    # How it is trained
    Mistake("epochs and steps", {"training.epochs": 1, "training.maxSteps": 5}, ("spec.training.maxSteps", "not both: remove one")),
    Mistake("no epochs at all", {"training.epochs": 0}, ("spec.training.epochs", "above 0")),
    Mistake("a learning rate of nought", {"training.learningRate": "0"}, ("spec.training.learningRate", 'for example "2e-4"')),
    Mistake("a learning rate of one", {"training.learningRate": "1.0"}, ("spec.training.learningRate", "below 1")),
    Mistake("an unquoted learning rate", {"training.learningRate": 2e-4}, ("spec.training.learningRate", "must be of type string")),
    Mistake("a learning rate in words", {"training.learningRate": "high"}, ("spec.training.learningRate", "should match")),
    Mistake("a whole warm-up", {"training.warmupFraction": "1"}, ("spec.training.warmupFraction", "below 1")),
    Mistake("no gradient norm", {"training.maxGradientNorm": "0"}, ("spec.training.maxGradientNorm", "above 0")),
    Mistake("micro over batch", {"training.batchSize": 4, "training.microBatchSize": 8}, ("microBatchSize", "must not exceed batchSize")),
    Mistake("micro that divides not", {"training.batchSize": 32, "training.microBatchSize": 5}, ("microBatchSize", "choose a divisor")),
    Mistake("early stopping blind", {"training.earlyStopping": {}, "dataset.validation.percent": 0}, ("earlyStopping", "percent above 0")),
    Mistake("a field as argument", {"training.extraArguments": {"learning_rate": "1"}}, ("extraArguments", "set the field")),
    Mistake("remote code", {"training.extraArguments": {"trust_remote_code": "true"}}, ("extraArguments", "remove it")),
    Mistake("half precision without GPU", {"training.precision": "FP16"}, ("spec.training.precision", "set resources.gpusPerNode")),
    Mistake("a misspelt field", {"training.learningrate": "1e-4"}, ("spec.training.learningrate", "unknown field")),
    # Raw text
    Mistake("raw text, assistant loss", {**CPT, "training.lossOn": "Assistant"}, ("spec.training.lossOn", "set training.lossOn to All")),
    Mistake("raw text of messages", {**CPT, "dataset.inline.format": "Messages"}, ("spec.dataset.inline.format", "or use stage SFT")),
    Mistake("answers of raw text", {"dataset.inline.format": "Text"}, ("spec.dataset.inline.format", "use stage ContinuedPretraining")),
    Mistake("JSON of raw text", {**CPT, "evaluation.metrics": ["JSONValidity"]}, ("spec.evaluation.metrics", "Perplexity only")),
    Mistake("a schema of raw text", {**CPT, **SCHEMA}, ("spec.task.outputSchema", "remove it")),
    # How it is judged
    Mistake("an unknown metric", {"evaluation.metrics": ["Accuracy"]}, ("spec.evaluation.metrics[0]", '"ExactMatch"', '"Perplexity"')),
    Mistake("a metric twice", {"evaluation.metrics": ["ExactMatch", "ExactMatch"]}, ("spec.evaluation.metrics", "Duplicate")),
    Mistake("compliance without schema", {"evaluation.metrics": ["SchemaCompliance"]}, ("evaluation.metrics", "task.outputSchema: add it")),
    Mistake(
        "a gate on a metric that is not measured",
        {"evaluation.metrics": ["ExactMatch"], "evaluation.gates.improvement.metric": "Perplexity"},
        ("spec.evaluation.gates", "choose a metric that is measured"),
    ),
    Mistake(
        "a gate that needs a schema",
        {"evaluation.gates.improvement.metric": "SchemaCompliance"},
        ("spec.evaluation.gates", "need task.outputSchema: add it"),
    ),
    Mistake(
        "an impossible margin",
        {"evaluation.gates.improvement": {"metric": "ExactMatch", "minDelta": "1.5"}},
        ("spec.evaluation.gates.improvement.minDelta", "below 1"),
    ),
    Mistake("a judge that nobody named", {"evaluation.metrics": ["Judge"]}, ("spec.evaluation.judge", "needs evaluation.judge")),
    Mistake("a gate by a judge that nobody named", {"evaluation.gates.improvement.metric": "Judge"}, ("spec.evaluation.judge", "needs")),
    Mistake(
        "a judge that is not asked", {"evaluation.metrics": ["ExactMatch"], "evaluation.judge": JUDGE}, ("add Judge to evaluation.metrics",)
    ),
    Mistake("a judge of raw text", {**CPT, "evaluation.judge": JUDGE}, ("spec.evaluation.judge", "remove it")),
    Mistake(
        "a judge in other words", {"evaluation.judge": {**JUDGE, "endpoint": "judge/v1"}}, ("spec.evaluation.judge.endpoint", "http://HOST")
    ),
    Mistake(
        "a password in an address",
        {"evaluation.judge": {**JUDGE, "endpoint": "http://me:secret@judge/v1"}},
        ("spec.evaluation.judge.endpoint", "no user"),
    ),
    Mistake("nothing to evaluate on", {"dataset.validation.percent": 0}, ("spec.evaluation", "evaluation.metrics to []")),
    # Where it runs, and how
    Mistake(
        "a request above the limit",
        {"resources": {"requests": {"memory": "8Gi"}, "limits": {"memory": "4096Mi"}}},
        ("spec.resources.requests", "must not exceed resources.limits.memory"),
    ),
    Mistake(
        "scratch space above the limit",
        {"resources": {"requests": {"ephemeral-storage": "8Gi"}, "limits": {"ephemeral-storage": "1Gi"}}},
        ("spec.resources.requests", "must not exceed resources.limits.ephemeral-storage"),
    ),
    Mistake("a quantity with a space", {"resources.limits": {"memory": "8 GB"}}, ("spec.resources.limits.memory", "should match")),
    Mistake("a GPU as a request", {"resources.limits": {"nvidia.com/gpu": 1}}, ("spec.resources.limits.nvidia.com/gpu", "unknown field")),
    Mistake("a label that is none", {"resources.nodeSelector": {"a b": "c"}}, ("spec.resources.nodeSelector", "label names")),
    Mistake("cores for accelerators", {"resources.gpuResourceName": "cpu"}, ("spec.resources.gpuResourceName", "such as nvidia.com/gpu")),
    Mistake("memory of no GPU", {"resources.gpuMemory": "80Gi"}, ("spec.resources.gpuMemory", "set gpusPerNode")),
    Mistake(
        "a toleration with too much",
        {"resources.tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]},
        ("spec.resources.tolerations[0]", "remove value"),
    ),
    Mistake("a toleration with too little", {"resources.tolerations": [{"value": "yes"}]}, ("spec.resources.tolerations[0]", "Exists")),
    Mistake("several nodes", {"resources.nodes": 2}, ("spec.resources.nodes", "unknown field")),
    Mistake("a history without end", {"runPolicy.failedRunsHistoryLimit": 1000}, ("spec.runPolicy.failedRunsHistoryLimit", "20")),
    Mistake("an unknown concurrency", {"runPolicy.concurrency": "Allow"}, ("spec.runPolicy.concurrency", '"QueueLatest"', '"Replace"')),
    Mistake("a queue that is no label", {"queueName": "gpu a100"}, ("spec.queueName", "should match")),
    Mistake("a name with dots", {}, ("metadata.name", "no dots"), name="ticket.router"),
    Mistake("a name too long for a label", {}, ("metadata.name", "at most 63"), name="t" * 64),
]


@pytest.fixture(scope="module")
def server(t1: Testbed) -> Any:
    with ApiServer(t1) as connection:
        install(connection)
        yield connection


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.says)
def test_a_mistake_is_refused_with_field_and_remedy(server: ApiServer, mistake: Mistake) -> None:
    with pytest.raises(RequestError) as refusal:
        server.request("POST", STRICT, job(mistake.name, mistake.changes))
    message = str(refusal.value)
    assert refusal.value.status in (400, 422), message
    for word in mistake.words:
        assert word in message


ROOT = Path(__file__).resolve().parents[2]


def examples() -> list[Any]:
    """Every FineTuneJob that users are invited to copy: from examples/ and from the README."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").rglob("*.yaml"))]
    texts += [
        textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    ]
    documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
    return [document for document in documents if document["kind"] == "FineTuneJob"]


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["metadata"]["name"])
def test_what_users_are_invited_to_copy_is_accepted(server: ApiServer, example: dict[str, Any]) -> None:
    metadata = {key: value for key, value in example["metadata"].items() if key != "namespace"}
    assert server.request("POST", STRICT, {**example, "metadata": metadata})["spec"]["artifact"]["uri"]


ACCEPTED = [
    {},
    {"baseModel.uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct@main", "baseModel.credentialsSecretRef": {"name": "hub"}},
    {"training.epochs": 3},
    {"training.epochs": "0.5", "training.learningRate": "2e-4", "training.microBatchSize": 8},
    {"tuner": {"type": "Full"}, "training.maxSteps": 10},
    {"tuner": {"type": "QLoRA", "lora": {"rank": 8}, "quantization": {"doubleQuantization": False}}},
    {"stage": "ContinuedPretraining", "dataset.inline.format": "Text", "evaluation.metrics": ["Perplexity"]},
    {"stage": "ContinuedPretraining", "training.lossOn": "All", "evaluation.gates.improvement.metric": "Perplexity"},
    {"dataset.validation": {"uri": "pvc://data/held-out.jsonl", "format": "Messages"}, "training.earlyStopping": {}},
    {"dataset.validation.percent": 0, "evaluation.metrics": []},
    {"dataset.validation.percent": 0, "evaluation.dataset.uri": "pvc://data/items.jsonl"},
    {"evaluation.judge": {**JUDGE, "credentialsSecretRef": {"name": "judge"}}},
    {"evaluation.judge": JUDGE, "evaluation.metrics": ["Judge", "ExactMatch"], "evaluation.gates.improvement.metric": "Judge"},
    {"dataset.inline.uri": "pvc://data/2026..11/tickets.v1.jsonl"},
    {
        "task": {"type": "Format", "outputSchema": {"configMapRef": {"name": "routing"}}},
        "evaluation": {
            "metrics": ["JSONValidity", "SchemaCompliance", "FieldCompleteness", "ExactMatch"],
            "gates": {"improvement": {"metric": "SchemaCompliance", "minDelta": "0.05"}},
        },
    },
    {
        "resources": {
            "gpusPerNode": 1,
            "gpuMemory": "80Gi",
            "requests": {"cpu": 4, "memory": "16Gi", "ephemeral-storage": "20Gi"},
            "limits": {"cpu": "8", "memory": "16384Mi"},
            "nodeSelector": {"nvidia.com/gpu.product": "A100"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "runtimeClassName": "nvidia",
        },
        "training.precision": "FP16",
        "queueName": "gpu-a100",
    },
    {"training.extraArguments": {"adam_beta2": "0.95"}, "workspace.claimName": "scratch", "suspend": True, "rerun": "again"},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=lambda changes: ",".join(changes) or "the smallest one")
def test_what_is_meant_is_accepted(server: ApiServer, changes: dict[str, Any]) -> None:
    stored = server.request("POST", STRICT, job(changes=changes))
    assert stored["spec"]["artifact"]["uri"]
