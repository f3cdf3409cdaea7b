"""The closed list of rules: every finding names one of them, with what it means and what to do next.

Rule ids are API: alerts, waivers and records compare them. docs/reference/governance-rules.md is generated from here. The order of the
members is the order in which findings of one severity are told.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import total_ordering

from finetune_trainer.contract.governance.facts import Stage


@total_ordering
class Severity(Enum):
    """What a finding does, mildest first: nothing but travel along, wait, wait for a waiver, refuse."""

    NOTE = "Note"
    HOLD = "Hold"
    NEEDS_APPROVAL = "NeedsApproval"
    DENY = "Deny"

    def __lt__(self, other: object) -> bool:
        return _RANKS[self._value_] < _RANKS[other._value_] if isinstance(other, Severity) else NotImplemented

    def __str__(self) -> str:
        return self.value


_RANKS = {severity.value: rank for rank, severity in enumerate(Severity)}


class RuleId(StrEnum):
    # What is said of the data, and what it may be said by
    LABEL_INVALID = "LabelInvalid"
    CLASSIFICATION_DOWNGRADE = "ClassificationDowngrade"
    DATASET_NOT_REGISTERED = "DatasetNotRegistered"
    DATASET_WITHDRAWN = "DatasetWithdrawn"
    PURPOSE_NOT_ALLOWED = "PurposeNotAllowed"
    RETENTION_EXPIRED = "RetentionExpired"
    NAMESPACE_NOT_CLEARED = "NamespaceNotCleared"
    NO_MATCHING_POLICY = "NoMatchingPolicy"
    POLICY_GONE = "PolicyGone"
    RESIDENCY_VIOLATION = "ResidencyViolation"
    # What is used
    NOT_PINNED = "NotPinned"
    LICENCE_UNKNOWN = "LicenceUnknown"
    LICENCE_DENIED = "LicenceDenied"
    LICENCE_CONDITIONAL = "LicenceConditional"
    LICENCE_OBLIGATION = "LicenceObligation"
    UNSAFE_MODEL_FORMAT = "UnsafeModelFormat"
    # What the data hold
    UNDECLARED_REGIME = "UndeclaredRegime"
    DEIDENTIFICATION_REFUTED = "DeidentificationRefuted"
    DEIDENTIFICATION_DOUBTFUL = "DeidentificationDoubtful"
    SECRET_IN_DATA = "SecretInData"  # noqa: S105
    SCAN_COVERAGE_GAP = "ScanCoverageGap"
    TOO_FEW_EXAMPLES = "TooFewExamples"
    TOO_MANY_DUPLICATES = "TooManyDuplicates"
    EVALUATION_OVERLAP = "EvaluationOverlap"
    # Where it goes
    EXTERNAL_TRACKER = "ExternalTracker"
    EXTERNAL_JUDGE = "ExternalJudge"
    NO_COMPLIANT_NODE = "NoCompliantNode"
    EGRESS_NOT_ENFORCED = "EgressNotEnforced"
    EGRESS_PROBE_INCONCLUSIVE = "EgressProbeInconclusive"
    API_TOKEN_MOUNTED = "ApiTokenMounted"  # noqa: S105
    DIGEST_MISMATCH = "DigestMismatch"
    # Who agreed, and what came of it
    JUSTIFICATION_MISSING = "JustificationMissing"
    APPROVAL_PENDING = "ApprovalPending"
    APPROVAL_STALE = "ApprovalStale"
    REVIEW_PENDING = "ReviewPending"
    APPROVAL_UNREADABLE = "ApprovalUnreadable"
    GATE_FAILED = "GateFailed"
    GATE_MISSING = "GateMissing"
    NEED_MORE_ITEMS = "NeedMoreItems"
    ADAPTER_NOT_CLEARED = "AdapterNotCleared"
    UNVERIFIED = "Unverified"
    REVOKED = "Revoked"


@dataclass(frozen=True)
class Rule:
    """``since`` is the first stage at which a fact that is still unknown is a finding; where it is None, only what is known is judged."""

    severity: Severity
    meaning: str
    remedy: str
    since: Stage | None = None
    otherwise: Severity | None = None
    """The severity where a policy says ``quality.waivable``."""


D, A, H, N = Severity.DENY, Severity.NEEDS_APPROVAL, Severity.HOLD, Severity.NOTE

RULES: dict[RuleId, Rule] = {
    RuleId.LABEL_INVALID: Rule(
        D,
        "A label of level, regime, residency or enclave is no word of the vocabulary; or one is missing in a governed namespace.",
        "Set the label to one of the legal values.",
    ),
    RuleId.CLASSIFICATION_DOWNGRADE: Rule(
        D,
        "A label was lowered or removed, or the declared level is below that of a dataset, of the adapter it goes on from or serves, or of "
        "what was recorded for the same name before.",
        "Raise the label to the level named; lower data by a new version of the dataset with a record of its own.",
    ),
    RuleId.DATASET_NOT_REGISTERED: Rule(
        D,
        "Above internal, data need a record made by whoever may classify them; this source has none.",
        "Refer to a registered dataset, or ask its steward to register it.",
    ),
    RuleId.DATASET_WITHDRAWN: Rule(
        D,
        "The data, or others that lie in the same place or have the same digest, were withdrawn; nothing is to be made of them any more.",
        "Use another version of the data, without what this one was withdrawn for.",
    ),
    RuleId.PURPOSE_NOT_ALLOWED: Rule(
        D,
        "The record of the data or the policy names the purposes that are allowed, and the job has another one or states none.",
        "State one of these purposes in spec.purpose if it is the job's, or ask the owner of the data.",
    ),
    RuleId.RETENTION_EXPIRED: Rule(
        D,
        "The data may be kept until a moment that has passed. What was trained before it is not affected.",
        "Use data that may still be kept, and have these deleted.",
    ),
    RuleId.NAMESPACE_NOT_CLEARED: Rule(
        D,
        "Level or a regime of the whole exceeds what the namespace is cleared for; without a clearance label that is public.",
        "Use a namespace that is cleared for it, or ask a platform admin to clear this one.",
    ),
    RuleId.NO_MATCHING_POLICY: Rule(
        D,
        "From confidential on something must apply, and no enforced policy does; one that begins above confidential is not enough, because "
        "a higher label would then allow more.",
        "Ask the platform team for an enforced policy that matches this namespace with minLevel confidential or below.",
    ),
    RuleId.POLICY_GONE: Rule(
        D,
        "An enforced policy under which the run was let pass was deleted, or no longer matches it: the run does not go on because nobody "
        "asks any more for what that policy asked for.",
        "Restore the policy; or delete the job and apply it again, so that what holds now decides.",
    ),
    RuleId.RESIDENCY_VIOLATION: Rule(
        D,
        "The policy does not allow the source of data, their place or that of the node; or data must lie in two places at once.",
        "Use data and a namespace whose place the policy names.",
    ),
    RuleId.NOT_PINNED: Rule(
        D,
        "A dataset, a model, an adapter or an image is not named by digest, so the same words may mean something else tomorrow.",
        "Add the digest, sha256:<64 hex digits>; for an image NAME@sha256:<64 hex digits>.",
    ),
    RuleId.LICENCE_UNKNOWN: Rule(
        D,
        "No licence was found among the model's files, or its text is not in the licence database, and the policy does not name it.",
        "State the licence in the model's files, or ask the platform team to list its key or to state the licence in its policy.",
        since=Stage.SEAL,
    ),
    RuleId.LICENCE_DENIED: Rule(D, "The policy denies a licence of the base model, or does not allow it.", "Choose another base model."),
    RuleId.LICENCE_CONDITIONAL: Rule(
        A, "The policy allows a licence of the base model case by case.", "Ask for a waiver that is bound to this decision."
    ),
    RuleId.LICENCE_OBLIGATION: Rule(
        N,
        "The licence of the base model, of the adapter or of a model that wrote rows of the data asks for a name, a notice or its text; "
        "an adapter that is served under another name than it asks for is denied.",
        "Name the model and show the notice as the licence asks.",
    ),
    RuleId.UNSAFE_MODEL_FORMAT: Rule(
        D, "Loading the base model would run code that lies beside its weights.", "Convert it to safetensors without remote code."
    ),
    RuleId.UNDECLARED_REGIME: Rule(
        D,
        "The scan found identifiers with a right checksum in data that are not declared under a regime for them; the regime is raised.",
        "Ask the dataset's steward for a new record with the regime, or remove the rows; scan.json of the run names them by number.",
    ),
    RuleId.DEIDENTIFICATION_REFUTED: Rule(
        D,
        "The record claims Safe Harbor, and the scan found an identifier of its list with a right checksum.",
        "Remove the rows, or have the claim withdrawn and the data classified again.",
    ),
    RuleId.DEIDENTIFICATION_DOUBTFUL: Rule(
        A,
        "The record claims Safe Harbor, and the scan found what looks like an identifier of its list.",
        "Review the rows, remove them, or ask for a waiver that is bound to this decision.",
    ),
    RuleId.SECRET_IN_DATA: Rule(
        A,
        "The scan found what looks like a private key or an access token; a model may tell what it has learned, whatever its label.",
        "Revoke it where it is valid, remove the rows, or ask for a waiver that is bound to this decision.",
    ),
    RuleId.SCAN_COVERAGE_GAP: Rule(
        A,
        "The policy asks for a scan of all rows, and there was none or not of all; at restricted, also one that sees too little.",
        "Install a trainer image that sees what the policy asks for (docs/governance/scanning.md, Names), or ask for a waiver that is "
        "bound to this decision.",
        since=Stage.SEAL,
    ),
    RuleId.TOO_FEW_EXAMPLES: Rule(
        D, "The data have fewer examples than the policy or the task asks for.", "Add examples.", since=Stage.SEAL, otherwise=A
    ),
    RuleId.TOO_MANY_DUPLICATES: Rule(
        D, "More rows are duplicates than the policy allows.", "Remove the duplicates.", since=Stage.SEAL, otherwise=A
    ),
    RuleId.EVALUATION_OVERLAP: Rule(
        D,
        "More evaluation items occur in the training data than the policy allows.",
        "Remove them from either side.",
        since=Stage.SEAL,
        otherwise=A,
    ),
    RuleId.EXTERNAL_TRACKER: Rule(D, "A tracker's host is not on the policy's list.", "Use a tracker that the policy names, or none."),
    RuleId.EXTERNAL_JUDGE: Rule(D, "A judge's host is not on the policy's list.", "Use a judge that the policy names, or none."),
    RuleId.NO_COMPLIANT_NODE: Rule(
        H, "No node satisfies all policies that apply and the place of the data; this is never relaxed.", "Add or free such a node."
    ),
    RuleId.EGRESS_NOT_ENFORCED: Rule(
        D,
        "The pod reached the outside although the policy closes it: the cluster's network does not enforce NetworkPolicy.",
        "Run in a cluster whose network plug-in enforces NetworkPolicy.",
    ),
    RuleId.EGRESS_PROBE_INCONCLUSIVE: Rule(
        D,
        "Whether egress is closed is not known: no probe, or its target answers nobody.",
        "Give the probe a target that can be reached from where egress is open.",
        since=Stage.START,
    ),
    RuleId.API_TOKEN_MOUNTED: Rule(
        D,
        "A token of a service account lies in the pod, by which whatever runs there could ask the API server.",
        "Find out what puts tokens into pods that ask for none, such as an admission webhook, and leave these pods out.",
    ),
    RuleId.DIGEST_MISMATCH: Rule(
        D, "What was read is not what was sealed; nothing that came of it may be used.", "Restore the sealed bytes, or prepare again."
    ),
    RuleId.JUSTIFICATION_MISSING: Rule(
        D, "The policy asks why a job is run, and its submitter does not say.", "Say so in spec.justification; approvers are shown it."
    ),
    RuleId.APPROVAL_PENDING: Rule(
        H,
        "Too few people other than submitter and authors of the spec have approved this very decision.",
        "Ask somebody who may approve this stage.",
        since=Stage.SEAL,
    ),
    RuleId.APPROVAL_STALE: Rule(
        H, "An approval has expired, or was given for another decision, and too few others are left.", "Ask for the approval again."
    ),
    RuleId.REVIEW_PENDING: Rule(
        H,
        "The policy asks that somebody other than the submitter looks at rows drawn from the data, and nobody says so of this decision.",
        "Look at the rows that the report names (data/review.json of the work folder), and approve stage Review.",
        since=Stage.SEAL,
    ),
    RuleId.APPROVAL_UNREADABLE: Rule(
        N,
        "Another version of its definition stored an Approval, so that nobody can read what was agreed to. It never counts.",
        "Have it deleted and given again by who gave it, once definitions and operator are of one version.",
    ),
    RuleId.GATE_FAILED: Rule(
        A, "A gate has decided against the adapter.", "Change the data or the training, or ask for a waiver that is bound to this decision."
    ),
    RuleId.GATE_MISSING: Rule(
        D,
        "The policy asks for an evaluation, and the job names no gate; where that is asked for only once it is trained, the adapter waits.",
        "Set spec.evaluation.gates; that is another run.",
        since=Stage.PROMOTE,
    ),
    RuleId.NEED_MORE_ITEMS: Rule(H, "A gate cannot decide by so few items.", "Add evaluation items."),
    RuleId.ADAPTER_NOT_CLEARED: Rule(
        D,
        "Level or a regime of the adapter exceeds what the serving namespace or the model server is cleared for.",
        "Serve it where it is cleared.",
    ),
    RuleId.UNVERIFIED: Rule(
        D,
        "The adapter's signature or record is damaged; or absent although the policy asks for it.",
        "Publish the adapter again from its run.",
        since=Stage.SERVE,
    ),
    RuleId.REVOKED: Rule(
        D, "The adapter was revoked, for instance because a dataset was withdrawn.", "Roll back to an adapter that was not trained on it."
    ),
}
