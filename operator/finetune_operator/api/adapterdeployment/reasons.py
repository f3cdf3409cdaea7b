"""The closed list of reasons of an ``AdapterDeployment``: every ``reason`` of a condition and Event, its meaning, and what to do next.

Reasons are API: alerts and scripts compare them. What is not here cannot be written.
"""

from dataclasses import dataclass
from enum import StrEnum

from finetune_trainer.contract.governance import RULES


class Reason(StrEnum):
    # The spec and the version it asks for
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    ALIAS_TAKEN = "AliasTaken"
    JOB_NOT_FOUND = "JobNotFound"
    JOB_FAILED = "JobFailed"
    GATE_NOT_PASSED = "GateNotPassed"
    WAITING_FOR_ARTIFACT = "WaitingForArtifact"
    WAITING_FOR_APPROVAL = "WaitingForApproval"
    NOT_EVALUATED = "NotEvaluated"
    INCOMPATIBLE = "Incompatible"
    NO_PODS = "NoPods"
    SERVERS_REFUSED = "ServersRefused"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    # On the way
    VALIDATING = "Validating"
    CHECKING = "Checking"
    MERGING = "Merging"
    LOADING = "Loading"
    APPLYING = "Applying"
    BAKING = "Baking"
    PROBING = "Probing"
    PROMOTING = "Promoting"
    SUPERSEDED = "Superseded"
    REVERTED = "Reverted"
    ORDER_IGNORED = "OrderIgnored"
    # Held
    PAUSED = "Paused"
    INSUFFICIENT_DATA = "InsufficientData"
    SCHEMA_UNUSABLE = "SchemaUnusable"
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    ANALYSIS_FAILED = "AnalysisFailed"
    BREAKER_OPEN = "BreakerOpen"
    # Taken back
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    ARTIFACT_REFUSED = "ArtifactRefused"
    CHECK_FAILED = "CheckFailed"
    LOAD_FAILED = "LoadFailed"
    NO_EFFECT = "NoEffect"
    FINGERPRINT_CHANGED = "FingerprintChanged"
    MERGE_FAILED = "MergeFailed"
    # At rest
    LOADED = "Loaded"
    APPLIED = "Applied"
    PASSING = "Passing"
    NO_CANARY = "NoCanary"
    SERVING = "Serving"
    NOT_SERVING = "NotServing"
    PROMOTED = "Promoted"
    HEALTHY = "Healthy"
    # Behind a Gateway
    EXPOSING = "Exposing"
    EXPOSED = "Exposed"
    GATEWAY_API_MISSING = "GatewayApiMissing"
    GATEWAY_REFUSES = "GatewayRefuses"
    ROUTE_REFUSED = "RouteRefused"
    # What governance says: the rules that can speak against serving, by their own names
    ALLOWED = "Allowed"
    GOVERNANCE_OFF = "GovernanceOff"
    LABEL_INVALID = "LabelInvalid"
    CLASSIFICATION_DOWNGRADE = "ClassificationDowngrade"
    NO_MATCHING_POLICY = "NoMatchingPolicy"
    RESIDENCY_VIOLATION = "ResidencyViolation"
    NOT_PINNED = "NotPinned"
    LICENCE_UNKNOWN = "LicenceUnknown"
    LICENCE_DENIED = "LicenceDenied"
    LICENCE_OBLIGATION = "LicenceObligation"
    ADAPTER_NOT_CLEARED = "AdapterNotCleared"
    UNVERIFIED = "Unverified"
    REVOKED = "Revoked"
    # Ending
    DRAINING = "Draining"
    INTERNAL = "Internal"


