"""What a user asks for: ``FineTuneJob.spec``.

Whatever one object can decide alone is a bound or a CEL rule here, with a message that says what to do; what depends on another field is
in ``defaults``; what needs the cluster is a condition later.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from finetune_operator.api import rules
from finetune_operator.api.base import ApiModel
from finetune_operator.api.markers import ListAtomic, ListSet, MapAtomic, Rule, UnstoredDefault
from finetune_operator.api.scalars import (
    ContentDigest,
    Epochs,
    Fraction,
    LabelValue,
    LearningRate,
    ObjectName,
    PositiveDecimal,
    QualifiedName,
    Quantity,
)
from finetune_operator.api.uris import HttpUri, ModelUri, PvcUri
from finetune_trainer.contract import DataFormat, LossOn, Metric, Precision, Stage, TaskType, TunerType
from finetune_trainer.contract.governance.vocabulary import LabelWord


class LocalObjectReference(ApiModel):
    name: ObjectName = Field(description="Name of an object in this namespace.")


class BaseModelSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.BASE_MODEL

    uri: ModelUri = Field(description="pvc://CLAIM/PATH or hf://ORG/NAME@REVISION.")
    digest: ContentDigest | None = Field(default=None, description="Expected digest of the model's files; the prepare step refuses others.")
    licence: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="SPDX identifier or name; read from the model's own files when absent."
    )
    credentials_secret_ref: LocalObjectReference | None = Field(
        default=None, description="Secret whose key `token` opens a gated model on the hub; hf:// only. Mounted as a file, never read here."
    )


class InlineDataset(ApiModel):
    uri: PvcUri = Field(description="pvc://CLAIM/PATH of a file, or of a folder whose files are read in order of their names.")
    format: DataFormat = Field(default=DataFormat.AUTO, description="How rows are spelled; Auto recognises it and reports why.")
    digest: ContentDigest | None = Field(default=None, description="Expected digest of the files; the prepare step refuses others.")


class ValidationSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.VALIDATION

    percent: Annotated[int, Field(ge=0, le=50)] | None = Field(
        default=None, description="Share of the dataset's rows to hold out, in percent; 0 holds out none."
    )
    uri: PvcUri | None = Field(default=None, description="pvc://CLAIM/PATH of rows of their own, instead of a share.")
    format: DataFormat | None = Field(default=None, description="How the rows behind uri are spelled; Auto when absent.")
    digest: ContentDigest | None = Field(
        default=None, description="Expected digest of the files behind uri; the prepare step refuses others."
    )


class DatasetSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.DATASET

    ref: LocalObjectReference | None = Field(
        default=None, description="A TrainingDataset of this namespace: registered data with their classification; or inline."
    )
    inline: InlineDataset | None = Field(default=None, description="Where the rows are; or ref.")
    validation: Annotated[ValidationSpec, UnstoredDefault()] = Field(
        default=ValidationSpec(percent=10), description="Rows held out from training: percent or uri; when absent, 10 percent."
    )
    max_dropped_percent: Annotated[int, Field(ge=0, le=100)] = Field(
        default=10, description="More unusable rows than this share, in percent, and the dataset is rejected."
    )

    @model_validator(mode="after")
    def _leads_to_rows(self) -> Self:
        """What the definition's rule says, for objects stored without it; a spec whose reference was followed has both."""
        if self.ref is None and self.inline is None:
            raise ValueError(rules.DATASET[0].message)
        return self

    @property
    def rows(self) -> InlineDataset:
        """Where the rows are, of a spec whose reference was followed: only such a spec is made into pods."""
        assert self.inline is not None, "a reference is followed before anything is made of it"
        return self.inline


class ConfigMapKeyReference(ApiModel):
    name: ObjectName = Field(description="Name of a ConfigMap in this namespace.")
    key: Annotated[str, Field(pattern=r"^[-._A-Za-z0-9]+$", min_length=1, max_length=253)] = Field(
        default="schema.json", description="Key that holds the document."
    )


class OutputSchema(ApiModel):
    config_map_ref: ConfigMapKeyReference = Field(description="ConfigMap that holds a JSON Schema.")


