"""What the operator remembers and shows: ``FineTuneJob.status``, its only memory.

Killing the operator at any moment and starting it again continues from here. Every list and text is bounded, numbers that are not whole
are text, and nothing in here ever holds row text or a prompt.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.conditions import Condition
from finetune_operator.api.markers import ListAtomic, ListMap, ListSet, MapAtomic
from finetune_operator.api.scalars import ContentDigest
from finetune_trainer.contract import MOST_DOCUMENTS, MOST_FILES, Metric, Probe, Severity, Step, Verdict, governance
from finetune_trainer.contract.governance.facts import ApprovalStage
from finetune_trainer.contract.governance.vocabulary import LabelWord, Level
from finetune_trainer.contract.model import LicenceCategory, WeightsFormat

SignedDecimal = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$", max_length=32)]
"""A measured number as text."""

Count = Annotated[int, Field(ge=0)]
RunKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Uri = Annotated[str, Field(max_length=2048)]
ShortText = Annotated[str, Field(max_length=64)]
LabelText = Annotated[str, Field(max_length=63)]
"""A label's value as somebody wrote it, be it a word of the vocabulary or not."""


class Phase(StrEnum):
    """Derived from the conditions for people's eyes; nothing may branch on it."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    TRAINING = "Training"
    PUBLISHING = "Publishing"
    INTERRUPTED = "Interrupted"
    SUSPENDED = "Suspended"
    READY = "Ready"
    HELD = "Held"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    GATE_REJECTED = "GateRejected"
    GATE_HELD = "GateHeld"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    REPLACED = "Replaced"


class Accepted(ApiModel):
    """The run key of a generation, computed once and never again for that generation, whatever version of the operator runs."""

    generation: Count = Field(description="The generation whose spec was hashed.")
    key: RunKey = Field(description="Hash of its result-defining fields.")


class LicenceStatus(ApiModel):
    key: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="As SPDX or ScanCode spell it; else as the files do.")
    category: LicenceCategory | None = Field(default=None, description="Of the ScanCode licence database; absent: not in it.")


class BaseModelStatus(ApiModel):
    licences: Annotated[list[LicenceStatus], Field(max_length=8), ListMap(("key",))] = Field(
        default=[], description="Licences that its files name; all of them hold."
    )
    claimed: LicenceStatus | None = Field(default=None, description="What the job says itself.")
    formats: Annotated[list[WeightsFormat], Field(max_length=3), ListSet()] = Field(
        default=[], description="Of the weights that are there."
    )
    remote_code: bool = Field(default=False, description="Whether loading it would run code that lies beside its weights.")


class TrainedOn(ApiModel):
    """Data as they were declared: what a withdrawal is held against."""

    namespace: Annotated[str, Field(max_length=63)] | None = Field(default=None, description="Namespace of the claim; absent: this one.")
    name: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="The TrainingDataset, where there is one.")
    uri: Annotated[str, Field(max_length=2048)] | None = Field(default=None, description="Where they lie.")
    digest: ContentDigest | None = Field(default=None, description="Their digest, where it was declared or read.")


class RunInputs(ApiModel):
    """What the declared sources turned out to be."""

    base_uri: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="URI of the base model that was declared.")
    base_digest: ContentDigest | None = Field(default=None, description="Digest of the base model's files.")
    base_model: BaseModelStatus | None = Field(
        default=None, description="What the base model's files say about it; absent where governance has no say."
    )
    dataset_digest: ContentDigest | None = Field(default=None, description="Digest of the sealed dataset.")
    dataset: TrainedOn | None = Field(
        default=None, description="The training data as they were declared; absent where governance has no say."
    )
    image_digest: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="Trainer image that ran, as the node reports it."
    )


class Retries(ApiModel):
    """What has been used of each retry budget in the active step."""

    infrastructure: Count = Field(default=0, description="Lost nodes, deleted children, pods that are gone without a word.")
    out_of_memory: Count = Field(default=0, description="Accelerator out of memory; each halves the micro-batch.")
    host_out_of_memory: Count = Field(default=0, description="Killed for host memory.")
    storage: Count = Field(default=0, description="Disk or network of a volume failed.")
    internal: Count = Field(default=0, description="The trainer ended with an unexpected error.")
    lost_messages: Count = Field(default=0, description="The step ended well or its Job is gone, and its result was not read.")
    preemptions: Count = Field(default=0, description="Evictions and stops; they do not count against maxAttempts.")
    idle_preemptions: Count = Field(default=0, description="Preemptions in a row without a newly sealed step.")


class EgressStatus(ApiModel):
    """What the probe of egress has found in the last attempt of a step."""

    step: Step = Field(description="prepare, train or publish.")
    attempt: Count = Field(description="The attempt whose pod was probed.")
    result: Probe = Field(description="Closed, Open, or Inconclusive where the operator itself could not reach the target then.")
    digest: ContentDigest = Field(description="Of the report of the probe that went before the step, which is in the pod's log too.")
    rounds: Count = Field(default=0, description="How often it was tried again while the step lasted.")
    watch_digest: ContentDigest | None = Field(default=None, description="Of the report of those tries.")


class Interruption(ApiModel):
    """Why the step's last early end came about; while it names the current attempt, the next one has not begun."""

    attempt: Count = Field(description="The attempt that ended.")
    reason: ShortText = Field(description="One of the documented reasons.")
    message: Annotated[str, Field(max_length=2048)] = Field(default="", description="What ended the attempt, for people.")
    since: Timestamp = Field(description="When the attempt was found to have ended.")
    until: Timestamp | None = Field(default=None, description="Not before this moment does the next attempt begin.")


