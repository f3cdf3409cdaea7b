"""The CEL rules that span fields: what a user can get wrong in one object, and what to do instead.

The API server evaluates them before anything is stored. A rule on an object prints its own path; ``field_path`` sharpens it. Messages name
the field and the remedy, because a rule at the root of the spec is printed without a path by some clients.
"""

from finetune_operator.api.markers import Rule

BASE_MODEL = (
    Rule(
        "!has(self.credentialsSecretRef) || self.uri.startsWith('hf://')",
        "credentialsSecretRef is used with hf:// only: remove it, or take the model from the hub",
        field_path=".credentialsSecretRef",
    ),
)

VALIDATION = (
    Rule(
        "!(has(self.percent) && has(self.uri))",
        "validation takes percent or uri, not both: remove percent to use the rows behind uri",
        field_path=".percent",
    ),
    Rule("has(self.percent) || has(self.uri)", "validation needs percent (0 for none) or uri"),
    Rule("!has(self.format) || has(self.uri)", "validation.format belongs to validation.uri: remove it, or set uri", field_path=".format"),
    Rule("!has(self.digest) || has(self.uri)", "validation.digest belongs to validation.uri: remove it, or set uri", field_path=".digest"),
)

DATASET = (
    Rule(
        "has(self.ref) != has(self.inline)",
        "dataset takes exactly one of ref (a TrainingDataset) and inline (uri, format): set one, and remove the other",
    ),
    Rule(
        "!has(self.inline) || !has(self.validation) || !has(self.validation.uri) || self.validation.uri != self.inline.uri",
        "validation.uri is the training data itself: give rows of their own, or hold out a share with validation.percent",
        field_path=".validation",
    ),
)

TUNER = (
    Rule(
        "!has(self.type) || self.type != 'Full' || !has(self.lora)",
        "tuner.lora (rank, alpha, …) has no meaning with type Full, which trains every weight: remove lora, or set type LoRA",
        field_path=".lora",
    ),
    Rule(
        "!has(self.quantization) || (has(self.type) && self.type == 'QLoRA')",
        "tuner.quantization is used with type QLoRA only: set type QLoRA, or remove quantization",
        field_path=".quantization",
    ),
)

TRAINING = (
    Rule("!(has(self.epochs) && has(self.maxSteps))", "training takes epochs or maxSteps, not both: remove one", field_path=".maxSteps"),
    Rule(
        "!has(self.microBatchSize) || !has(self.batchSize) || self.microBatchSize <= self.batchSize",
        "training.microBatchSize (examples per forward pass) must not exceed batchSize (examples per optimizer step)",
        field_path=".microBatchSize",
    ),
    Rule(
        "!has(self.microBatchSize) || !has(self.batchSize) || self.microBatchSize > self.batchSize || "
        "self.batchSize % self.microBatchSize == 0",
        "training.batchSize must be a multiple of microBatchSize: choose a divisor, or leave microBatchSize out to have it found",
        field_path=".microBatchSize",
    ),
    Rule(
        "!has(self.extraArguments) || self.extraArguments.all(k, k.matches('^[a-z][a-z0-9_]{0,63}$'))",
        "training.extraArguments are named as the trainer's configuration class spells them, such as adam_beta2",
        field_path=".extraArguments",
    ),
    Rule(
        "!has(self.extraArguments) || !self.extraArguments.exists(k, k in ['learning_rate', 'num_train_epochs', 'max_steps', 'seed', "
        "'data_seed', 'per_device_train_batch_size', 'gradient_accumulation_steps', 'warmup_ratio', 'warmup_steps', "
        "'weight_decay', 'max_grad_norm', 'max_length', 'packing', 'gradient_checkpointing', 'bf16', 'fp16', 'eval_steps', "
        "'save_steps', 'save_total_limit'])",
        "training.extraArguments must not repeat what has a field of its own (learningRate, epochs, batchSize, …): set the field",
        field_path=".extraArguments",
    ),
    Rule(
        "!has(self.extraArguments) || !self.extraArguments.exists(k, k in ['output_dir', 'logging_dir', 'resume_from_checkpoint', "
        "'push_to_hub', 'hub_token', 'hub_model_id', 'report_to', 'run_name', 'deepspeed', 'fsdp', 'fsdp_config', 'use_cpu', 'no_cuda', "
        "'local_rank', 'ddp_backend', 'trust_remote_code'])",
        "training.extraArguments must not hold what the operator decides (folders, devices, uploads, remote code): remove it",
        field_path=".extraArguments",
    ),
)

