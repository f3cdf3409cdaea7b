"""What a run has to do: the one document the operator hands to every step of a run.

It is mounted read-only from an immutable ConfigMap at ``RUN_SPEC_PATH``. It names *declared* things, already defaulted; what only the pod
can find out (a base model's digest, the size of a dataset) comes back in the step's result.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from finetune_trainer.contract.base import Decimal, Digest, Document, Named

RUN_SPEC_PATH = "/etc/finetune/run/run.json"
OUTPUT_SCHEMA_PATH = "/etc/finetune/schema/schema.json"
BASE_CREDENTIALS_PATH = "/etc/finetune/credentials/base"
TRACKER_CREDENTIALS_PATH = "/etc/finetune/credentials/tracker"
"""A folder with files named by `TRACKER_CREDENTIALS`, of those that there are."""
TRACKER_CREDENTIALS = ("token", "username", "password", "ca.crt")
JUDGE_CREDENTIALS_PATH = "/etc/finetune/credentials/judge"
BASE_MOUNT = "/mnt/base"
DATA_MOUNT = "/mnt/data"
VALIDATION_MOUNT = "/mnt/validation"
EVALUATION_MOUNT = "/mnt/evaluation"
WORK_MOUNT = "/workspace"
OUT_MOUNT = "/out"
ARTIFACT_MOUNT = "/artifact"
RECORD_MOUNT = "/etc/finetune/record"
"""Where publish finds what the operator has signed about a governed run, in files of the names that they are published under."""
ORDER_PATH = "/etc/finetune/order/order.json"
"""Where the preflight of a governed run finds by what it was let begin."""
RECORD_FILE = "record.dsse.json"
MODEL_SIGNATURE_FILE = "model.sig"
PROGRESS_PORT = 9400


class Step(StrEnum):
    """The steps of a run, in order; each is one pod."""

    PREPARE = "prepare"
    TRAIN = "train"
    PUBLISH = "publish"


class Stage(StrEnum):
    SFT = "SFT"
    CONTINUED_PRETRAINING = "ContinuedPretraining"


class TunerType(StrEnum):
    FULL = "Full"
    LORA = "LoRA"
    QLORA = "QLoRA"
    DORA = "DoRA"
    RSLORA = "RSLoRA"


class DataFormat(StrEnum):
    AUTO = "Auto"
    MESSAGES = "Messages"
    SHAREGPT = "ShareGPT"
    ALPACA = "Alpaca"
    PROMPT_COMPLETION = "PromptCompletion"
    TEXT = "Text"


class TaskType(StrEnum):
    STYLE = "Style"
    FORMAT = "Format"
    VOCABULARY = "Vocabulary"
    CLASSIFICATION = "Classification"
    INSTRUCTION = "Instruction"


class Metric(StrEnum):
    """What an evaluation can measure; every metric but Perplexity is better when higher."""

    JSON_VALIDITY = "JSONValidity"
    SCHEMA_COMPLIANCE = "SchemaCompliance"
    FIELD_COMPLETENESS = "FieldCompleteness"
    EXACT_MATCH = "ExactMatch"
    PERPLEXITY = "Perplexity"
    JUDGE = "Judge"


class LossOn(StrEnum):
    ASSISTANT = "Assistant"
    COMPLETION = "Completion"
    ALL = "All"


class Precision(StrEnum):
    AUTO = "Auto"
    BF16 = "BF16"
    FP16 = "FP16"
    FP32 = "FP32"


class RunIdentity(Document):
    """Which run of which FineTuneJob this is."""

    key: str = Field(pattern=r"^[0-9a-f]{64}$", description="Run key: hash of the declared, result-defining fields.")
    name: str = Field(max_length=63, description="Name of the run's children without their step suffix.")
    number: int = Field(ge=1)
    job_namespace: str = Field(max_length=63)
    job_name: str = Field(max_length=253)
    job_uid: str = Field(max_length=63)
    labels: dict[str, str] = Field(default_factory=dict, description="Governance labels that travel to the artifact.")


class BaseModelSource(Document):
    """Where the base model comes from; ``path`` is set when a claim is mounted, else the prepare step fetches ``uri``."""

    uri: str = Field(max_length=2048)
    path: str | None = Field(default=None, max_length=4096, description="Folder inside the pod, for pvc:// sources.")
    digest: Digest | None = None
    licence: str | None = Field(default=None, max_length=128)


class DataSource(Document):
    uri: str = Field(max_length=2048)
    path: str = Field(max_length=4096, description="File or folder inside the pod.")
    format: DataFormat = DataFormat.AUTO
    digest: Digest | None = None


class Validation(Document):
    """Held-out rows: a share of the dataset, or a dataset of its own."""

    percent: int | None = Field(default=None, ge=1, le=50)
    source: DataSource | None = None


class Task(Document):
    type: TaskType = TaskType.INSTRUCTION
    output_schema_path: str | None = Field(default=None, max_length=4096, description="JSON Schema the answers must satisfy.")


class Lora(Document):
    rank: int = Field(default=16, ge=1, le=512)
    alpha: int = Field(default=32, ge=1, le=2048)
    dropout: Decimal = "0"
    target_modules: list[str] = Field(default_factory=lambda: ["all-linear"], min_length=1, max_length=64)
    modules_to_save: list[str] = Field(default_factory=list, max_length=16)


class Quantization(Document):
    type: Literal["NF4"] = "NF4"
    double_quantization: bool = True


class Tuner(Document):
    type: TunerType
    lora: Lora | None = None
    quantization: Quantization | None = None


class Training(Document):
    """How to train. ``epochs`` or ``max_steps``, never both; unset numbers take the method's default in the prepare step."""

    epochs: Decimal | None = None
    max_steps: int | None = Field(default=None, ge=1)
    learning_rate: Decimal | None = None
    scheduler: Literal["Cosine", "Linear", "Constant"] = "Cosine"
    warmup_fraction: Decimal = "0.05"
    weight_decay: Decimal = "0"
    max_gradient_norm: Decimal = "1.0"
    batch_size: int = Field(default=32, ge=1, description="Effective: examples per optimizer step.")
    micro_batch_size: int | None = Field(default=None, ge=1, description="Examples per forward pass; unset finds what fits.")
    max_sequence_length: int = Field(default=2048, ge=8, le=1_048_576)
    packing: bool = False
    gradient_checkpointing: bool = False
    loss_on: LossOn = LossOn.ASSISTANT
    precision: Precision = Precision.AUTO
    early_stopping_patience: int | None = Field(default=None, ge=1)
    evaluate_every_steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    extra_arguments: dict[str, Any] = Field(default_factory=dict, max_length=64)