class ArtifactFile(ApiModel):
    name: Annotated[str, Field(max_length=128)] = Field(description="Its path in the artifact.")
    digest: ContentDigest = Field(description="SHA-256 of its bytes.")


class RecordStatus(ApiModel):
    """Where the signed record of a run stands in the chain of its namespace."""

    sequence: Annotated[int, Field(ge=1)] = Field(description="Its number in the chain, from 1.")
    digest: ContentDigest = Field(description="SHA-256 of the signed statement, which the next record names as the one before.")
    key_id: Annotated[str, Field(max_length=64)] = Field(description="SHA-256 of the public key that verifies it.")


class AgreementStatus(ApiModel):
    """An approval or a waiver that counted."""

    name: Annotated[str, Field(max_length=253)] = Field(description="Name of the Approval.")
    uid: Annotated[str, Field(max_length=63)] = Field(default="", description="Its UID.")
    stage: ApprovalStage = Field(description="Train, Review, Promote or Waive.")
    approver: Annotated[str, Field(max_length=253)] = Field(description="Who gave it.")
    subject_digest: Annotated[str, Field(max_length=71)] = Field(description="Digest of the decision that it is for.")
    reason: Annotated[str, Field(max_length=256)] = Field(default="", description="Why, in the approver's words, cut to 256 characters.")
    given_at: Timestamp = Field(description="When.")
    expires_at: Timestamp | None = Field(default=None, description="Until when it counts.")


class NodeStatus(ApiModel):
    name: Annotated[str, Field(max_length=253)] = Field(description="Its name.")
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32), MapAtomic()] = Field(
        default={}, description="Its labels of node-restriction.kubernetes.io and topology.kubernetes.io, once the pod was bound."
    )


