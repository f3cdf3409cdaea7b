"""A decision that waits for people at every stage, as `decide` sees it: whether an Approval counts for it, and why not."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from finetune_trainer.contract.governance import Decision, Facts, Finding, Policy, RuleId, decide
from finetune_trainer.contract.governance.facts import ApprovalFacts, ApprovalStage, Stage

NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
_ASKING: Final = Policy.model_validate(
    {
        "name": "asks-people",
        "approvals": [{"stage": "Train"}, {"stage": "Promote"}],
        "review": {"rows": 10},
        "licences": {"conditional": ["MIT"]},
        "waiverApprovals": 1,
        "requireEvaluation": False,
    }
)
"""For training and promotion one person, for the data one who has looked, for the licence one waiver."""


@dataclass(frozen=True)
class Opinion:
    """What `decide` makes of one Approval. ``flaw`` is in its words, and empty where it says none."""

    counts: bool
    flaw: str = ""


def sealed_facts(namespace: str, name: str, uid: str, submitter: str) -> Facts:
    """A job whose data are prepared, with rows to look at and a licence that needs a waiver."""
    return Facts.model_validate(
        {
            "stage": "Start",
            "namespace": {"name": namespace},
            "subject": {"name": name, "uid": uid, "submitter": submitter},
            "datasets": [{"uri": "pvc://data/tickets.jsonl"}],
            "baseModel": {"uri": "pvc://models/tiny-chat", "licences": [{"key": "MIT", "category": "Permissive"}], "formats": []},
            "review": {"rows": 10, "reportDigest": "sha256:" + "d" * 64},
        }
    )


def sealing(facts: Facts) -> str:
    """What approvals of this decision bind to."""
    return decide(facts, (_ASKING,), NOW).digest


def opinion(facts: Facts, given: ApprovalFacts) -> Opinion:
    """Whether this Approval alone settles what its stage asks for."""
    stage = Stage.PROMOTE if given.stage is ApprovalStage.PROMOTE else Stage.START
    decision = decide(facts.model_copy(update={"stage": stage, "approvals": (given,)}), (_ASKING,), NOW)
    if given.stage is ApprovalStage.WAIVE:
        return Opinion(_conditional(decision).waived)
    asked = [finding for finding in decision.findings if finding.field == f"approvals.{given.stage}"]
    return Opinion(not asked, asked[0].reason.rpartition(": ")[2] if asked else "")


def _conditional(decision: Decision) -> Finding:
    return next(finding for finding in decision.findings if finding.rule is RuleId.LICENCE_CONDITIONAL)
