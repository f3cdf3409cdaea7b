"""The closed list of reasons: every ``reason`` of every condition and Event, with what it means and what to do next.

Reasons are API: alerts and scripts compare them. docs/reference/reasons.md is generated from here, and a reason that is not here cannot be
written, because decisions take members of ``Reason``.
"""

from dataclasses import dataclass
from enum import StrEnum

from finetune_operator.api.conditions import ConditionType as C
from finetune_trainer.contract.governance import RULES, Severity


class Reason(StrEnum):
    # The spec
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    # Waiting and going on
    RUN_PENDING = "RunPending"
    IN_PROGRESS = "InProgress"
    NEWER_SPEC_WAITING = "NewerSpecWaiting"
    PREPARING = "Preparing"
    PREPARED = "Prepared"
    QUEUED = "Queued"
    WAITING_FOR_NODE = "WaitingForNode"
    WAITING_FOR_VOLUME = "WaitingForVolume"
    WAITING_FOR_IMAGE = "WaitingForImage"
    STARTING = "Starting"
    ADMITTED = "Admitted"
    TRAINING = "Training"
    TRAINED = "Trained"
    INTERRUPTED = "Interrupted"
    RETRYING = "Retrying"
    TRACKED = "Tracked"
    TRACKER_UNREACHABLE = "TrackerUnreachable"
    PUBLISHING = "Publishing"
    PUBLISHED = "Published"
    SUSPENDED = "Suspended"
    SUSPENDING = "Suspending"
    NOT_STARTED = "NotStarted"
    NOT_SUSPENDED = "NotSuspended"
    # Verdicts
    GATE_PASSED = "GatePassed"
    NOT_GATED = "NotGated"
    GATE_REJECTED = "GateRejected"
    GATE_INCONCLUSIVE = "GateInconclusive"
    # Ends
    RUN_SUCCEEDED = "RunSucceeded"
    ARTIFACT_REUSED = "ArtifactReused"
    SPEC_ACCEPTED = "SpecAccepted"
    CANCELLED = "Cancelled"
    REPLACED = "Replaced"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    DATA_REJECTED = "DataRejected"
    CONFIGURATION_REJECTED = "ConfigurationRejected"
    MODEL_REJECTED = "ModelRejected"
    DIVERGED = "Diverged"
    OUT_OF_MEMORY = "OutOfMemory"
    STORAGE_FAILED = "StorageFailed"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    NO_PROGRESS = "NoProgress"
    # What the cluster refuses
    CLAIM_MISSING = "ClaimMissing"
    CONFIG_MAP_MISSING = "ConfigMapMissing"
    SECRET_MISSING = "SecretMissing"  # noqa: S105
    QUOTA_EXCEEDED = "QuotaExceeded"
    FORBIDDEN = "Forbidden"
    CHILD_REFUSED = "ChildRefused"
    NAME_TAKEN = "NameTaken"
    CHILD_DELETED = "ChildDeleted"
    POD_LOST = "PodLost"
    INTERNAL = "Internal"
    # Governance: what holds a job beside the rules, and the rules that can
    ALLOWED = "Allowed"
    AWAITING_APPROVAL = "AwaitingApproval"
    POLICY_DRIFT = "PolicyDrift"
    AUDIT_FINDING = "AuditFinding"
    DATASET_MISSING = "DatasetMissing"
    GOVERNANCE_OFF = "GovernanceOff"
    RECORD_REFUSED = "RecordRefused"
    PREFLIGHT_REFUSED = "PreflightRefused"
    LABEL_INVALID = "LabelInvalid"
    CLASSIFICATION_DOWNGRADE = "ClassificationDowngrade"
    DATASET_NOT_REGISTERED = "DatasetNotRegistered"
    DATASET_WITHDRAWN = "DatasetWithdrawn"
    RETENTION_EXPIRED = "RetentionExpired"
    PURPOSE_NOT_ALLOWED = "PurposeNotAllowed"
    NAMESPACE_NOT_CLEARED = "NamespaceNotCleared"
    NO_MATCHING_POLICY = "NoMatchingPolicy"
    POLICY_GONE = "PolicyGone"
    RESIDENCY_VIOLATION = "ResidencyViolation"
    NOT_PINNED = "NotPinned"
    LICENCE_UNKNOWN = "LicenceUnknown"
    LICENCE_DENIED = "LicenceDenied"
    UNSAFE_MODEL_FORMAT = "UnsafeModelFormat"
    UNDECLARED_REGIME = "UndeclaredRegime"
    DEIDENTIFICATION_REFUTED = "DeidentificationRefuted"
    TOO_FEW_EXAMPLES = "TooFewExamples"
    TOO_MANY_DUPLICATES = "TooManyDuplicates"
    EVALUATION_OVERLAP = "EvaluationOverlap"
    EXTERNAL_TRACKER = "ExternalTracker"
    EXTERNAL_JUDGE = "ExternalJudge"
    NO_COMPLIANT_NODE = "NoCompliantNode"
    EGRESS_NOT_ENFORCED = "EgressNotEnforced"
    EGRESS_PROBE_INCONCLUSIVE = "EgressProbeInconclusive"
    API_TOKEN_MOUNTED = "ApiTokenMounted"  # noqa: S105
    DIGEST_MISMATCH = "DigestMismatch"
    JUSTIFICATION_MISSING = "JustificationMissing"
    APPROVAL_UNREADABLE = "ApprovalUnreadable"
    GATE_MISSING = "GateMissing"
    NEED_MORE_ITEMS = "NeedMoreItems"
    ADAPTER_NOT_CLEARED = "AdapterNotCleared"
    UNVERIFIED = "Unverified"
    REVOKED = "Revoked"


