"""What the operator remembers and shows: ``AdapterDeployment.status``, its only memory.

Killing the operator at any moment and starting it again continues the rollout from here. Every list and text is bounded, numbers that are
not whole are text, and nothing in here ever holds a prompt or an answer.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_inference.contract import MergedWeights, RequiredProof, Route, Track, VersionName
from finetune_operator.api.adapterdeployment.conditions import DeploymentCondition
from finetune_operator.api.adapterdeployment.spec import CheckKind
from finetune_operator.api.base import ApiModel, Timestamp
from finetune_operator.api.governance.job import ClassificationStatus, GovernanceFinding
from finetune_operator.api.inputs import LicenceStatus, TrainedOn
from finetune_operator.api.markers import Embedded, ListAtomic, ListMap
from finetune_operator.api.scalars import ContentDigest
from finetune_trainer.contract import governance
from finetune_trainer.contract.governance.facts import Proof

Count = Annotated[int, Field(ge=0, le=2**53)]
Uri = Annotated[str, Field(max_length=2048)]
ShortText = Annotated[str, Field(max_length=64)]
Message = Annotated[str, Field(max_length=2048)]
Figure = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$", max_length=32)]
"""A measured number as text."""
Version = Annotated[VersionName, Field(max_length=96)]
Basis = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", max_length=16)]
MAX_ROUTERS = 32
"""Router processes whose counters fit into status."""


class Phase(StrEnum):
    """Derived for people's eyes; nothing may branch on it."""

    PENDING = "Pending"
    VALIDATING = "Validating"
    CHECKING = "Checking"
    MERGING = "Merging"
    LOADING = "Loading"
    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    RETAINING = "Retaining"
    HEALTHY = "Healthy"
    ROLLING_BACK = "RollingBack"
    DEGRADED = "Degraded"
    DRAINING = "Draining"


class Stage(StrEnum):
    """Where the rollout under way is."""

    VALIDATING = "Validating"
    CHECKING = "Checking"
    MERGING = "Merging"
    LOADING = "Loading"
    APPLYING = "Applying"
    BAKING = "Baking"
    PROMOTING = "Promoting"
    ROLLING_BACK = "RollingBack"


BEFORE_SERVERS = (Stage.VALIDATING, Stage.CHECKING, Stage.MERGING)
"""Stages of which no server pod hears."""
Merged = Annotated[MergedWeights, Embedded()]
_MERGED = "The model that base and adapter are as one, in mode Merged."


class VersionStatus(ApiModel):
    version: Version = Field(description="modelName--digest12.")
    digest: ContentDigest = Field(description="Digest of its files.")
    uri: Uri = Field(description="Where they lie.")
    since: Timestamp = Field(description="Since when it answers all callers, or did.")
    merged: Merged | None = Field(default=None, description=_MERGED)


class RetainedVersion(ApiModel):
    version: Version = Field(description="A version without traffic that is still loaded.")
    digest: ContentDigest = Field(description="Digest of its files.")
    uri: Uri = Field(description="Where they lie.")
    until: Timestamp = Field(description="When pods may unload it.")
    served: bool = Field(default=False, description="Whether it answered all callers before, so that it may do so again at once.")
    merged: Merged | None = Field(default=None, description=_MERGED)


class SeriesBaseline(ApiModel):
    version: Version = Field(description="The version counted.")
    track: Track = Field(description="Whose traffic: live, shadow or probe.")
    ok: Count = Field(description="Requests answered.")
    failed: Count = Field(description="Requests failed.")
    valid: Count = Field(description="Answers that fit their schema.")
    invalid: Count = Field(description="Answers that did not.")
    ttft: Annotated[list[Count], Field(max_length=64), ListAtomic()] = Field(
        default=[], description="Times to the first token, by the buckets of the step."
    )
    itl: Annotated[list[Count], Field(max_length=64), ListAtomic()] = Field(
        default=[], description="Gaps between tokens, by the buckets of the step."
    )
    ttft_bounds: Annotated[list[Figure], Field(max_length=63), ListAtomic()] = Field(default=[], description="Upper bounds, in seconds.")
    itl_bounds: Annotated[list[Figure], Field(max_length=63), ListAtomic()] = Field(default=[], description="Upper bounds, in seconds.")


class RouterBaseline(ApiModel):
    router: Annotated[str, Field(max_length=64)] = Field(description="uid of the router's pod.")
    process: Annotated[str, Field(max_length=64)] = Field(description="The process whose counters these are.")
    series: Annotated[list[SeriesBaseline], Field(max_length=8), ListAtomic()] = Field(
        default=[], description="What it had counted when the step's bake began."
    )


class WindowStatus(ApiModel):
    """Requests and failures of both arms in one ended step."""

    canary: Count = Field(description="Requests (or validated answers) of the canary.")
    canary_failed: Count = Field(description="Those that failed.")
    stable: Count = Field(description="Requests (or validated answers) of stable.")
    stable_failed: Count = Field(description="Those that failed.")