class TaskSpec(ApiModel):
    type: TaskType = Field(
        default=TaskType.INSTRUCTION, description="What the model is to learn; sets the smallest useful dataset and the default metrics."
    )
    output_schema: OutputSchema | None = Field(default=None, description="JSON Schema that answers, and targets of the dataset, satisfy.")


class LoraSpec(ApiModel):
    rank: Annotated[int, Field(ge=1, le=512)] = Field(default=16, description="Rank of the update matrices.")
    alpha: Annotated[int, Field(ge=1, le=2048)] = Field(default=32, description="Scale of the update; RSLoRA divides it by sqrt(rank).")
    dropout: Fraction = Field(default="0", description="Dropout before the update matrices, 0 to below 1.")
    target_modules: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(min_length=1, max_length=64), ListSet()] = (
        Field(default=["all-linear"], description="Names of the modules to adapt; all-linear takes every linear layer but the head.")
    )
    modules_to_save: Annotated[list[Annotated[str, Field(min_length=1, max_length=128)]], Field(max_length=16), ListSet()] = Field(
        default=[], description="Modules trained in full beside the adapter and saved with it, such as embed_tokens."
    )


class QuantizationSpec(ApiModel):
    type: Literal["NF4"] = Field(default="NF4", description="Data type of the frozen base weights.")
    double_quantization: bool = Field(default=True, description="Quantize the quantization constants too: about 0.4 bit per weight less.")


class TunerSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.TUNER

    type: TunerType = Field(default=TunerType.LORA, description="What is trained: all weights, or an adapter of which kind.")
    lora: LoraSpec | None = Field(default=None, description="Shape of the adapter; every type but Full.")
    quantization: QuantizationSpec | None = Field(default=None, description="How QLoRA holds the base model.")


class EarlyStopping(ApiModel):
    patience: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Stop after this many evaluations of the validation loss without improvement, and keep the best weights."
    )


class TrainingSpec(ApiModel):
    """How to train; what is unset takes the default of tuner and device in the prepare step, which reports it."""

    RULES: ClassVar[tuple[Rule, ...]] = rules.TRAINING

    epochs: Epochs | None = Field(default=None, description='Passes over the dataset, such as 3 or "0.5"; or maxSteps.')
    max_steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(default=None, description="Optimizer steps; or epochs.")
    learning_rate: LearningRate | None = Field(default=None, description='Peak learning rate as quoted text, such as "2e-4".')
    scheduler: Literal["Cosine", "Linear", "Constant"] = Field(default="Cosine", description="How the learning rate falls after warm-up.")
    warmup_fraction: Fraction = Field(default="0.05", description="Share of the steps in which the learning rate rises.")
    weight_decay: Fraction = Field(default="0", description="Decoupled weight decay of AdamW.")
    max_gradient_norm: PositiveDecimal = Field(default="1.0", description="Gradients are clipped to this norm.")
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = Field(default=32, description="Examples per optimizer step.")
    micro_batch_size: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        default=None,
        description="Examples per forward pass; when absent the largest that fits is found. Does not change the result's meaning.",
    )
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = Field(
        default=2048, description="Tokens per example; longer ones are cut, and the report says how many."
    )
    packing: bool | None = Field(
        default=None, description="Put several examples into one sequence; when absent, true for ContinuedPretraining and false for SFT."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations twice instead of keeping them: less memory, slower."
    )
    loss_on: LossOn | None = Field(
        default=None, description="Which tokens are learnt; when absent, Assistant for SFT and All for ContinuedPretraining."
    )
    precision: Precision = Field(
        default=Precision.AUTO, description="Number format of the computation; Auto takes what the device does well."
    )
    early_stopping: EarlyStopping | None = Field(default=None, description="Stop when the validation loss no longer improves.")
    evaluate_every_steps: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        default=None, description="Steps between two measurements of the validation loss; when absent, once per epoch."
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(default=42, description="Seed of every random choice of the run.")
    extra_arguments: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32), MapAtomic()] = Field(
        default={},
        description="Further arguments of the trainer's configuration class; values as text, read as JSON if they are. Checked first.",
    )