EVALUATION = (
    Rule(
        "!has(self.gates) || !has(self.gates.improvement) || !has(self.metrics) || self.gates.improvement.metric in self.metrics",
        "gates.improvement.metric must be one of evaluation.metrics: add it there, or choose a metric that is measured",
        field_path=".gates",
    ),
    Rule(
        "has(self.judge) || ((!has(self.metrics) || !('Judge' in self.metrics)) && "
        "(!has(self.gates) || !has(self.gates.improvement) || self.gates.improvement.metric != 'Judge'))",
        "the metric Judge needs evaluation.judge (endpoint and model): add it, or choose another metric",
        field_path=".judge",
    ),
    Rule(
        "!has(self.judge) || !has(self.metrics) || 'Judge' in self.metrics",
        "evaluation.judge is asked for the metric Judge only: add Judge to evaluation.metrics, or remove judge",
        field_path=".judge",
    ),
)

COMPUTE = (
    Rule("!has(self.cpu) || isQuantity(string(self.cpu))", "cpu must be a quantity such as 4 or 500m", field_path=".cpu"),
    Rule("!has(self.memory) || isQuantity(string(self.memory))", "memory must be a quantity such as 16Gi", field_path=".memory"),
)

TOLERATION = (
    Rule(
        "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
        "a toleration with operator Exists takes no value: remove value, or set operator Equal",
    ),
    Rule("has(self.key) || (has(self.operator) && self.operator == 'Exists')", "a toleration without key needs operator Exists"),
    Rule(
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds needs effect NoExecute",
    ),
)


def _request_within_limit(field: str) -> Rule:
    access = field.replace("-", "__dash__")
    request, limit = f"self.requests.{access}", f"self.limits.{access}"
    return Rule(
        f"!has(self.requests) || !has(self.limits) || !has({request}) || !has({limit}) || !isQuantity(string({request})) || "
        f"!isQuantity(string({limit})) || quantity(string({request})).compareTo(quantity(string({limit}))) <= 0",
        f"resources.requests.{field} must not exceed resources.limits.{field}",
        field_path=".requests",
    )


RESOURCES = (
    *(_request_within_limit(field) for field in ("cpu", "memory", "ephemeral-storage")),
    Rule(
        "!has(self.nodeSelector) || self.nodeSelector.all(k, size(k) <= 316 && k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
        "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'))",
        "resources.nodeSelector keys are label names, such as nvidia.com/gpu.product",
        field_path=".nodeSelector",
    ),
    Rule(
        "!has(self.gpuResourceName) || self.gpuResourceName.contains('/')",
        "resources.gpuResourceName is an extended resource with its vendor's domain, such as nvidia.com/gpu",
        field_path=".gpuResourceName",
    ),
    Rule(
        "!has(self.gpuMemory) || (has(self.gpusPerNode) && self.gpusPerNode > 0)",
        "resources.gpuMemory describes an accelerator, but gpusPerNode is 0: set gpusPerNode, or remove gpuMemory",
        field_path=".gpuMemory",
    ),
    Rule(
        "!has(self.gpuMemory) || isQuantity(string(self.gpuMemory))",
        "resources.gpuMemory must be a quantity such as 80Gi",
        field_path=".gpuMemory",
    ),
)

_PRETRAINS = "self.stage == 'ContinuedPretraining'"
_NO_VALIDATION = "has(self.dataset.validation) && has(self.dataset.validation.percent) && self.dataset.validation.percent == 0"
_ANSWER_METRICS = "['JSONValidity', 'SchemaCompliance', 'FieldCompleteness', 'ExactMatch', 'Judge']"