class CurrentRun(ApiModel):
    key: RunKey = Field(description="Hash of the result-defining fields.")
    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the run's children without their step suffix.")
    number: Annotated[int, Field(ge=1)] = Field(description="Runs of this object, counted from 1.")
    generation: Count = Field(description="The generation that asked for the run.")
    inputs: RunInputs = Field(default=RunInputs(), description="What the declared sources turned out to be.")
    active_step: Step = Field(default=Step.PREPARE, description="prepare, train or publish.")
    attempt: Count = Field(default=0, description="Attempt of the active step, counted from 1; 0 before the first.")
    egress: Annotated[list[EgressStatus], Field(max_length=3), ListMap(("step",))] = Field(
        default=[], description="Probes of egress, by step; none where egress is not closed."
    )
    interruption: Interruption | None = Field(default=None, description="How the last attempt that did not finish the active step ended.")
    image: Annotated[str, Field(max_length=512)] | None = Field(
        default=None,
        description="Trainer image of all attempts of the run, whatever the operator is upgraded to meanwhile; until it was pulled once, "
        "a corrected one takes its place.",
    )
    placement: ContentDigest | None = Field(
        default=None, description="Digest of resources and queueName that the active attempt's Job was made with."
    )
    declared_spec: Annotated[str, Field(max_length=131_072)] | None = Field(
        default=None,
        description="The spec the run was accepted with, as JSON; kept while the run lasts, because the object's own may change.",
    )
    retries: Retries = Field(default=Retries(), description="What has been used of each retry budget in the active step.")
    micro_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Examples per forward pass, once known or reduced."
    )
    step: Count | None = Field(default=None, description="Optimizer steps done.")
    total_steps: Count | None = Field(default=None, description="Optimizer steps of the whole run.")
    step_text: ShortText | None = Field(default=None, description="step/totalSteps.")
    eta: ShortText | None = Field(default=None, description="Time left of the active step, for people.")
    eta_seconds: Count | None = Field(default=None, description="Time left of the active step, in seconds.")
    epoch: SignedDecimal | None = Field(default=None, description="Passes over the dataset so far.")
    loss: SignedDecimal | None = Field(default=None, description="Training loss.")
    evaluation_loss: SignedDecimal | None = Field(default=None, description="Validation loss.")
    tokens_per_second: Count | None = Field(default=None, description="Trained tokens per second in this attempt.")
    last_sealed_step: Count | None = Field(default=None, description="Step of the last sealed checkpoint, from which a lost pod resumes.")
    sealed_before: Count | None = Field(
        default=None, description="The last sealed step when the active attempt began: a preemption that got no further counts as idle."
    )
    started_at: Timestamp | None = Field(default=None, description="When the run began.")
    attempt_started_at: Timestamp | None = Field(default=None, description="When the active attempt's pod began to run.")
    updated_at: Timestamp | None = Field(default=None, description="When the trainer last reported progress.")
    finished_at: Timestamp | None = Field(default=None, description="When the run ended.")
    running_seconds: Count = Field(default=0, description="Running time of the ended attempts, against activeDeadlineSeconds.")
    outcome: Outcome | None = Field(default=None, description="How the run ended; absent while it goes on.")
    reason: ShortText | None = Field(default=None, description="Why it ended so: one of the documented reasons.")
    message: Annotated[str, Field(max_length=2048)] = Field(default="", description="What ended it, for people.")
    gate: ShortText | None = Field(
        default=None, description="How the gate decided: GatePassed, NotGated, GateRejected or GateInconclusive."
    )
    adapter_digest: ContentDigest | None = Field(default=None, description="Digest of the trained adapter.")
    artifact_uri: Uri | None = Field(default=None, description="Where the run's artifact lies, once it is published.")
    artifact_bytes: Count | None = Field(default=None, description="Size of the run's artifact, once it is published.")
    files: Annotated[list[ArtifactFile], Field(max_length=MOST_FILES), ListMap(("name",))] = Field(
        default=[],
        description="Files of the trained adapter, until a governed run is published; none if they are more than 24.",
    )
    documents: Annotated[list[ArtifactFile], Field(max_length=MOST_DOCUMENTS), ListMap(("name",))] = Field(
        default=[], description="Reports and settings that will be published beside it, until a governed run is published."
    )
    node: NodeStatus | None = Field(default=None, description="The node that the training of a governed run ended on.")
    record: RecordStatus | None = Field(default=None, description="The signed record of a governed run, once it is written.")
    agreements: Annotated[list[AgreementStatus], Field(max_length=16), ListMap(("name",))] = Field(
        default=[], description="Approvals under which the training of a governed run began, until the run ends."
    )