class JobProgress(ApiModel):
    """What a rollout waits for; each attempt is a Job of its own."""

    attempt: Annotated[int, Field(ge=1)] = Field(description="Number of the attempt, as in the name of its Job.")
    failures: Count = Field(default=0, description="Attempts that failed, without those that were evicted or whose result was lost.")
    retry_at: Timestamp | None = Field(default=None, description="When the attempt begins, after one that failed.")
    message: Annotated[str, Field(max_length=512)] = Field(default="", description="Why the attempt before failed.")


class RolloutStatus(ApiModel):
    """The rollout under way."""

    version: Version = Field(description="The version that is being rolled out.")
    digest: ContentDigest = Field(description="Digest of its files.")
    uri: Uri = Field(description="Where they lie.")
    generation: Count = Field(description="The generation that asked for it.")
    stage: Stage = Field(description="Where the rollout is.")
    step: Count = Field(default=0, description="The step of the strategy, counted from 1; 0 before the first.")
    started_at: Timestamp = Field(description="When the rollout began.")
    stage_since: Timestamp = Field(description="When the present stage began; the progress deadline counts from here.")
    check: JobProgress | None = Field(default=None, description="While a Job reads the adapter's files.")
    merge: JobProgress | None = Field(default=None, description="While base and adapter are being merged.")
    restores: bool = Field(
        default=False, description="Whether it is a former version that governance goes back to, whatever the spec asks for; without steps."
    )
    merged: Merged | None = Field(default=None, description=_MERGED)
    held_since: Timestamp | None = Field(default=None, description="Since when the bake clock stands still.")
    held_seconds: Count = Field(default=0, description="How long it has stood still in this step before.")
    hold: ShortText | None = Field(default=None, description="Why the rollout does not go on by itself: one of the documented reasons.")
    probing: bool = Field(default=False, description="Whether requests of the operator's own complete the samples.")
    baseline: Annotated[list[RouterBaseline], Field(max_length=MAX_ROUTERS), ListAtomic()] = Field(
        default=[], description="The routers' counters when the step's bake began."
    )
    error_windows: Annotated[list[WindowStatus], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Requests of the steps before: evidence adds up over steps."
    )
    answer_windows: Annotated[list[WindowStatus], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Validated answers of the steps before."
    )
    outcome: ShortText | None = Field(default=None, description="While rolling back: one of the documented reasons.")
    message: Message = Field(default="", description="While rolling back or held: why, with the numbers of the moment when that began.")


class StepStatus(ApiModel):
    """What the printer columns show of the step."""

    text: ShortText = Field(description="The step, of how many.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(description="Percent of the callers who get the canary.")


class CheckStatus(ApiModel):
    check: CheckKind = Field(description="What was looked at.")
    finding: ShortText = Field(description="Pass, Fail or Undecided.")
    canary: Figure | None = Field(default=None, description="Of the canary: a share, or seconds.")
    stable: Figure | None = Field(default=None, description="Of stable, at the same time.")
    canary_samples: Count = Field(description="How many it rests on.")
    stable_samples: Count = Field(description="How many it rests on.")
    bound: ShortText = Field(description="What it was held against.")
    message: Annotated[str, Field(max_length=512)] = Field(description="The finding in words, with the numbers.")


class FailedVersion(ApiModel):
    digest: ContentDigest = Field(description="The version's digest.")
    reason: ShortText = Field(description="One of the documented reasons.")
    message: Annotated[str, Field(max_length=512)] = Field(default="", description="Why it was taken back, with the numbers.")
    at: Timestamp = Field(description="When.")
    basis: Basis | None = Field(default=None, description="What a check of its files depended on: with other values it counts for nothing.")


class AdapterRecordStatus(ApiModel):
    """What is known of an adapter, kept so that it is known still when the job that made it is gone."""

    digest: ContentDigest = Field(description="Digest of its files.")
    classification: ClassificationStatus | None = Field(default=None, description="How sensitive it is; absent where nothing says so.")
    data: Annotated[list[TrainedOn], Field(max_length=16), ListAtomic()] = Field(default=[], description="What it was trained on.")
    licences: Annotated[list[LicenceStatus], Field(max_length=8), ListMap(("key",))] = Field(
        default=[], description="Licences of its base model."
    )
    obligations: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Keys of the licences whose obligations it carries."
    )
    signature: Proof | None = Field(default=None, description="Valid, Invalid or Absent; absent as long as nobody looked.")
    record: Proof | None = Field(default=None, description="Valid, Invalid or Absent; absent as long as nobody looked.")


class GraceStatus(ApiModel):
    version: Version = Field(description="The version that answers, and may not any more.")
    since: Timestamp = Field(description="Since when.")
    until: Timestamp = Field(description="When it is taken back, unless it may be served again by then.")


