"""The rules that only the API server can judge, because only it knows who asks: in the words and the form of the other rules.

They hold in governed namespaces, and those that protect labels and governance itself everywhere; docs/governance/admission.md says what
enforces them.
"""

from enum import StrEnum

from finetune_trainer.contract.governance.rules import Rule, Severity


class EnclosureRuleId(StrEnum):
    SUBMITTER_MISMATCH = "SubmitterMismatch"
    SPEC_EDITED_BY_ANOTHER = "SpecEditedByAnother"
    FOREIGN_WORKLOAD = "ForeignWorkload"
    FOREIGN_ENGINE = "ForeignEngine"
    INTERACTIVE_ACCESS = "InteractiveAccess"
    FOREIGN_NETWORK_POLICY = "ForeignNetworkPolicy"
    NAMESPACE_LABEL_PROTECTED = "NamespaceLabelProtected"
    DATASET_MISSING = "DatasetMissing"
    APPROVER_MISMATCH = "ApproverMismatch"
    NOT_ALLOWED_TO_APPROVE = "NotAllowedToApprove"
    SELF_APPROVAL = "SelfApproval"
    APPROVAL_OF_ANOTHER_DECISION = "ApprovalOfAnotherDecision"
    WITHDRAWN_BY_ANOTHER = "WithdrawnByAnother"
    GOVERNANCE_PROTECTED = "GovernanceProtected"
    FOREIGN_STATUS = "ForeignStatus"


ENCLOSURE_RULES: dict[EnclosureRuleId, Rule] = {
    EnclosureRuleId.SUBMITTER_MISMATCH: Rule(
        Severity.DENY,
        "The annotation of who submitted a job is missing on a new one, is not the API server's name of who asks, or was changed.",
        "Set it to the name that `kubectl auth whoami` prints, once and for all.",
    ),
    EnclosureRuleId.SPEC_EDITED_BY_ANOTHER: Rule(
        Severity.DENY,
        "Somebody other than its submitter changed what a job does, who could then approve what he wrote himself.",
        "Ask its submitter to change it, or submit a job of your own.",
    ),
    EnclosureRuleId.FOREIGN_WORKLOAD: Rule(
        Severity.DENY,
        "In a governed namespace something that runs pods, or tells them what to do, was made or changed by neither the operator nor a "
        "controller of Kubernetes.",
        "Submit a FineTuneJob or an AdapterDeployment, or use a namespace that is not governed.",
    ),
    EnclosureRuleId.FOREIGN_ENGINE: Rule(
        Severity.DENY,
        "Where data may be confidential an AdapterDeployment names an image that the platform team has not named, or an argument that may "
        "do more than size or speed up an engine: who chooses the program chooses what becomes of weights and prompts.",
        "Leave it out, or ask the platform team, who name images in governance.engineImages of the chart.",
    ),
    EnclosureRuleId.INTERACTIVE_ACCESS: Rule(
        Severity.DENY,
        "A way into a running pod: exec, attach, port-forward or proxy where data may be confidential, or a container added to it.",
        "Read status, events and logs instead.",
    ),
    EnclosureRuleId.FOREIGN_NETWORK_POLICY: Rule(
        Severity.DENY,
        "In a governed namespace another than the operator made, changed or deleted a network policy; one opens what others close.",
        "Ask the platform team; policies of its own are made before the namespace is governed.",
    ),
    EnclosureRuleId.NAMESPACE_LABEL_PROTECTED: Rule(
        Severity.DENY,
        "A label by which a namespace is governed, cleared or secured was set, changed or removed by somebody who may not administer it.",
        "Ask somebody who holds the verb administer on governancepolicies.finetune.dev.",
    ),
    EnclosureRuleId.DATASET_MISSING: Rule(
        Severity.DENY,
        "A job refers to a TrainingDataset that its namespace does not have, as far as the operator has told the API server.",
        "Have its steward register it; if that was done just now, apply the job again.",
    ),
    EnclosureRuleId.APPROVER_MISMATCH: Rule(
        Severity.DENY,
        "An Approval names another approver than the API server's name of who asks.",
        "Set it to the name that `kubectl auth whoami` prints: nobody approves for another.",
    ),
    EnclosureRuleId.NOT_ALLOWED_TO_APPROVE: Rule(
        Severity.DENY,
        "An Approval was made by somebody who does not hold the verb approve-<stage> on the object that is approved.",
        "Ask somebody who holds it, or a platform admin to grant it; RBAC says who may approve.",
    ),
    EnclosureRuleId.SELF_APPROVAL: Rule(
        Severity.DENY,
        "Who approves has submitted the job, or can act as the service account that has; or is a service account, which anybody may be; or "
        "nobody knows who submitted it, so nobody can be another.",
        "Ask somebody else.",
    ),
    EnclosureRuleId.APPROVAL_OF_ANOTHER_DECISION: Rule(
        Severity.DENY,
        "The Approval's digest is not that of the present decision about the job: it was changed since, or is not decided yet.",
        "Read the job's status.governance again, and approve what it says now.",
    ),
    EnclosureRuleId.WITHDRAWN_BY_ANOTHER: Rule(
        Severity.DENY,
        "An Approval was deleted by another than who gave it; what was agreed to is not another's to undo.",
        "Ask who gave it, or suspend the job.",
    ),
    EnclosureRuleId.GOVERNANCE_PROTECTED: Rule(
        Severity.DENY,
        "A GovernancePolicy, a GovernanceFacts or the definition of one of our kinds was made, changed or deleted by somebody who may not; "
        "or what is registered about data was deleted.",
        "Ask somebody who holds the verb administer on governancepolicies.finetune.dev.",
    ),
    EnclosureRuleId.FOREIGN_STATUS: Rule(
        Severity.DENY,
        "In a governed namespace another than the operator wrote the status of one of our objects, from which decisions are read.",
        "Change the spec instead; the operator says what came of it.",
    ),
}