class HeadlineMetric(ApiModel):
    name: Metric = Field(description="The metric.")
    base: SignedDecimal = Field(description="Of the base model.")
    tuned: SignedDecimal = Field(description="Of the tuned model.")


class HistoryEntry(ApiModel):
    number: Annotated[int, Field(ge=1)] = Field(description="Number of the run.")
    key: RunKey = Field(description="Hash of the result-defining fields.")
    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the run's children without their step suffix.")
    generation: Count = Field(description="The generation that asked for the run.")
    inputs: RunInputs = Field(default=RunInputs(), description="What the declared sources turned out to be.")
    started_at: Timestamp | None = Field(default=None, description="When the run began.")
    finished_at: Timestamp = Field(description="When it ended.")
    outcome: Outcome = Field(description="How it ended.")
    reason: ShortText = Field(description="One of the documented reasons.")
    message: Annotated[str, Field(max_length=512)] = Field(default="", description="What happened, for people.")
    gate: ShortText | None = Field(
        default=None, description="How the gate decided: GatePassed, NotGated, GateRejected or GateInconclusive."
    )
    artifact_uri: Uri | None = Field(default=None, description="Where the run's artifact lies, if it was published.")
    artifact_digest: ContentDigest | None = Field(default=None, description="Digest of the run's adapter, whatever the gate said.")
    artifact_bytes: Count | None = Field(default=None, description="Size of the artifact, if it was published.")
    step: Count | None = Field(default=None, description="Optimizer steps done.")
    total_steps: Count | None = Field(default=None, description="Optimizer steps of the whole run.")
    loss: SignedDecimal | None = Field(default=None, description="Training loss at the end.")
    workspace_claim: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Claim that holds the run's working files; they are removed when this entry is pruned."
    )
    metrics: Annotated[list[HeadlineMetric], Field(max_length=8), ListMap(("name",))] = Field(default=[], description="Base against tuned.")
    record: RecordStatus | None = Field(default=None, description="The run's signed record, if there is one.")


class DroppedRows(ApiModel):
    reason: ShortText = Field(description="Why the rows are unusable.")
    count: Count = Field(description="How many.")


class Finding(ApiModel):
    rule: ShortText = Field(description="Which check speaks.")
    severity: Severity = Field(description="Info or Warning.")
    message: Annotated[str, Field(max_length=256)] = Field(description="What it found; rows are named by number, never quoted.")


class QualityStatus(ApiModel):
    examples: Count = Field(description="Training examples, before they were cut into rows.")
    task_minimum: Count = Field(description="The fewest that tend to help with the task.")
    duplicates: Count = Field(description="Those that repeat an earlier one word for word.")
    evaluation_overlap: Count = Field(description="Items that ask what a training example asks; they were taken out.")


class IdentifiersFound(ApiModel):
    entity: ShortText = Field(description="Kind of identifier, see docs/governance/scanning.md.")
    rows: Count = Field(description="Rows that hold one.")
    validated_rows: Count = Field(default=0, description="Those of them in which it is validated, by its checksum for instance.")


class ScanStatus(ApiModel):
    profile: ShortText = Field(description="What the scan can see; what it cannot is in its report, scan.json of the run.")
    entire: bool = Field(description="Whether every row was scanned whole.")
    rows: Count = Field(description="Rows scanned: data, validation and evaluation data.")
    report_digest: ContentDigest = Field(description="Digest of the report, which also says what was looked for and how it was checked.")
    found: Annotated[list[IdentifiersFound], Field(max_length=32), ListMap(("entity",))] = Field(
        default=[], description="What was found. Nothing found proves nothing."
    )


class ReviewStatus(ApiModel):
    rows: Count = Field(description="Rows drawn.")
    of: Count = Field(description="Rows that they were drawn from.")
    report_digest: ContentDigest = Field(description="Of data/review.json in the work folder: numbers and hashes of the rows.")