class ServingGovernanceStatus(ApiModel):
    decision: governance.Outcome = Field(description="Deny, NeedsApproval, Hold or Allow: the worst of what blocks.")
    classification: ClassificationStatus = Field(
        description="Of everything that was ever let pass here; it only rises, and whatever serves carries it as labels."
    )
    policies: Annotated[list[Annotated[str, Field(max_length=280)]], Field(max_length=128), ListAtomic()] = Field(
        default=[], description="Those that apply, as NAME@GENERATION."
    )
    findings: Annotated[list[GovernanceFinding], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="What was found, the worst first."
    )
    grace: GraceStatus | None = Field(default=None, description="While the version that answers may do so for a little longer only.")
    adapters: Annotated[list[AdapterRecordStatus], Field(max_length=24), ListMap(("digest",))] = Field(
        default=[], description="What is known of the versions in use, and of those before them."
    )


class CheckedVersion(ApiModel):
    digest: ContentDigest = Field(description="Digest of the files that a Job has read and found fit.")
    basis: Basis = Field(description="What that depended on, hashed: place, digest, base model, engine and its highest rank.")
    record: AdapterRecordStatus | None = Field(
        default=None, description="What its record says of it; only there where governance is looked after."
    )


class HistoryEntry(ApiModel):
    version: Version = Field(description="The version that was rolled out.")
    digest: ContentDigest = Field(description="Digest of its files.")
    generation: Count = Field(description="The generation that asked for it.")
    started_at: Timestamp = Field(description="When the rollout began.")
    ended_at: Timestamp = Field(description="When it ended.")
    outcome: ShortText = Field(description="One of the documented reasons.")
    message: Annotated[str, Field(max_length=512)] = Field(default="", description="What happened, for people.")
    uri: Uri | None = Field(default=None, description="Where its files lie, as a way back; only where governance has a say.")
    merged: Merged | None = Field(default=None, description=_MERGED)


class DesiredVersion(ApiModel):
    name: Version = Field(description="The version.")
    uri: Uri = Field(description="Where its files lie.")
    digest: ContentDigest = Field(description="What they must hash to.")
    keep_until: Timestamp | None = Field(default=None, description="It has no traffic any more and may be unloaded then.")
    required: bool = Field(default=True, description="Whether a pod without it is not ready.")
    merged: Merged | None = Field(default=None, description=_MERGED)


class DesiredStatus(ApiModel):
    """What the agents of the server pods are to hold; they watch this object."""

    generation: Annotated[int, Field(ge=1)] = Field(description="Rises with every change.")
    versions: Annotated[list[DesiredVersion], Field(max_length=16), ListMap(("name",))] = Field(
        default=[], description="All that is to be loaded, in this order."
    )
    proof: Annotated[RequiredProof, Embedded()] | None = Field(
        default=None, description="What agents have to prove of which versions before an engine sees a file; older agents ignore it."
    )


class AdapterDeploymentStatus(ApiModel):
    observed_generation: Count | None = Field(default=None, description="The generation of the spec that this status speaks about.")
    conditions: Annotated[list[DeploymentCondition], Field(max_length=16), ListMap(("type",))] = Field(
        default=[], description="The state, for machines and people."
    )
    phase: Phase | None = Field(default=None, description="A summary for people; nothing may branch on it.")
    stable: VersionStatus | None = Field(default=None, description="The version that answers all callers, or all but the canary's.")
    rollout: RolloutStatus | None = Field(default=None, description="The rollout under way.")
    retained: Annotated[list[RetainedVersion], Field(max_length=8), ListMap(("version",))] = Field(
        default=[], description="Versions without traffic that are still loaded."
    )
    canary_version: Version | None = Field(default=None, description="The version being rolled out, while it may get requests.")
    step: StepStatus | None = Field(default=None, description="The step under way, for people.")
    analysis: Annotated[list[CheckStatus], Field(max_length=4), ListMap(("check",))] = Field(
        default=[], description="What the checks found when the last step, or the rollout, ended."
    )
    failed_versions: Annotated[list[FailedVersion], Field(max_length=20), ListMap(("digest",))] = Field(
        default=[], description="Versions that were taken back and are not tried again by themselves, newest first."
    )
    checked: Annotated[list[CheckedVersion], Field(max_length=20), ListMap(("basis",))] = Field(
        default=[], description="Versions whose files need not be read again, newest first."
    )
    history: Annotated[list[HistoryEntry], Field(max_length=20), ListAtomic()] = Field(
        default=[], description="Ended rollouts, newest first."
    )
    route: Annotated[Route, Embedded()] | None = Field(default=None, description="What the routers are to apply.")
    desired: DesiredStatus | None = Field(default=None, description="What the server pods are to hold.")
    loaded: ShortText | None = Field(default=None, description="Pods that hold every version they should, of how many.")
    replicas: Count | None = Field(default=None, description="Server pods.")
    ready_replicas: Count | None = Field(default=None, description="Server pods that hold the version that answers.")
    selector: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="Labels of the server pods, for autoscalers.")
    retry: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="The last value of spec.retry that was heeded.")
    action: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="The last value of the annotation finetune.dev/rollout that was heeded."
    )
    governance: ServingGovernanceStatus | None = Field(
        default=None, description="What was decided about serving; absent where governance has no say."
    )
    figures_at: Timestamp | None = Field(default=None, description="When loaded, replicas and readyReplicas were last written.")
    draining_since: Timestamp | None = Field(default=None, description="Since when the object is being deleted.")