class HeldOutItems(ApiModel):
    uri: PvcUri = Field(description="pvc://CLAIM/PATH of the items; those that also occur in the training data are left out.")
    format: DataFormat = Field(default=DataFormat.AUTO, description="How the items are spelled.")
    digest: ContentDigest | None = Field(default=None, description="Expected digest of the files; the prepare step refuses others.")


class JudgeSpec(ApiModel):
    endpoint: HttpUri = Field(
        description="Base URL of an OpenAI-compatible API, such as http://judge.models:8000/v1; the train step's pod asks it, nobody else."
    )
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", min_length=1, max_length=128)] = Field(
        description="Name of the model there, as the API knows it."
    )
    credentials_secret_ref: LocalObjectReference | None = Field(
        default=None,
        description="Secret whose key `token` opens the endpoint, and whose key `ca.crt` may hold the authorities that its certificate is "
        "checked by. Mounted as files, never read here.",
    )


class Improvement(ApiModel):
    metric: Metric = Field(description="The metric that decides.")
    min_delta: Fraction = Field(
        default="0", description="How much better than the base model, as a share from 0 to below 1; for Perplexity, the relative decrease."
    )


class Gates(ApiModel):
    improvement: Improvement | None = Field(default=None, description="The tuned model must beat the base model on the same items.")


class EvaluationSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.EVALUATION

    metrics: Annotated[list[Metric], Field(max_length=6), ListSet()] | None = Field(
        default=None,
        description="What to measure on base and tuned model; when absent, what suits the task; an empty list measures nothing.",
    )
    dataset: HeldOutItems | None = Field(default=None, description="Held-out items; when absent, the validation rows.")
    max_items: Annotated[int, Field(ge=1, le=10_000)] = Field(default=200, description="At most so many items are answered.")
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(default=256, description="Length limit of an answer, in tokens.")
    judge: JudgeSpec | None = Field(
        default=None,
        description="The model that the metric Judge asks which of two answers is better; questions and answers go there, in both orders.",
    )
    gates: Gates | None = Field(default=None, description="What must hold before the adapter counts as ready.")
    on_inconclusive: Literal["Hold", "Fail", "Pass"] = Field(
        default="Hold", description="What an interval that covers the threshold means: wait for a person, reject, or accept."
    )


class ComputeResources(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.COMPUTE

    cpu: Quantity | None = Field(default=None, description="Processor cores.")
    memory: Quantity | None = Field(default=None, description="Host memory.")
    ephemeral_storage: Quantity | None = Field(default=None, alias="ephemeral-storage", description="Space on the node's own disk.")


class Toleration(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.TOLERATION

    key: QualifiedName | None = Field(default=None, description="Key of the taint; absent with operator Exists tolerates every taint.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="How key and value are compared.")
    value: LabelValue | None = Field(default=None, description="Value of the taint; operator Equal only.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; absent: all."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="How long a NoExecute taint is tolerated, in seconds."
    )


class ResourcesSpec(ApiModel):
    """What the train step's pod asks for, on one node; the prepare and publish steps never hold an accelerator."""

    RULES: ClassVar[tuple[Rule, ...]] = rules.RESOURCES

    gpus_per_node: Annotated[int, Field(ge=0, le=16)] = Field(default=0, description="Accelerators; 0 trains on the CPU.")
    gpu_resource_name: QualifiedName = Field(default="nvidia.com/gpu", description="The extended resource that counts accelerators.")
    gpu_memory: Quantity | None = Field(
        default=None, description="Memory of one accelerator, such as 80Gi: lets the estimate say whether it fits."
    )
    requests: ComputeResources | None = Field(default=None, description="What the scheduler reserves.")
    limits: ComputeResources | None = Field(default=None, description="What the pod may use at most.")
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16), MapAtomic()] = Field(
        default={}, description="Labels a node must have."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Taints the pod tolerates."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pod.")
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pod, such as nvidia.")


class CheckpointSpec(ApiModel):
    every_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=600, description="Seconds of training between two sealed checkpoints."
    )
    keep: Annotated[int, Field(ge=1, le=10)] = Field(default=2, description="Sealed checkpoints kept; older ones are removed.")


class ArtifactSpec(ApiModel):
    uri: PvcUri = Field(description="pvc://CLAIM/PATH of the folder that receives one folder per digest.")