class DatasetStatus(ApiModel):
    digest: ContentDigest = Field(description="Digest of the sealed dataset.")
    format: ShortText = Field(description="Format that was read.")
    examples: Count = Field(description="Training examples.")
    validation_examples: Count = Field(default=0, description="Rows held out.")
    evaluation_items: Count = Field(default=0, description="Items that base and tuned model will answer.")
    tokens: Count = Field(description="Tokens of the training examples.")
    dropped: Annotated[list[DroppedRows], Field(max_length=8), ListMap(("reason",))] = Field(
        default=[], description="Unusable rows by reason."
    )
    findings: Annotated[list[Finding], Field(max_length=4), ListAtomic()] = Field(default=[], description="What a person should know.")
    review: ReviewStatus | None = Field(default=None, description="Rows drawn for people to look at; absent where governance has no say.")
    quality: QualityStatus | None = Field(
        default=None, description="What a GovernancePolicy can ask of the data; absent where governance has no say."
    )
    scan: ScanStatus | None = Field(default=None, description="Identifiers of people, accounts and devices, and secrets, by count.")


class EstimateStatus(ApiModel):
    memory_bytes: Count = Field(description="Host memory the train step needs.")
    gpu_memory_bytes: Count | None = Field(default=None, description="Accelerator memory the train step needs.")
    disk_bytes: Count = Field(description="Space on the workspace claim.")
    seconds: Count = Field(description="Training time.")
    confidence: ShortText = Field(description="Fitted where the constants were measured on such a device, else Unfitted.")
    fits: bool = Field(default=True, description="Whether the asked-for resources suffice.")
    cheapest_fix: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The smallest change that would make it fit."
    )


class MetricStatus(ApiModel):
    name: Metric = Field(description="The metric.")
    base: SignedDecimal = Field(description="Of the base model.")
    tuned: SignedDecimal = Field(description="Of the tuned model, on the same items.")
    delta: SignedDecimal = Field(description="Difference.")
    low: SignedDecimal = Field(description="Lower end of the paired 95 % interval of the difference.")
    high: SignedDecimal = Field(description="Upper end.")
    verdict: Verdict = Field(default=Verdict.NOT_GATED, description="What the gate says about this metric.")


class EvaluationStatus(ApiModel):
    verdict: Verdict = Field(description="Pass, Fail, Inconclusive or NotGated.")
    items: Count = Field(description="Items answered by both models.")
    items_to_decide: Count | None = Field(default=None, description="How many items would settle an inconclusive verdict.")
    message: Annotated[str, Field(max_length=256)] = Field(default="", description="Why the gate decided as it did.")
    metrics: Annotated[list[MetricStatus], Field(max_length=8), ListMap(("name",))] = Field(default=[], description="Base against tuned.")


class ClassificationStatus(ApiModel):
    level: Level = Field(description="Highest of all parts.")
    regimes: Annotated[list[LabelWord], Field(max_length=64), ListSet()] = Field(default=[], description="Of all parts together.")
    residencies: Annotated[list[LabelWord], Field(max_length=96), ListSet()] = Field(
        default=[], description="Places where all of it must stay; none: anywhere."
    )


class ObligationStatus(ApiModel):
    licence: Annotated[str, Field(max_length=128)] = Field(description="Whose obligation it is.")
    name_prefix: ShortText | None = Field(default=None, description="How the name of the model must begin wherever it is served.")
    notice: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="What must be shown beside it.")
    attribution: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="What a file NOTICE beside it must say.")
    licence_text: bool = Field(default=False, description="Whether the agreement itself must lie beside it.")


class ArtifactStatus(ApiModel):
    uri: Uri = Field(description="Where the adapter lies.")
    digest: ContentDigest = Field(description="Digest of its files.")
    bytes: Count | None = Field(default=None, description="Size.")
    run_number: Annotated[int, Field(ge=1)] = Field(description="The run that made it.")
    classification: ClassificationStatus | None = Field(
        default=None, description="How sensitive it is, by what it was made of; absent where governance has no say."
    )
    record_digest: ContentDigest | None = Field(default=None, description="Digest of its signed record; absent where it is not signed.")
    signed: bool | None = Field(default=None, description="Whether a signed record lies beside it; absent where governance has no say.")
    obligations: Annotated[list[ObligationStatus], Field(max_length=16), ListMap(("licence",))] = Field(
        default=[], description="What licences of the base model and of models that wrote its data ask of whoever serves it."
    )


