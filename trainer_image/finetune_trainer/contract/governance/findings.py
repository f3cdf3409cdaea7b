"""What a decision says: findings in a stable order, what they amount to, and all of them on one line."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from finetune_trainer.contract.base import Digest, Document
from finetune_trainer.contract.governance.classification import Classification
from finetune_trainer.contract.governance.facts import Stage
from finetune_trainer.contract.governance.licences import Obligation
from finetune_trainer.contract.governance.policy import Policy
from finetune_trainer.contract.governance.rules import RULES, RuleId, Severity

REASON_LIMIT = 512
SHOWN_LIMIT = 80
_ORDER = {rule: position for position, rule in enumerate(RuleId)}
_SEVERITY = {severity: rank for rank, severity in enumerate(Severity)}


class Outcome(StrEnum):
    """The worst of all findings that count."""

    ALLOW = "Allow"
    HOLD = "Hold"
    NEEDS_APPROVAL = "NeedsApproval"
    DENY = "Deny"


class Finding(Document):
    """One thing that is wrong, or to be known: by which rule, where, why, and what to do. Never a value from a row."""

    rule: RuleId
    severity: Severity
    field: str = Field(max_length=384)
    reason: str = Field(max_length=REASON_LIMIT)
    remedy: str = Field(max_length=256)
    policy: str = Field(default="", max_length=253, description="Whose demand it is; empty for a rule that needs no policy.")
    generation: int = Field(default=0, ge=0, description="The policy's.")
    enforced: bool = Field(default=True, description="False where the policy only audits.")
    waived: bool = Field(default=False, description="Enough people have let it pass.")

    @property
    def blocks(self) -> bool:
        return self.enforced and not self.waived and self.severity > Severity.NOTE


class Decision(Document):
    """``digest`` is what approvals bind to: it covers what was decided upon, and the policies that apply."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    classification: Classification
    obligations: tuple[Obligation, ...] = ()
    policies: tuple[str, ...] = Field(default=(), description="Those that apply, as NAME@GENERATION.")
    digest: Digest

    def holds_up(self, stage: Stage) -> bool:
        """Whether what this stage comes before must not begin.

        Before the data are sealed only a refusal holds, because approvals bind to what is sealed; and that no node may have them.
        """
        if self.outcome is Outcome.DENY or (stage is not Stage.ACCEPT and self.outcome is not Outcome.ALLOW):
            return True
        return any(finding.rule is RuleId.NO_COMPLIANT_NODE and finding.blocks for finding in self.findings)

    def one_line(self) -> str:
        """Every finding on one line, in order; what several policies say alike is said once, with their names."""
        together: dict[tuple[str, ...], list[str]] = {}
        for finding in self.findings:
            together.setdefault(_words(finding), []).append(finding.policy)
        told = [_told(words, policies) for words, policies in together.items()]
        return f"{len(told)} finding(s): {'; '.join(told)}" if told else "no findings"


def find(rule: RuleId, field: str, reason: str, policy: Policy | None = None, severity: Severity | None = None) -> Finding:
    """A finding of this rule; without a severity of its own it has the rule's."""
    text = RULES[rule]
    return Finding.model_construct(
        rule=rule,
        severity=severity or text.severity,
        field=field,
        reason=reason if len(reason) <= REASON_LIMIT else reason[: REASON_LIMIT - 1] + "…",
        remedy=text.remedy,
        policy=policy.name if policy else "",
        generation=policy.generation if policy else 0,
        enforced=policy.enforced if policy else True,
        waived=False,
    )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What blocks first, then worst first, then in the order of the rules; equal findings once."""
    found = {_key(finding): finding for finding in findings}
    return tuple(found[key] for key in sorted(found))


def outcome_of(findings: Iterable[Finding]) -> Outcome:
    """The worst severity among the findings that block."""
    worst = max((finding.severity for finding in findings if finding.blocks), default=Severity.NOTE)
    return Outcome.ALLOW if worst is Severity.NOTE else Outcome(worst.value)


def shown(text: str, limit: int = SHOWN_LIMIT) -> str:
    """A text of a user's, quoted, on one line and not too long."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "'" + "".join(character if character.isprintable() else "?" for character in cut) + "'"


def listed(words: Iterable[str], limit: int = 6) -> str:
    """Some words of a list, and how many more there are; "none" for no word."""
    every = list(words)
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest or "none"


def _key(finding: Finding) -> tuple[bool, int, int, str, str, str, int]:
    return (
        not finding.blocks,
        -_SEVERITY[finding.severity],
        _ORDER[finding.rule],
        finding.field,
        finding.policy,
        finding.reason,
        finding.generation,
    )


def _words(finding: Finding) -> tuple[str, ...]:
    remark = "" if finding.enforced else "audit only"
    return finding.rule.value, finding.field, finding.reason, finding.remedy, "waived" if finding.waived else remark


def _told(words: tuple[str, ...], policies: list[str]) -> str:
    rule, field, reason, remedy, remark = words
    named = sorted({policy for policy in policies if policy})
    aside = ", ".join([*([f"policy {' + '.join(named)}"] if named else []), *([remark] if remark else [])])
    return f"{rule}: {field}: {reason}{f' ({aside})' if aside else ''}. {remedy}"
