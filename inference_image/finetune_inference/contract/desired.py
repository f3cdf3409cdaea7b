"""What an agent is asked to keep loaded beside its engine, and what it answers.

The operator (or a file) gives a `DesiredSet`; the agent fetches, checks and loads, and says at ``/status`` how far each version is. Nothing
here holds a prompt or a token of an answer: a fingerprint names tokens by a short hash.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from finetune_inference.contract.naming import VersionName, digest_prefix_of
from finetune_inference.contract.record import RequiredProof
from finetune_trainer.contract import Decimal, Digest, Document
from finetune_trainer.contract.base import Named

MAX_VERSIONS = 16
"""Versions of all aliases that one engine is asked to hold."""

Reason = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]


class EngineKind(StrEnum):
    """``Transformers`` is the server of ours."""

    VLLM = "vLLM"
    TRANSFORMERS = "Transformers"


class EngineLimits(Document):
    """What the engine was started with. vLLM: ``--max-loras``, ``--max-cpu-loras``, ``--max-lora-rank``."""

    max_loras: int = Field(default=2, ge=1, le=1024, description="Distinct adapters in one batch.")
    max_cpu_loras: int = Field(default=4, ge=1, le=4096, description="Adapters the engine keeps in memory.")
    max_lora_rank: int = Field(default=64, ge=1, le=4096)


class EngineSpec(Document):
    kind: EngineKind = EngineKind.VLLM
    limits: EngineLimits = Field(default_factory=EngineLimits)


class ServedBase(Document):
    """The base model: the name under which the engine serves it, and the digest of its files where that is known."""

    name: str = Field(min_length=1, max_length=256)
    digest: Digest | None = None


class MergedWeights(Document):
    """The model that base and adapter are as one: its folder and its digest, as ``finetune-trainer merge`` published it."""

    uri: str = Field(min_length=1, max_length=2048)
    digest: Digest


class DesiredVersion(Document):
    """One adapter version. ``merged``: it is served as a model of its own, by pods of its own, and no engine loads the adapter.

    ``keep_until``: the version has no traffic any more and may be unloaded after this instant, without another word. ``required``: the pod
    is not ready without it; a canary that could take a pod's stable version out of service with it is not required.
    """

    name: VersionName
    uri: str = Field(min_length=1, max_length=1024)
    digest: Digest
    keep_until: datetime | None = None
    required: bool = True
    merged: MergedWeights | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.digest.startswith(f"sha256:{digest_prefix_of(self.name)}"):
            raise ValueError(f"name {self.name} does not end in the first digits of digest {self.digest}")
        if self.keep_until is not None and self.keep_until.tzinfo is None:
            raise ValueError("keepUntil needs a time zone")
        return self


class DesiredSet(Named):
    """All that an engine is to hold; versions are loaded in this order.

    ``require_effect``: a version that changes no answer of the base model is not served. Older agents know no ``proof``.
    """

    kind: str = Field(default="DesiredSet", pattern="^DesiredSet$")
    generation: int = Field(ge=1)
    base: ServedBase
    engine: EngineSpec = Field(default_factory=EngineSpec)
    require_effect: bool = True
    versions: list[DesiredVersion] = Field(default_factory=list, max_length=MAX_VERSIONS)
    proof: RequiredProof | None = None

    @model_validator(mode="after")
    def _one_entry_per_name(self) -> Self:
        names = [version.name for version in self.versions]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"versions names {', '.join(sorted(twice))} twice")
        return self

    def proof_of(self, version: DesiredVersion) -> RequiredProof | None:
        """What has to be proven of this version."""
        return self.proof if self.proof is not None and version.name in self.proof.versions else None

    def wanted(self, now: datetime) -> tuple[DesiredVersion, ...]:
        """The versions to hold at ``now``: those whose ``keep_until`` has not passed."""
        return tuple(version for version in self.versions if version.keep_until is None or now < version.keep_until)


class Finding(Document):
    """Why something cannot be served: the field of which file, in a word, in a sentence, and what to do about it."""

    field: str = Field(max_length=160)
    reason: Reason
    message: str = Field(max_length=512)
    way_out: str = Field(max_length=512)


class VersionState(StrEnum):
    """How far a version is. ``Verified``: on the pod's disk, hashed and compatible. ``Loaded``: in the engine, with a proven effect."""

    PENDING = "Pending"
    FETCHING = "Fetching"
    VERIFIED = "Verified"
    LOADING = "Loading"
    LOADED = "Loaded"
    FAILED = "Failed"


class FingerprintToken(Document):
    token: str = Field(pattern=r"^[0-9a-f]{12}$", description="Hash of the token's text.")
    logprob: Decimal


class VersionStatus(Document):
    """``effect``: largest difference of a log-probability between adapter and base; ``fingerprint``: its likeliest first tokens."""

    name: VersionName
    digest: Digest
    state: VersionState
    required: bool = True
    reason: Reason | None = None
    message: str | None = Field(default=None, max_length=1024)
    way_out: str | None = Field(default=None, max_length=512)
    findings: list[Finding] = Field(default_factory=list, max_length=16)
    failures: int = Field(default=0, ge=0, description="In a row; zero again after a success.")
    retry_at: datetime | None = None
    loaded_at: datetime | None = None
    fingerprint: list[FingerprintToken] = Field(default_factory=list, max_length=16)
    effect: Decimal | None = None


class SourceState(StrEnum):
    """Where the desired set in force came from: the source itself, or the copy on disk while the source is away or unreadable."""

    NONE = "None"
    CURRENT = "Current"
    LAST_GOOD = "LastGood"


class EngineStatus(Document):
    """``started`` changes when the engine's process does; absent while nobody answers."""

    reachable: bool
    started: str | None = Field(default=None, max_length=64)
    restarts: int = Field(default=0, ge=0, description="Seen by this agent.")
    message: str | None = Field(default=None, max_length=512)


class AgentStatus(Named):
    """What an agent answers at ``/status``. ``generation`` is applied when the engine holds exactly its versions."""

    kind: str = Field(default="AgentStatus", pattern="^AgentStatus$")
    generation: int = Field(default=0, ge=0, description="Of the desired set in force; 0 before the first.")
    applied_generation: int = Field(default=0, ge=0, description="The last one of which every version was loaded and nothing else was.")
    source: SourceState = SourceState.NONE
    source_message: str | None = Field(default=None, max_length=512)
    engine: EngineStatus
    ready: bool = False
    versions: list[VersionStatus] = Field(default_factory=list, max_length=MAX_VERSIONS)
