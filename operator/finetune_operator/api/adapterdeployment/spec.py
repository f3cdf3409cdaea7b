"""What a user asks for: ``AdapterDeployment.spec``.

What makes a rollout is the adapter; everything else changes how it is rolled out, and holds for the one under way too.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune_inference.contract import Fallback
from finetune_operator.api.adapterdeployment import rules
from finetune_operator.api.base import ApiModel
from finetune_operator.api.markers import ListAtomic, ListSet, MapAtomic, Rule
from finetune_operator.api.scalars import ContentDigest, Fraction, HostName, LabelValue, ObjectName, PositiveDecimal, QualifiedName
from finetune_operator.api.spec import ComputeResources, ConfigMapKeyReference, LocalObjectReference, Toleration
from finetune_operator.api.uris import ModelUri, PvcUri

DAY = 86_400
Seconds = Annotated[int, Field(ge=0, le=30 * DAY)]

AliasName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", min_length=1, max_length=63)]
"""What clients send as ``model``."""


class Promotion(StrEnum):
    AUTOMATIC = "Automatic"
    APPROVAL = "Approval"


class AdapterSource(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.ADAPTER

    fine_tune_job_ref: LocalObjectReference | None = Field(
        default=None, description="FineTuneJob of this namespace whose gated artifact is followed."
    )
    uri: PvcUri | None = Field(default=None, description="pvc://CLAIM/PATH of the adapter's folder.")
    digest: ContentDigest | None = Field(
        default=None,
        description="Digest of the adapter's files. With fineTuneJobRef: only this version, no other; that of stable takes a canary back.",
    )
    promotion: Promotion = Field(
        default=Promotion.AUTOMATIC,
        description="Whether a new artifact of the job is rolled out by itself, or once spec.approvedVersion holds its digest.",
    )


class ServedBaseModel(ApiModel):
    uri: ModelUri = Field(description="pvc://CLAIM/PATH or hf://ORG/NAME@REVISION of the model the adapter was trained on.")
    digest: ContentDigest | None = Field(
        default=None,
        description="Digest of the model's files; an adapter of another is refused. When absent the uri has to be that of the training.",
    )


class Mode(StrEnum):
    ADAPTER = "Adapter"
    MERGED = "Merged"


class MergeResources(ApiModel):
    requests: ComputeResources | None = Field(default=None, description="What the scheduler reserves for the merge.")
    limits: ComputeResources | None = Field(
        default=None, description="What the merge may use at most: 1 GiB of memory and twice the model."
    )


class MergeSpec(ApiModel):
    uri: PvcUri = Field(description="pvc://CLAIM/PATH where merged models are written, each in a folder named by its digest.")
    resources: MergeResources = Field(default=MergeResources(), description="What the pod of the merge asks for; it computes on the CPU.")


class Engine(StrEnum):
    VLLM = "vLLM"
    TRANSFORMERS = "Transformers"


class ServerResources(ApiModel):
    gpus: Annotated[int, Field(ge=0, le=16)] = Field(
        default=0, description="Accelerators of one replica, at most 1 with Transformers; 0 serves on the CPU."
    )
    gpu_resource_name: QualifiedName = Field(default="nvidia.com/gpu", description="The extended resource that counts accelerators.")
    requests: ComputeResources | None = Field(default=None, description="What the scheduler reserves for one replica.")
    limits: ComputeResources | None = Field(default=None, description="What one replica may use at most.")
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16), MapAtomic()] = Field(
        default={}, description="Labels a node must have."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Taints that the pods tolerate, and those of the Jobs that check or merge for them."
    )


class ManagedServer(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.MANAGED

    engine: Engine = Field(
        default=Engine.TRANSFORMERS, description="What answers requests: vLLM, or the server that comes with this project."
    )
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="Image of the engine; the installation's default when absent."
    )
    replicas: Annotated[int, Field(ge=0, le=256)] = Field(default=1, description="Server pods; kubectl scale and autoscalers set it.")
    resources: ServerResources = Field(default=ServerResources(), description="What each replica asks for.")
    args: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=32), ListAtomic()] = Field(
        default=[], description="Further arguments of the engine."
    )


class ExternalServer(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.EXTERNAL

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=16), MapAtomic()] = Field(
        description="Labels of the pods of this namespace that run your vLLM; nothing is ever written to them."
    )
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=8000, description="Port of the engine's HTTP API.")
    adapter_mount_path: Annotated[str, Field(pattern=r"^(/[^/\s]+)+$", max_length=512)] = Field(
        description="Where the engine's container mounts the claim of the adapters; pvc://CLAIM/PATH is PATH below it."
    )
    base_model_name: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="What the engine calls its base model, or loads it from; when absent ORG/NAME of an hf:// baseModel.uri, else any.",
    )


class Capacity(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.CAPACITY

    max_loras: Annotated[int, Field(ge=1, le=256)] = Field(
        default=rules.MAX_LORAS,
        description="Different adapters vLLM computes in one batch; Transformers computes all that it keeps, and takes no other value.",
    )
    max_cpu_loras: Annotated[int, Field(ge=1, le=1024)] = Field(default=8, description="Adapters the engine keeps in memory.")
    max_lora_rank: Annotated[int, Field(ge=1, le=512)] = Field(default=64, description="Highest rank the engine accepts.")


class ServerSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.SERVER

    managed: ManagedServer | None = Field(default=None, description="Pods that the operator runs.")
    external: ExternalServer | None = Field(default=None, description="Pods of your own.")
    capacity: Capacity = Field(
        default=Capacity(), description="What the engine can hold, and compute at once; rollouts that need more wait and say so."
    )


class Preflight(ApiModel):
    require_evaluation: bool = Field(
        default=True, description="Whether the adapter must come from a run whose gate passed; a uri without such a run is refused."
    )
    effect_probe: Literal["Enforce", "Off"] = Field(
        default="Enforce", description="Whether every pod must show that the adapter changes the answers of the base model."
    )


class CheckKind(StrEnum):
    ERRORS = "Errors"
    SCHEMA = "Schema"
    TTFT = "TTFT"
    ITL = "ITL"


class ShadowStep(ApiModel):
    percent: Annotated[int, Field(ge=1, le=100)] = Field(default=5, description="Share of the requests that is copied to the canary.")
    max_concurrent: Annotated[int, Field(ge=1, le=256)] = Field(default=4, description="Copies under way at once, per router.")


class Step(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.STEP

    shadow: ShadowStep | None = Field(default=None, description="Copy requests to the canary; nobody sees its answers.")
    weight: Annotated[int, Field(ge=1, le=99)] | None = Field(
        default=None, description="Percent of the callers who get the canary; after the last step it gets all."
    )
    bake_seconds: Seconds = Field(default=600, description="Shortest time at this step, from the moment every router has applied it.")
    approval: bool = Field(default=False, description="Whether the step ends only once spec.approvedVersion holds the canary's digest.")
    analysis: Annotated[list[CheckKind], Field(max_length=4), ListSet()] | None = Field(
        default=None, description="Which of analysis.checks are made; all of them when absent, none when empty."
    )


class CanarySpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.CANARY

    steps: Annotated[list[Step], Field(min_length=1, max_length=16), ListAtomic()] = Field(
        default=[Step(weight=5), Step(weight=25), Step(weight=50)], description="How the canary's share grows."
    )


class BlueGreenSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.BLUE_GREEN

    shadow: ShadowStep | None = Field(default=None, description="Copy requests to the new version before the switch, and analyse them.")
    bake_seconds: Seconds | None = Field(default=None, description="How long requests are copied at least; 600 when absent.")


class StrategySpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.STRATEGY

    canary: CanarySpec | None = Field(default=None, description="Step by step, analysed; what happens when neither is set.")
    blue_green: BlueGreenSpec | None = Field(
        default=None,
        description="All callers at once, once the new version is loaded everywhere. Checks look at it before that, where shadow is set, "
        "and not after: the way back is to ask for the former version again.",
    )


class StickinessSpec(ApiModel):
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$", min_length=1, max_length=64)] | None = Field(
        default=None, description="Request header by which a caller is known, such as x-session-id."
    )
    fallback: Annotated[list[Fallback], Field(max_length=2), ListAtomic()] = Field(
        default=[Fallback.USER, Fallback.API_KEY], description="What a caller is known by without that header, in this order."
    )


class ErrorCheck(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.SHARE_CHECK

    max_rate: Fraction | None = Field(default="0.05", description="Highest share of failed requests.")
    max_delta_vs_stable: Fraction | None = Field(default="0.02", description="Highest difference to stable's share at the same time.")


class SchemaShareCheck(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.SHARE_CHECK

    config_map_ref: ConfigMapKeyReference = Field(description="ConfigMap with the JSON Schema that answers satisfy.")
    sample_percent: Annotated[int, Field(ge=1, le=100)] = Field(default=100, description="Share of the complete answers that is validated.")
    max_rate: Fraction | None = Field(default="0.05", description="Highest share of answers that do not fit.")
    max_delta_vs_stable: Fraction | None = Field(default="0.02", description="Highest difference to stable's share at the same time.")


class LatencyCheck(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.LATENCY_CHECK

    quantile: Literal["0.5", "0.9", "0.95", "0.99"] = Field(default="0.95", description="Which quantile is held against the limits.")
    max_seconds: PositiveDecimal | None = Field(default=None, description="Highest value, in seconds.")
    max_ratio_vs_stable: PositiveDecimal | None = Field(default=None, description="Highest multiple of stable's value at the same time.")


class Checks(ApiModel):
    errors: ErrorCheck | None = Field(default=ErrorCheck(), description="Requests that failed.")
    schema_: SchemaShareCheck | None = Field(default=None, alias="schema", description="Answers that do not fit their JSON Schema.")
    ttft: LatencyCheck | None = Field(default=LatencyCheck(max_ratio_vs_stable="1.5"), description="Time to the first token.")
    itl: LatencyCheck | None = Field(default=LatencyCheck(max_ratio_vs_stable="1.5"), description="Gap between two tokens of a stream.")


class CounterProvider(StrEnum):
    ROUTERS = "Routers"
    PROMETHEUS = "Prometheus"


class AnalysisSpec(ApiModel):
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=200, description="Requests each arm needs before a step passes."
    )
    max_wait_seconds: Annotated[int, Field(ge=10, le=7 * DAY)] = Field(
        default=3600, description="How long a step waits for enough requests, counted like its bake."
    )
    on_insufficient_data: Literal["Pause", "Fail", "Probe"] = Field(
        default="Pause", description="What follows then: wait for a person, roll back, or send requests of its own (errors and latencies)."
    )
    provider: CounterProvider = Field(
        default=CounterProvider.ROUTERS,
        description="Who is asked for the counters: the routers, or a Prometheus that scrapes them, where the operator was given one.",
    )
    checks: Checks = Field(default=Checks(), description="The limits.")


class RollbackSpec(ApiModel):
    automatic: bool = Field(default=True, description="Whether a failed check rolls back; else the rollout stops where it is and says so.")
    keep_stable_loaded_seconds: Seconds = Field(
        default=3600,
        description="How long the former version stays loaded after a promotion; less where the next version needs its room.",
    )
    drain_timeout_seconds: Annotated[int, Field(ge=1, le=DAY)] = Field(
        default=300, description="How long open requests of a version without traffic are waited for before it is unloaded."
    )


class GatewayReference(ApiModel):
    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)] | None = Field(
        default=None, description="Its namespace; this one when absent. Its listeners must allow routes from here."
    )
    section_name: ObjectName | None = Field(default=None, description="One listener of it; all of them when absent.")


class HttpRouteSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.HTTP_ROUTE

    parent_refs: Annotated[list[GatewayReference], Field(min_length=1, max_length=4), ListAtomic()] = Field(
        description="Gateways of yours that pass requests to the router of this namespace."
    )
    hostnames: Annotated[list[HostName], Field(max_length=16), ListAtomic()] = Field(
        default=[], description="Hosts whose requests they pass; all that their listeners take when empty."
    )


class TrafficSpec(ApiModel):
    http_route: HttpRouteSpec | None = Field(
        default=None, description="Make an HTTPRoute (Gateway API) to the router, of the paths that it answers."
    )


class AdapterDeploymentSpec(ApiModel):
    RULES: ClassVar[tuple[Rule, ...]] = rules.SPEC

    model_name: AliasName = Field(description="What clients send as model; cannot change.")
    mode: Mode = Field(
        default=Mode.ADAPTER,
        description="Adapter: the engine loads the adapter beside its base model. Merged: base and adapter become one model, which server "
        "pods of its own serve; for adapters that the engine cannot load. Cannot change.",
    )
    merge: MergeSpec | None = Field(default=None, description="Where and with what base and adapter become one model; with mode Merged.")
    adapter: AdapterSource = Field(description="Which adapter answers.")
    base_model: ServedBaseModel = Field(description="The model beneath it.")
    server: ServerSpec = Field(description="What runs the model.")
    preflight: Preflight = Field(default=Preflight(), description="What must hold before a version gets any request.")
    strategy: StrategySpec = Field(default=StrategySpec(), description="How a new version replaces the present one.")
    traffic: TrafficSpec = Field(default=TrafficSpec(), description="How requests come from outside the cluster.")
    stickiness: StickinessSpec = Field(default=StickinessSpec(), description="What keeps a caller on one version.")
    analysis: AnalysisSpec = Field(default=AnalysisSpec(), description="What a canary has to satisfy.")
    rollback: RollbackSpec = Field(default=RollbackSpec(), description="What happens to a version that fails, and to the one before.")
    paused: bool = Field(
        default=False, description="Hold the rollout where it is: the weight stays, no step ends. A failed check still counts."
    )
    approved_version: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$", max_length=71)] = Field(
        default="",
        description="Digest of the version that a person has approved: an artifact (adapter.promotion), or the end of a step (approval).",
    )
    retry: Annotated[str, Field(max_length=64)] = Field(default="", description="Any new value gives a version that failed another try.")
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=30 * DAY)] = Field(
        default=7200, description="How long loading, or waiting for a step's routers, may take before the rollout counts as failed."
    )
    revision_history_limit: Annotated[int, Field(ge=1, le=20)] = Field(default=5, description="Ended rollouts kept in status.history.")

    @property
    def merged(self) -> bool:
        """Whether each version has servers of its own, for a model made of base and adapter."""
        return self.mode is Mode.MERGED