class WorkspaceSpec(ApiModel):
    claim_name: ObjectName = Field(description="Claim that holds checkpoints and sealed data while a run lasts.")


class MlflowSpec(ApiModel):
    uri: HttpUri = Field(description="http://HOST[:PORT][/PATH] of an MLflow tracking server; the training pod dials it, nobody else does.")
    experiment: Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_. /]*$")] | None = Field(
        default=None, description="Experiment of the run, made where it is not there; when absent, NAMESPACE/NAME of this object."
    )
    credentials_secret_ref: LocalObjectReference | None = Field(
        default=None,
        description="Secret whose key `token`, or keys `username` and `password`, open the server, and whose key `ca.crt` holds the "
        "authorities that its certificate is checked by. Mounted as files, never read here.",
    )


class TrackingSpec(ApiModel):
    """Where people look at runs side by side: numbers, settings and digests, never text of a row."""

    mlflow: MlflowSpec = Field(description="An MLflow tracking server.")


class Concurrency(StrEnum):
    QUEUE_LATEST = "QueueLatest"
    REPLACE = "Replace"


class RunPolicy(ApiModel):
    concurrency: Concurrency = Field(
        default=Concurrency.QUEUE_LATEST,
        description="What a changed spec does to the run in progress: wait for its end (only the latest change counts), or replace it now. "
        "A run that is blocked, other than in a queue, gives way in either case.",
    )
    cancel: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=0, description="Number of the run to end now, see status.currentRun.number."
    )
    max_attempts: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3, description="Attempts of one step after infrastructure failures; preemptions do not count."
    )
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = Field(
        default=None, description="Limit of the running time over all attempts, in seconds; queued and suspended time does not count."
    )
    successful_runs_history_limit: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Successful runs kept in status.history."
    )
    failed_runs_history_limit: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Failed runs kept in status.history; the working files of a pruned one are removed."
    )


class HealthPolicy(StrEnum):
    WHEN_COMPLETE = "WhenComplete"
    WHEN_ACCEPTED = "WhenAccepted"


class FineTuneJobSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.SPEC

    base_model: BaseModelSpec = Field(description="The model to start from.")
    dataset: DatasetSpec = Field(description="What to learn from.")
    task: TaskSpec = Field(default=TaskSpec(), description="What the result is for.")
    stage: Stage = Field(default=Stage.SFT, description="How to learn: from conversations (SFT), or from raw text (ContinuedPretraining).")
    tuner: TunerSpec = Field(default=TunerSpec(), description="Which weights to learn.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How to train.")
    evaluation: EvaluationSpec = Field(default=EvaluationSpec(), description="How to compare the tuned model with the base model.")
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="What the train step's pod asks for.")
    queue_name: LabelValue | None = Field(default=None, description="Kueue LocalQueue that admits the train step's Job.")
    suspend: bool = Field(default=False, description="Hold the run: a running step seals a checkpoint and its pod ends.")
    checkpoint: CheckpointSpec = Field(default=CheckpointSpec(), description="When the train step seals its state.")
    artifact: ArtifactSpec = Field(description="Where the result goes.")
    tracking: TrackingSpec | None = Field(
        default=None, description="Where the training logs its metrics and settings; a tracker that does not answer stops nothing."
    )
    workspace: WorkspaceSpec | None = Field(
        default=None, description="Where runs keep working files; when absent, a hidden folder on the artifact's claim."
    )
    run_policy: RunPolicy = Field(default=RunPolicy(), description="How runs follow each other, are retried and remembered.")
    health_policy: HealthPolicy = Field(
        default=HealthPolicy.WHEN_COMPLETE,
        description="When Ready turns True: once the run is complete, or once the spec is accepted (for a deploy that must not wait).",
    )
    purpose: LabelWord | None = Field(
        default=None,
        description="What the result is for, in a word of the installation; registered data and policies may name those allowed.",
    )
    justification: Annotated[str, Field(max_length=1024)] = Field(
        default="",
        description="Why the job is run, for approvers and for the record; a policy may demand it. No secrets and no data: it is shown.",
    )
    rerun: Annotated[str, Field(max_length=64)] = Field(default="", description="Any new value asks for one new run of the same spec.")