class Improvement(Document):
    """The tuned model must beat the base on ``metric`` by at least ``min_delta`` (metrics are shares from 0 to 1)."""

    metric: Metric
    min_delta: Decimal = "0"


class Judge(Document):
    """Who compares the answers of base and tuned: a model behind an OpenAI-compatible endpoint; its token, if any, is mounted."""

    endpoint: str = Field(max_length=512, description="Base URL, to which /chat/completions is added.")
    model: str = Field(max_length=128)


class Evaluation(Document):
    metrics: list[Metric] = Field(default_factory=list, max_length=16)
    source: DataSource | None = Field(default=None, description="Held-out items; unset takes the validation split.")
    max_items: int = Field(default=200, ge=1, le=10_000)
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    judge: Judge | None = None
    improvement: Improvement | None = None
    on_inconclusive: Literal["Hold", "Fail", "Pass"] = "Hold"


class Checkpoint(Document):
    every_seconds: int = Field(default=600, ge=1)
    keep: int = Field(default=2, ge=1, le=100)


class DataThresholds(Document):
    max_dropped_percent: int = Field(default=10, ge=0, le=100)


class Resources(Document):
    """What the train step will have, so that prepare can say whether the run fits; ``None`` where no limit is set."""

    gpus: int = Field(default=0, ge=0, le=64)
    memory_bytes: int | None = Field(default=None, ge=1)
    gpu_memory_bytes: int | None = Field(default=None, ge=1)


class ArtifactTarget(Document):
    """Where publish puts the adapter; ``path`` is the mounted folder, the artifact lands in ``<path>/<digest hex>``."""

    uri: str = Field(max_length=2048)
    path: str = Field(max_length=4096)


class Progress(Document):
    """How the progress server recognises the operator: it holds the hash of a bearer token, never the token."""

    token_digest: Digest | None = None


class Tracking(Document):
    """An MLflow tracking server, and the experiment there that the run belongs to."""

    uri: str = Field(pattern=r"^https?://", max_length=1024)
    experiment: str = Field(min_length=1, max_length=320)


class RunSpec(Named):
    """Everything a run does, for all of its steps and attempts."""

    kind: Literal["RunSpec"] = "RunSpec"
    run: RunIdentity
    base_model: BaseModelSource
    dataset: DataSource
    validation: Validation = Validation(percent=10)
    thresholds: DataThresholds = DataThresholds()
    task: Task = Task()
    stage: Stage = Stage.SFT
    tuner: Tuner
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint = Checkpoint()
    resources: Resources = Resources()
    artifact: ArtifactTarget
    progress: Progress = Progress()
    tracking: Tracking | None = None