@dataclass(frozen=True)
class Explanation:
    """What a reason means, and what a person does next."""

    meaning: str
    next_action: str = "Nothing."
    stalls: bool = False
    """Whether a person has to do something before the rollout goes on, unless it ``resumes``."""
    resumes: bool = False
    """Whether it goes on by itself as soon as what the message names is there, also without an edit of this object."""
    once_taken_back: str = ""
    """What a person does where the version was taken back for it, if that is something else."""
    told: bool = False
    """Whether messages tell the next action themselves, with names."""

    @property
    def advice(self) -> str:
        """The next action in all cases, for the tables of the documentation."""
        return f"{self.next_action} Once taken back: {self.once_taken_back}" if self.once_taken_back else self.next_action


_ORDER = (
    "with the annotation finetune.dev/rollout: promote:1, or take the version back with abort:1 "
    "(each time a number that was not there before)"
)
_ANOTHER = "Publish another version, or set spec.retry to try this one again."


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ACCEPTED: Explanation("The spec can be carried out."),
    Reason.INVALID_SPEC: Explanation(
        "The stored spec does not fit its schema; the message names the field.", "Correct the field it names.", True
    ),
    Reason.ALIAS_TAKEN: Explanation(
        "An older AdapterDeployment of the namespace has the same modelName.",
        "Choose another modelName, or delete the other one.",
        stalls=True,
        resumes=True,
    ),
    Reason.JOB_NOT_FOUND: Explanation(
        "adapter.fineTuneJobRef names no FineTuneJob of this namespace.",
        "Create the job, or correct adapter.fineTuneJobRef.name; it is seen by itself.",
        stalls=True,
        resumes=True,
    ),
    Reason.JOB_FAILED: Explanation(
        "The FineTuneJob has no artifact, and makes none until somebody changes it; the message has its own reason and words.",
        "Do what the message says; the job's next artifact is rolled out by itself.",
        stalls=True,
        resumes=True,
    ),
    Reason.GATE_NOT_PASSED: Explanation(
        "The FineTuneJob has no artifact, because its run did not pass the gate; the message has the gate's reason and words.",
        "Change the job so that another run passes its gate; its artifact is rolled out by itself.",
        stalls=True,
        resumes=True,
    ),
    Reason.WAITING_FOR_ARTIFACT: Explanation(
        "The FineTuneJob has no artifact yet whose gate passed, or none with the digest that is pinned; the message has the job's phase.",
        "Wait for the run; the job's own condition Ready says what it waits for.",
    ),
    Reason.WAITING_FOR_APPROVAL: Explanation(
        "A person has to approve: the new artifact (adapter.promotion), or the end of a step (step.approval).",
        "Set spec.approvedVersion to the digest in the message.",
        told=True,
    ),
    Reason.NOT_EVALUATED: Explanation(
        "preflight.requireEvaluation is set, and no run with a passed gate made this adapter.",
        "Use fineTuneJobRef, or set preflight.requireEvaluation to false.",
        True,
    ),
    Reason.INCOMPATIBLE: Explanation(
        "The record of the adapter's run says that this server cannot serve it; the message names the field.",
        "Change the server or the adapter as the message says.",
        True,
    ),
    Reason.NO_PODS: Explanation(
        "No server pod exists, or server.external.matchLabels matches none; the message says if a quota or a policy takes none.",
        "Raise replicas, correct the labels, or free what the message names.",
    ),
    Reason.SERVERS_REFUSED: Explanation(
        "An object of this deployment cannot be made or changed, or its pods not be listed; what serves goes on, and the message says why.",
        "Correct what it names: the spec, a policy, a quota or the operator's rights. It is tried again by itself.",
        stalls=True,
        resumes=True,
    ),
    Reason.WAITING_FOR_CAPACITY: Explanation(
        "The engine cannot hold one version more; the message has the numbers.",
        "Raise server.capacity (and the engine's own limits), or wait for a neighbour's version to go; its own former one goes by itself.",
    ),
    Reason.VALIDATING: Explanation("The version is being checked before any pod is touched."),
    Reason.CHECKING: Explanation(
        "A Job reads the files at adapter.uri before any server pod is made for them, or told of them; the message says what it waits for, "
        "if anything."
    ),
    Reason.MERGING: Explanation(
        "A Job makes one model of base and adapter (mode Merged); the message says what it waits for, if anything."
    ),
    Reason.LOADING: Explanation("Server pods fetch, verify and load the version; it has no traffic yet."),
    Reason.APPLYING: Explanation("A new route is out; the bake begins when every router has acknowledged it."),
    Reason.BAKING: Explanation("The canary answers its share, and the checks look at it."),
    Reason.PROBING: Explanation("There were too few requests in time, so requests of the operator's own complete them."),
    Reason.PROMOTING: Explanation("All callers get the new version as soon as every router has acknowledged it."),
    Reason.SUPERSEDED: Explanation(
        "A newer version was asked for during the rollout; it starts again with that one, from the same stable."
    ),
    Reason.REVERTED: Explanation(
        "The spec asks for the stable version again, or not for this one any more; the canary's traffic went back at once."
    ),
    Reason.ORDER_IGNORED: Explanation(
        "The annotation finetune.dev/rollout ordered what does not exist or finds nothing to do; only an Event says this, once, and why.",
        "Order it again, with another number, once it can be carried out.",
    ),
    Reason.PAUSED: Explanation("spec.paused holds the rollout.", "Set it to false to go on."),
    Reason.INSUFFICIENT_DATA: Explanation(
        "The step has waited as long as it may and cannot tell; the message says what is missing.",
        f"Send traffic: it goes on by itself. Or go on {_ORDER}.",
        stalls=True,
        resumes=True,
        once_taken_back=_ANOTHER,
    ),
    Reason.SCHEMA_UNUSABLE: Explanation(
        "The JSON Schema that answers are held against is missing, too long or none; the bake stands still, and nothing is held against "
        "the canary.",
        "Put a JSON Schema of at most 65,536 characters there, or correct or remove analysis.checks.schema: the bake goes on by itself.",
        stalls=True,
        resumes=True,
    ),
    Reason.METRICS_UNAVAILABLE: Explanation(
        "Prometheus (analysis.provider) cannot be read or lacks counters of a router: nothing passes, and the canary is not blamed.",
        "Do what the message says; the rollout goes on by itself. Or set analysis.provider to Routers.",
        told=True,
    ),
    Reason.ANALYSIS_FAILED: Explanation(
        "A check failed, and rollback.automatic is false.",
        f"Go on {_ORDER}.",
        True,
    ),
    Reason.BREAKER_OPEN: Explanation(
        "Routers took the canary's traffic away by themselves, because too many of its requests failed; stable answers all callers.",
        f"See why they failed: a fault that all versions share opens it too. {_ANOTHER}",
        True,
    ),
    Reason.ROLLING_BACK: Explanation("The canary's traffic goes back to stable; routers are acknowledging it."),
    Reason.ROLLED_BACK: Explanation(
        "A check failed; stable answers all callers. The message has the check and its numbers.",
        _ANOTHER,
        True,
    ),
    Reason.ABORTED: Explanation("A person ended the rollout.", _ANOTHER, True),
    Reason.DEADLINE_EXCEEDED: Explanation(
        "Loading, or the routers' acknowledgement, took longer than progressDeadlineSeconds.",
        "Look at the pods and routers the message names, then set spec.retry.",
        True,
    ),
    Reason.ARTIFACT_REFUSED: Explanation(
        "The files at adapter.uri were read before any server was told of them, and it cannot serve them; the message has field, reason "
        "and way out.",
        "Do what the message says. Another uri, digest, base model or limit is looked at by itself, the same ones with a new spec.retry.",
        True,
    ),
    Reason.CHECK_FAILED: Explanation(
        "The Job that reads the adapter's files could not tell; the message has its last words.",
        "Correct what it names, then set spec.retry.",
        True,
    ),
    Reason.LOAD_FAILED: Explanation(
        "The pods refuse the adapter; the message has the field and the way out.",
        "Correct the adapter, whose other digest is tried by itself; or the engine's limits, and then set spec.retry to a new value.",
        True,
    ),
    Reason.NO_EFFECT: Explanation(
        "The adapter loads but changes no answer of the base model.",
        "Check that it was trained on this base model. Another digest is tried by itself, the same one after a new spec.retry only.",
        True,
    ),
    Reason.FINGERPRINT_CHANGED: Explanation(
        "Pods that hold the same version answer otherwise than each other; the message names them. A rollout of it does not go on.",
        "Replace the pods it names. If none is in the majority, compare their images, base model and nodes.",
        told=True,
    ),
    Reason.MERGE_FAILED: Explanation(
        "Base and adapter cannot be made one model; the message has the trainer's reason and the way out.",
        "Correct what it names, then publish another version or set spec.retry.",
        True,
    ),
    Reason.LOADED: Explanation("Every server pod holds every version it should."),
    Reason.APPLIED: Explanation("Every router has applied the newest route."),
    Reason.PASSING: Explanation("No check speaks against the canary."),
    Reason.NO_CANARY: Explanation("No version is being tried."),
    Reason.SERVING: Explanation("Server pods answer for the alias."),
    Reason.NOT_SERVING: Explanation(
        "No server pod holds the version; clients get 503 with Retry-After, never the base model.", "Look at the server pods."
    ),
    Reason.PROMOTED: Explanation("The new version answers all callers; the former one stays loaded for a while."),
    Reason.HEALTHY: Explanation("The version that the spec asks for answers all callers."),
    Reason.EXPOSING: Explanation(
        "The HTTPRoute is about to be made, or a Gateway has not answered for its newest generation.",
        "If it stays so: see that the Gateway exists and that its class has a controller.",
    ),
    Reason.EXPOSED: Explanation("Every Gateway has accepted the HTTPRoute and knows the router's Service."),
    Reason.GATEWAY_API_MISSING: Explanation(
        "traffic.httpRoute is set, and the API server knows no HTTPRoute of gateway.networking.k8s.io/v1.",
        "Install the Gateway API and a controller for it, or remove traffic.httpRoute; the operator sees either by itself.",
    ),
    Reason.GATEWAY_REFUSES: Explanation(
        "A Gateway does not take the HTTPRoute; the message has its own words.",
        "Change the Gateway's listeners (allowedRoutes, hostname), or traffic.httpRoute.",
    ),
    Reason.ROUTE_REFUSED: Explanation(
        "The HTTPRoute cannot be made, changed or removed; the message says why.",
        "Do what the message says; it is tried again by itself.",
    ),
    Reason.DRAINING: Explanation("The object is being deleted: the alias is off, open requests end, versions are unloaded."),
    Reason.INTERNAL: Explanation("The object's own status cannot be read.", "Restore the status, or upgrade the operator.", True),
}

EXPLANATIONS[Reason.ALLOWED] = Explanation("Nothing speaks against serving it; the message has level, policies and what is to be known.")
EXPLANATIONS[Reason.GOVERNANCE_OFF] = Explanation(
    "The deployment was governed before, and this installation does not look after governance: what serves goes on, nothing new begins.",
    "Install with governance.enabled (--governance).",
    stalls=True,
    resumes=True,
)
OF_GOVERNANCE = frozenset(Reason(rule.value) for rule in RULES if rule.value in set(Reason))
"""Reasons for which a version may not be served. All but ``Revoked`` are forgotten as soon as they hold no more."""
EXPLANATIONS |= {
    reason: Explanation(RULES[rule].meaning, RULES[rule].remedy, stalls=True, resumes=True)
    for rule in RULES
    if rule.value in set(Reason)
    for reason in (Reason(rule.value),)
}
"""What the message says, and what is to be done; it is decided anew by itself when a policy, a label or an adapter's record changes."""


def explanation_of(reason: Reason) -> Explanation:
    return EXPLANATIONS[reason]