SPEC = (
    Rule(
        "!has(self.evaluation.metrics) || has(self.task.outputSchema) || "
        "!self.evaluation.metrics.exists(m, m in ['SchemaCompliance', 'FieldCompleteness'])",
        "evaluation.metrics SchemaCompliance and FieldCompleteness need task.outputSchema: add it, or drop these metrics",
        field_path=".evaluation.metrics",
    ),
    Rule(
        "!has(self.evaluation.gates) || !has(self.evaluation.gates.improvement) || has(self.task.outputSchema) || "
        "!(self.evaluation.gates.improvement.metric in ['SchemaCompliance', 'FieldCompleteness'])",
        "gates.improvement.metric SchemaCompliance and FieldCompleteness need task.outputSchema: add it, or gate on another metric",
        field_path=".evaluation.gates",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.training.lossOn) || self.training.lossOn == 'All'",
        "stage ContinuedPretraining learns every token: set training.lossOn to All, or leave it out",
        field_path=".training.lossOn",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.dataset.inline) || self.dataset.inline.format in ['Auto', 'Text']",
        "stage ContinuedPretraining reads raw text: set dataset.inline.format to Text or Auto, or use stage SFT for conversations",
        field_path=".dataset.inline.format",
    ),
    Rule(
        "self.stage != 'SFT' || !has(self.dataset.inline) || self.dataset.inline.format != 'Text'",
        "stage SFT learns answers, and Text has none: use stage ContinuedPretraining for raw text",
        field_path=".dataset.inline.format",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.evaluation.metrics) || !self.evaluation.metrics.exists(m, m in {_ANSWER_METRICS})",
        "stage ContinuedPretraining has no answers to compare: evaluation.metrics may hold Perplexity only",
        field_path=".evaluation.metrics",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.evaluation.gates) || !has(self.evaluation.gates.improvement) || "
        "self.evaluation.gates.improvement.metric == 'Perplexity'",
        "stage ContinuedPretraining has no answers to compare: evaluation.gates.improvement.metric must be Perplexity",
        field_path=".evaluation.gates",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.evaluation.judge)",
        "stage ContinuedPretraining has no answers that evaluation.judge could compare: remove it",
        field_path=".evaluation.judge",
    ),
    Rule(
        f"!({_PRETRAINS}) || !has(self.task.outputSchema)",
        "stage ContinuedPretraining has no answers that task.outputSchema could describe: remove it",
        field_path=".task.outputSchema",
    ),
    Rule(
        f"!has(self.training.earlyStopping) || !({_NO_VALIDATION})",
        "training.earlyStopping watches the validation loss: set dataset.validation.percent above 0 or dataset.validation.uri",
        field_path=".training.earlyStopping",
    ),
    Rule(
        f"!has(self.training.evaluateEverySteps) || !({_NO_VALIDATION})",
        "training.evaluateEverySteps measures the validation loss: set dataset.validation.percent above 0 or dataset.validation.uri",
        field_path=".training.evaluateEverySteps",
    ),
    Rule(
        f"!({_NO_VALIDATION}) || has(self.evaluation.dataset) || (has(self.evaluation.metrics) && size(self.evaluation.metrics) == 0)",
        "nothing is held out to evaluate on: set dataset.validation.percent above 0, evaluation.dataset, or evaluation.metrics to []",
        field_path=".evaluation",
    ),
    Rule(
        "!has(self.evaluation.dataset) || !has(self.dataset.inline) || self.evaluation.dataset.uri != self.dataset.inline.uri",
        "evaluation.dataset.uri is the training data itself: give held-out items, or leave it out to use the validation rows",
        field_path=".evaluation.dataset",
    ),
    Rule(
        "self.resources.gpusPerNode > 0 || self.training.precision != 'FP16'",
        "training.precision FP16 needs an accelerator: set resources.gpusPerNode, or use Auto, BF16 or FP32",
        field_path=".training.precision",
    ),
)

JOB = (
    Rule(
        "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name becomes a label of every child: at most 63 letters, digits and dashes, no dots",
    ),
)