class DeclaredLabels(ApiModel):
    level: LabelText | None = Field(default=None, description="The level label.")
    residency: LabelText | None = Field(default=None, description="The residency label.")
    regimes: Annotated[list[LabelText], Field(max_length=64), ListSet()] = Field(default=[], description="Regimes labelled.")


class GovernanceFinding(ApiModel):
    rule: ShortText = Field(description="Which rule, see docs/reference/governance-rules.md.")
    severity: ShortText = Field(description="Deny, NeedsApproval, Hold or Note.")
    field: Annotated[str, Field(max_length=384)] = Field(description="What it is about.")
    message: Annotated[str, Field(max_length=1024)] = Field(description="Why, and what to do. Never a value from a row.")
    policy: Annotated[str, Field(max_length=280)] | None = Field(default=None, description="Whose demand it is, as NAME@GENERATION.")
    blocks: bool = Field(description="False for a note, for what is waived, and for a policy that only audits.")


class SpecMarks(ApiModel):
    """What the spec of a run was, to tell later which fields differ: marks of values, from which no value can be read."""

    run: Count = Field(description="Number of the run.")
    marks: Annotated[dict[str, Annotated[str, Field(max_length=8)]], Field(max_length=96), MapAtomic()] = Field(
        default={}, description="By field, the first digits of the digest of its value."
    )


class GovernanceStatus(ApiModel):
    decision: governance.Outcome = Field(description="Deny, NeedsApproval, Hold or Allow: the worst of what blocks.")
    digest: ContentDigest | None = Field(
        default=None, description="Of the sealed decision, once the data are prepared: what an Approval names as subjectDigest."
    )
    passed: bool = Field(default=False, description="Whether the job was ever let pass: from then on its classification only rises.")
    classification: ClassificationStatus = Field(description="Of everything together, as it was when the job was last let pass.")
    declared: DeclaredLabels | None = Field(default=None, description="The object's own labels when it was last let pass; they only rise.")
    licence: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Licence of the base model, as the prepare step read it."
    )
    policies: Annotated[list[Annotated[str, Field(max_length=280)]], Field(max_length=128), ListAtomic()] = Field(
        default=[], description="Those that apply, as NAME@GENERATION."
    )
    changed: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="Fields of the spec, data and base model that are not those of the last run that ended; names only."
    )
    last_run: SpecMarks | None = Field(default=None, description="What that run was, for this comparison.")
    obligations: Annotated[list[ObligationStatus], Field(max_length=16), ListMap(("licence",))] = Field(
        default=[], description="What licences ask of what is made; it travels with the artifact."
    )
    findings: Annotated[list[GovernanceFinding], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="What was found, the worst first; what an auditing policy finds is told and blocks nothing."
    )


class FineTuneJobStatus(ApiModel):
    observed_generation: Count | None = Field(default=None, description="The generation of the spec that this status speaks about.")
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap(("type",))] = Field(
        default=[], description="The state, for machines and people."
    )
    phase: Phase | None = Field(default=None, description="A summary for people; nothing may branch on it.")
    accepted: Accepted | None = Field(default=None, description="The run key of the accepted generation.")
    current_run: CurrentRun | None = Field(default=None, description="The run in progress, or the last one.")
    history: Annotated[list[HistoryEntry], Field(max_length=40), ListMap(("number",))] = Field(
        default=[], description="Ended runs, newest first."
    )
    dataset: DatasetStatus | None = Field(default=None, description="What the prepare step of the current run found.")
    estimate: EstimateStatus | None = Field(default=None, description="What the train step of the current run needs.")
    evaluation: EvaluationStatus | None = Field(default=None, description="How the current run's model compares.")
    governance: GovernanceStatus | None = Field(
        default=None, description="What was decided about the job; absent where no policy applies and the namespace is not governed."
    )
    artifact: ArtifactStatus | None = Field(default=None, description="The adapter to use: moves only when a gate has passed.")
