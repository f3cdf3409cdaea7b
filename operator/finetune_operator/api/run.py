"""The run in progress, or the last one: everything that has to be remembered of it for a killed operator to continue."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.governance.job import AgreementStatus, RecordStatus
from finetune_operator.api.inputs import RunInputs
from finetune_operator.api.markers import ListAtomic, ListMap, MapAtomic
from finetune_operator.api.scalars import ContentDigest, Count, ObjectName, RunKey, ShortText, SignedDecimal, Uri
from finetune_trainer.contract import MOST_DOCUMENTS, MOST_FILES, Probe, Step


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    GATE_REJECTED = "GateRejected"
    GATE_HELD = "GateHeld"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    REPLACED = "Replaced"


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


class NodeStatus(ApiModel):
    name: Annotated[str, Field(max_length=253)] = Field(description="Its name.")
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32), MapAtomic()] = Field(
        default={}, description="Its labels of node-restriction.kubernetes.io and topology.kubernetes.io, once the pod was bound."
    )


class TrackingStatus(ApiModel):
    run_id: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="The tracker's own name for the run.")
    trouble: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Why nothing arrived when it was last tried; absent while it does."
    )
    lost: Count = Field(default=0, description="Points that never arrived, in the last attempt.")


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
    tracking: TrackingStatus | None = Field(default=None, description="What became of what was told to the tracker of spec.tracking.")
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
    policies: Annotated[list[ObjectName], Field(max_length=128), ListAtomic()] = Field(
        default=[],
        description="Enforced policies under which a governed run was let pass, by name, until it ends: it does not outlive one.",
    )
    agreements: Annotated[list[AgreementStatus], Field(max_length=16), ListMap(("name",))] = Field(
        default=[], description="Approvals under which the training of a governed run began, until the run ends."
    )