SUMMARY = (C.READY, C.RECONCILING, C.STALLED, C.COMPLETE, C.FAILED)
"""``Ready`` and the conditions that repeat its reason."""
STEPS = (C.PREPARED, C.ADMITTED, C.TRAINED, C.PUBLISHED)
"""The condition of the step that is concerned; for the train step also ``Admitted``."""


@dataclass(frozen=True)
class Explanation:
    """What a reason means, on which conditions it appears, and what a person does next."""

    conditions: tuple[C, ...]
    meaning: str
    next_action: str = "Nothing."
    stalls: bool = False
    """Whether nothing will happen until somebody changes something."""


_EVERYWHERE = (*STEPS, *SUMMARY)

EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ACCEPTED: Explanation((C.ACCEPTED,), "The spec is valid."),
    Reason.INVALID_SPEC: Explanation(
        (C.ACCEPTED, *SUMMARY),
        "The stored spec does not fit its schema; the message names the field.",
        "Correct the field it names.",
        True,
    ),
    Reason.RUN_PENDING: Explanation(_EVERYWHERE, "A run is about to begin."),
    Reason.IN_PROGRESS: Explanation((C.STALLED, C.COMPLETE, C.FAILED), "The run goes on; Ready says where it is."),
    Reason.NEWER_SPEC_WAITING: Explanation(
        SUMMARY,
        "The spec changed during a run; the newest spec runs when this run has ended. A run that is blocked gives way at once.",
        "Nothing; or set runPolicy.concurrency to Replace, or runPolicy.cancel to the number of the run.",
    ),
    Reason.PREPARING: Explanation((C.PREPARED, *SUMMARY), "The data are being read, checked and sealed, without an accelerator."),
    Reason.PREPARED: Explanation((C.PREPARED,), "The dataset is sealed and the estimate is in status."),
    Reason.QUEUED: Explanation(_EVERYWHERE, "The queue has not admitted the train step yet.", "Wait, or look at the queue's quota."),
    Reason.WAITING_FOR_NODE: Explanation(
        _EVERYWHERE,
        "No node can take the pod now; the message quotes the scheduler. Clears by itself when one can.",
        "Add a node that fits, free one, or change spec.resources or queueName: a pod that has not started is made anew.",
    ),
    Reason.WAITING_FOR_VOLUME: Explanation(
        _EVERYWHERE,
        "A volume is not mounted yet; the message quotes the node.",
        "Check the claim and its storage class, or correct the URI.",
    ),
    Reason.WAITING_FOR_IMAGE: Explanation(
        _EVERYWHERE,
        "The node cannot pull the trainer image; the message quotes it. Clears by itself when it can.",
        "Check the image name and imagePullSecrets of the operator's installation: a run whose image was never pulled takes the corrected "
        "one.",
    ),
    Reason.STARTING: Explanation(_EVERYWHERE, "The pod is created and has not started yet."),
    Reason.ADMITTED: Explanation((C.ADMITTED,), "The train step runs, or ran, on a node."),
    Reason.TRAINING: Explanation((C.TRAINED, C.EVALUATED, *SUMMARY), "The model trains; see Step, Loss and ETA."),
    Reason.TRAINED: Explanation((C.TRAINED,), "Training reached its end."),
    Reason.INTERRUPTED: Explanation(
        _EVERYWHERE,
        "The pod was evicted or stopped, or is being stopped; the next attempt resumes from the last sealed checkpoint.",
        "Nothing; if the pod stays and its node is gone, delete the Node object or force-delete the pod.",
    ),
    Reason.RETRYING: Explanation(
        _EVERYWHERE,
        "An attempt failed for a reason that may pass, or spec.resources, queueName or the trainer image changed before its pod started; "
        "another one is coming.",
    ),
    Reason.PUBLISHING: Explanation((C.PUBLISHED, *SUMMARY), "The artifact is being copied to its destination."),
    Reason.PUBLISHED: Explanation(
        (C.PUBLISHED,),
        "The artifact lies at its destination; the message says so where spec.artifact.uri asks for another one by now.",
        "Nothing; or set spec.rerun to a new value to publish at the changed artifact.uri.",
    ),
    Reason.SUSPENDED: Explanation((C.SUSPENDED, *_EVERYWHERE), "spec.suspend holds the run.", "Set spec.suspend to false."),
    Reason.SUSPENDING: Explanation((C.SUSPENDED, *_EVERYWHERE), "spec.suspend is set; the running pod seals a checkpoint and ends."),
    Reason.NOT_STARTED: Explanation((*STEPS, C.EVALUATED, C.GOVERNED, C.TRACKED), "An earlier step has not ended, or no run has begun."),
    Reason.NOT_SUSPENDED: Explanation((C.SUSPENDED,), "spec.suspend is not set."),
    Reason.GATE_PASSED: Explanation((C.EVALUATED,), "The tuned model beats the base model as the gate demands."),
    Reason.NOT_GATED: Explanation((C.EVALUATED,), "No gate was asked for; the measured figures are in status."),
    Reason.GATE_REJECTED: Explanation(
        (C.EVALUATED, *SUMMARY),
        "The tuned model does not beat the base model by the margin asked for. The artifact is kept, marked as not promotable.",
        "Change data, learning rate or margin; status.evaluation shows the figures.",
        True,
    ),
    Reason.GATE_INCONCLUSIVE: Explanation(
        (C.EVALUATED, *SUMMARY),
        "Too few items to decide; the message says how many would.",
        "Add items to evaluation.dataset, or set evaluation.onInconclusive to Pass or Fail.",
        True,
    ),
    Reason.RUN_SUCCEEDED: Explanation(SUMMARY, "The run ended and its artifact is the current one."),
    Reason.ARTIFACT_REUSED: Explanation(SUMMARY, "A run of the very same spec succeeded before; its artifact is the current one again."),
    Reason.SPEC_ACCEPTED: Explanation((C.READY, C.RECONCILING), "healthPolicy WhenAccepted: ready for deploy tools while the run goes on."),
    Reason.CANCELLED: Explanation(
        _EVERYWHERE, "runPolicy.cancel ended the run.", "Change the spec, or set spec.rerun to a new value.", True
    ),
    Reason.REPLACED: Explanation(
        _EVERYWHERE,
        "A newer spec replaced the run (runPolicy.concurrency Replace, or nothing ran because of what the message names); its entry is in "
        "history. Taken back, the spec makes the run go on.",
    ),
    Reason.DEADLINE_EXCEEDED: Explanation(
        _EVERYWHERE,
        "The run used up activeDeadlineSeconds of running time.",
        "Raise runPolicy.activeDeadlineSeconds or train less, and set spec.rerun to a new value.",
        True,
    ),
    Reason.DATA_REJECTED: Explanation(
        _EVERYWHERE,
        "The data cannot be used: path missing, wrong format, unusable rows, targets against the output schema; rows go by number.",
        "Correct the data or the field the message names, and set spec.rerun to a new value.",
        True,
    ),
    Reason.CONFIGURATION_REJECTED: Explanation(
        _EVERYWHERE, "The trainer refuses a setting; the message names it.", "Correct the field the message names.", True
    ),
    Reason.MODEL_REJECTED: Explanation(
        _EVERYWHERE,
        "The base model cannot be used: files missing, another digest, an unsupported architecture.",
        "Correct baseModel or the files behind it, and set spec.rerun to a new value.",
        True,
    ),
    Reason.DIVERGED: Explanation(
        _EVERYWHERE,
        "The loss is no longer a number or no better than guessing.",
        "Lower training.learningRate, or raise warm-up.",
        True,
    ),
    Reason.OUT_OF_MEMORY: Explanation(
        _EVERYWHERE,
        "Memory did not suffice, also with smaller micro-batches.",
        "Shorten maxSequenceLength, use QLoRA or gradientCheckpointing, or raise memory; status.estimate names the cheapest change.",
        True,
    ),
    Reason.STORAGE_FAILED: Explanation(
        _EVERYWHERE,
        "A volume is full or cannot be written or read.",
        "Free or enlarge the claim the message names, and set spec.rerun to a new value.",
        True,
    ),
    Reason.ATTEMPTS_EXHAUSTED: Explanation(
        _EVERYWHERE,
        "The same step failed runPolicy.maxAttempts times; the message has the last evidence.",
        "Look at the pod's log and the node, then set spec.rerun to a new value.",
        True,
    ),
    Reason.NO_PROGRESS: Explanation(
        _EVERYWHERE,
        "Preempted twice in a row without a newly sealed checkpoint; counted as a failure of the infrastructure.",
        "Lower checkpoint.everySeconds, or use nodes that live longer.",
    ),
    Reason.CLAIM_MISSING: Explanation(
        _EVERYWHERE,
        "A PersistentVolumeClaim does not exist. Clears by itself when it does.",
        "Create the claim, or correct the URI: the run then begins again with the corrected one.",
    ),
    Reason.CONFIG_MAP_MISSING: Explanation(
        _EVERYWHERE,
        "task.outputSchema.configMapRef names what does not exist.",
        "Create the ConfigMap with that key, or correct the field.",
    ),
    Reason.SECRET_MISSING: Explanation(
        _EVERYWHERE,
        "baseModel.credentialsSecretRef names what does not exist.",
        "Create the Secret with the key token, or correct the field.",
    ),
    Reason.TRACKED: Explanation((C.TRACKED,), "The tracker has the run; the message names it."),
    Reason.TRACKER_UNREACHABLE: Explanation(
        (C.TRACKED,),
        "The training pod cannot log to the tracker of spec.tracking. The training goes on, and tries it again until it ends.",
        "Look at its address, experiment and credentials, and whether a network policy lets the pod reach it (docs/tracking.md).",
    ),
    Reason.QUOTA_EXCEEDED: Explanation(
        _EVERYWHERE,
        "A ResourceQuota of the namespace refuses the pod; the message quotes it. Tried again as time passes.",
        "Free quota, or ask for less in spec.resources.",
    ),
    Reason.FORBIDDEN: Explanation(
        _EVERYWHERE,
        "The cluster refuses the operator a right, or a policy refuses the object; the message quotes it.",
        "Grant the right or satisfy the policy.",
    ),
    Reason.CHILD_REFUSED: Explanation(
        _EVERYWHERE,
        "The API server finds a child of this object invalid; the message names the field.",
        "Correct that field; the corrected spec begins at once.",
        True,
    ),
    Reason.NAME_TAKEN: Explanation(
        _EVERYWHERE,
        "An object of the child's name exists and belongs to somebody else.",
        "Delete or rename that object, or set spec.rerun to a new value.",
        True,
    ),
    Reason.CHILD_DELETED: Explanation(
        _EVERYWHERE,
        "The Job of a running attempt is gone. The first one of a step costs no attempt, because it may have ended well; every further one "
        "counts as a failure of the infrastructure.",
    ),
    Reason.POD_LOST: Explanation(_EVERYWHERE, "The pod or its node is gone without a word; the next attempt resumes."),
    Reason.ALLOWED: Explanation((C.GOVERNED,), "Nothing that blocks was found; the message tells what was."),
    Reason.AWAITING_APPROVAL: Explanation(
        (C.GOVERNED, *_EVERYWHERE),
        "A policy asks for approvals or waivers of this very decision; the message has the stage, how many, and the digest.",
        "Have somebody who may approve, and neither submitted nor wrote the job, create an Approval with that digest.",
    ),
    Reason.POLICY_DRIFT: Explanation(
        (C.GOVERNED, *_EVERYWHERE),
        "Policies, labels or approvals changed under a running step, which would not be let begin now; at level restricted it is stopped, "
        "and at every level taken back where its pod has not begun.",
        "Satisfy the rules that the message names; otherwise the next step does not begin.",
    ),
    Reason.AUDIT_FINDING: Explanation(
        (), "Only an Event, once for each finding: a policy in mode Audit would hold or refuse the job, and does not."
    ),
    Reason.DATASET_MISSING: Explanation(
        _EVERYWHERE,
        "spec.dataset.ref names a TrainingDataset that does not exist, or cannot be read. Clears by itself when it can.",
        "Have its steward register it, or correct the name.",
    ),
    Reason.GOVERNANCE_OFF: Explanation(
        _EVERYWHERE,
        "spec.dataset.ref is used, or the job was governed before, and this installation does not look after governance.",
        "Install with governance.enabled (--governance); or, for data that nobody registered, use spec.dataset.inline in another job.",
        True,
    ),
    Reason.RECORD_REFUSED: Explanation(
        _EVERYWHERE,
        "The signed record of the trained adapter could not be added to the chain of its namespace, so nothing is published. Tried again "
        "every 30 s.",
        "Do what the message says: docs/governance/signing.md has each case.",
        True,
    ),
    Reason.PREFLIGHT_REFUSED: Explanation(
        (C.GOVERNED, *_EVERYWHERE),
        "The pod itself did not let its step begin, before any data were mounted: what it was told to decide by is missing, damaged or of "
        "another version, or its words are lost.",
        "Set spec.rerun to a new value; if it refuses again, look at the log of its container preflight.",
        True,
    ),
    Reason.INTERNAL: Explanation(
        _EVERYWHERE, "The trainer ended with an unexpected error.", "Look at the pod's log; please report it with the message.", True
    ),
}

EXPLANATIONS |= {
    Reason(rule.value): Explanation((C.GOVERNED, *_EVERYWHERE), text.meaning, text.remedy, text.severity is Severity.DENY)
    for rule, text in RULES.items()
    if rule.value in set(Reason)
}
"""A rule that refuses is a reason of its own; the table of rules says what it means."""


def explanation_of(reason: Reason) -> Explanation:
    return EXPLANATIONS[reason]
