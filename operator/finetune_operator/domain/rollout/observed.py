"""Everything a decision about a rollout may know: one frozen snapshot, gathered by the caller from its caches and the last scrape."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from finetune_inference.contract import AppliedRoute, FingerprintToken
from finetune_operator.domain.analysis.counters import Sample, Scrape
from finetune_operator.domain.children import Job, Pod
from finetune_operator.domain.governance.serving import ServingView
from finetune_operator.domain.observed import WarningEvent
from finetune_operator.domain.plan import JsonObject


@dataclass(frozen=True)
class RolloutSettings:
    """What the installation decides for all rollouts."""

    look_seconds: float = 10.0
    """Between two looks at a baking canary."""
    poll_seconds: float = 2.0
    """Between two looks at routers and pods while something is waited for."""
    figures_seconds: float = 15.0
    """At most one status write per object and this many seconds for figures alone."""
    unload_seconds: int = 30
    """How long, after the drain, an object being deleted waits for pods to unload."""
    retry_base_seconds: float = 10.0
    """First wait before another attempt of a check or merge; doubles with each failure, up to ``retry_cap_seconds``."""
    retry_cap_seconds: float = 360.0
    grace_seconds: float = 3600.0
    """How long a version goes on answering once governance refuses it; withdrawn data give it no time."""
    record_keys: tuple[str, ...] = ()
    """Public keys in PEM that records of adapters are signed with; without one no agent is asked for a proof."""
    checks_files: bool = False
    """Whether Jobs of the operator's own can read an adapter's files; else only agents do."""


class HeldState(StrEnum):
    """How far a pod's agent is with a version. ``Rejected`` is final; ``Retrying`` is not."""

    LOADING = "Loading"
    LOADED = "Loaded"
    RETRYING = "Retrying"
    REJECTED = "Rejected"


@dataclass(frozen=True)
class HeldVersion:
    """What a pod's agent says about one version; ``message`` names the field and the way out."""

    version: str
    state: HeldState
    reason: str = ""
    message: str = ""
    has_effect: bool | None = None
    """Whether it changes the base model's answers; None where that was not tried."""
    fingerprint: tuple[FingerprintToken, ...] = ()
    """Its likeliest first tokens, hashed; empty where the pod does not say."""


@dataclass(frozen=True)
class ServerPod:
    """A server pod that is not terminating. One whose agent, or whose own engine, does not answer holds nothing.

    ``others``: adapters in an engine of the user's own that no AdapterDeployment has asked for.
    ``serves``: the first digits of the one digest that it was made for, in mode Merged; empty where it holds whatever is wanted.
    ``trouble``: what keeps the pod itself from running, for people; empty where nothing does.
    """

    name: str
    versions: tuple[HeldVersion, ...] = ()
    others: int = 0
    serves: str = ""
    trouble: str = ""

    def held(self, version: str) -> HeldVersion | None:
        return next((held for held in self.versions if held.version == version), None)


@dataclass(frozen=True)
class Unmade:
    """Why the API server takes no more server pods, with the way out; ``serves`` is as that of the pods would be."""

    why: str
    serves: str = ""


@dataclass(frozen=True)
class Router:
    """A router that may get requests, whether it answers or not.

    ``uid`` and ``name`` are its pod's, the latter for people; ``applied`` is what it acknowledged for this deployment, None where it
    answers that it knows no such route; ``samples`` is its scrape, None where that failed. ``reachable`` is about the acknowledgement.
    """

    uid: str
    name: str
    process: str = ""
    reachable: bool = True
    applied: AppliedRoute | None = None
    samples: tuple[Sample, ...] | None = None

    @property
    def scrape(self) -> Scrape:
        return Scrape(self.uid, self.process, self.samples)


@dataclass(frozen=True)
class JobArtifact:
    """``status.artifact`` of the FineTuneJob that is followed: it moves only when a gate has passed."""

    uri: str
    digest: str
    gated: bool = True
    """False where the run's evaluation was switched off."""


@dataclass(frozen=True)
class JobStanding:
    """How the FineTuneJob that is followed stands, where it has no artifact.

    ``phase`` is its word for people, empty before its first. ``stalled``: nothing happens there until somebody changes something, for
    ``reason`` and ``message`` of its condition of that name.
    """

    phase: str = ""
    stalled: bool = False
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class ArtifactRecord:
    """What the FineTuneJob that made an artifact remembers of it; empty or None where it does not."""

    base_digest: str = ""
    base_uri: str = ""
    tuner: str = ""
    rank: int | None = None
    saves_modules: bool = False


@dataclass(frozen=True)
class Sibling:
    """Another AdapterDeployment of the namespace, and what it wants of the same server pods, if it is on them.

    ``versions``: how many it wants loaded; ``answering``: those of them that have, or are about to get, traffic.
    """

    name: str
    uid: str
    model_name: str
    created_at: datetime
    versions: int = 0
    answering: int = 0


@dataclass(frozen=True)
class JobAttempt:
    """The Job of one attempt to check or to merge, its pod, and what the cluster complains about of both."""

    job: Job
    pod: Pod | None = None
    warnings: tuple[WarningEvent, ...] = ()


@dataclass(frozen=True)
class Exposure:
    """The HTTPRoute to the router, as it was looked at for one generation of the AdapterDeployment.

    ``route`` is as the API server has it, empty where there is none. ``missing``: there is no such kind. ``refusal``: why it cannot be as
    it should, for people.
    """

    generation: int
    route: JsonObject = field(default_factory=dict)
    missing: bool = False
    refusal: str = ""

    @property
    def there(self) -> bool:
        """Whether there is, or may be, one of ours."""
        return bool(self.route or self.refusal)


@dataclass(frozen=True)
class RolloutObserved:
    """An AdapterDeployment and all that decides about it.

    ``resource`` is the object as the API server gave it. ``standing`` is of the FineTuneJob that is followed, None where there is none.
    ``evaluated`` are digests of artifacts of this namespace whose gate passed.
    ``record`` is of the artifact that is asked for. ``output_schema`` is the text behind ``checks.schema.configMapRef``, None where it is
    not there, and ``schema_problem`` says why in words that follow its name. ``selector`` selects the server pods.
    ``unmade``: why server pods that are to be there are not, one for each Deployment of them that lacks some.
    ``router_trouble``: what keeps a router from running, with the way out; empty where nothing is known to.
    ``checks`` and ``merges`` are the attempts of this object's Jobs, also of earlier versions.
    ``exposure`` is None where nobody looked, or nobody could.
    ``may_probe``: whether the operator can send requests of its own, which routers know by a token.
    ``unread``: why counters that should be there are not, for people; empty where nothing is known to be wrong.
    ``governance`` is None where this operator does not look after it.
    ``refusal``: why the objects they come from cannot be as the spec wants them, for people; empty where they are.
    """

    resource: JsonObject
    settings: RolloutSettings = RolloutSettings()
    job: JobArtifact | None = None
    standing: JobStanding | None = None
    pods: tuple[ServerPod, ...] = ()
    unmade: tuple[Unmade, ...] = ()
    routers: tuple[Router, ...] = ()
    router_trouble: str = ""
    siblings: tuple[Sibling, ...] = ()
    evaluated: frozenset[str] = frozenset()
    record: ArtifactRecord = ArtifactRecord()
    output_schema: str | None = None
    schema_problem: str = ""
    selector: str = ""
    checks: tuple[JobAttempt, ...] = ()
    merges: tuple[JobAttempt, ...] = ()
    exposure: Exposure | None = None
    refusal: str = ""
    may_probe: bool = True
    unread: str = ""
    governance: ServingView | None = None
