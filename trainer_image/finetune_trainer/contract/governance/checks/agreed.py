"""Who has agreed: enough people, none of them submitter or author, to this very decision, and not too long ago."""

from collections.abc import Iterator
from datetime import timedelta

from finetune_trainer.contract.governance.case import Case
from finetune_trainer.contract.governance.facts import ApprovalFacts, ApprovalStage, Stage, SubjectFacts
from finetune_trainer.contract.governance.findings import Finding, find, listed, shown
from finetune_trainer.contract.governance.policy import ApprovalRule, Policy
from finetune_trainer.contract.governance.rules import RuleId, Severity
from finetune_trainer.contract.governance.vocabulary import SERVICE_ACCOUNTS

_ASKED_AT = {
    ApprovalStage.TRAIN: frozenset({Stage.SEAL, Stage.START}),
    ApprovalStage.PROMOTE: frozenset({Stage.PROMOTE}),
}
LEAST_WAIVERS = 2
"""For a finding that is no policy's, unless a policy that applies asks for more."""


def purpose_is_stated(case: Case, policy: Policy) -> Iterator[Finding]:
    if policy.require_justification and case.facts.subject.justified is False:
        yield find(RuleId.JUSTIFICATION_MISSING, "spec.justification", "is empty", policy)


def enough_have_approved(case: Case, policy: Policy) -> Iterator[Finding]:
    for rule in policy.approvals:
        if rule.min_level <= case.level and case.facts.stage in _ASKED_AT[rule.stage]:
            yield from _shortage(case, policy, rule)


def approvals_can_be_read(case: Case) -> Iterator[Finding]:
    for name in sorted(set(case.facts.unreadable_approvals)):
        reason = f"Approval {shown(name)} cannot be read: another version of its definition stored it. It does not count"
        yield find(RuleId.APPROVAL_UNREADABLE, "approvals", reason)


def sample_is_reviewed(case: Case, policy: Policy) -> Iterator[Finding]:
    """One person is enough; the sample is part of what is decided, so that an approval is of these very rows."""
    if policy.review is None or not case.facts.datasets or case.facts.stage not in _ASKED_AT[ApprovalStage.TRAIN]:
        return
    field, sample = f"approvals.{ApprovalStage.REVIEW}", case.facts.review
    if sample is None:
        yield find(RuleId.REVIEW_PENDING, field, "no rows were drawn", policy)
        return
    flaws = [(each, _flaw(case, each, None)) for each in case.facts.approvals if each.stage is ApprovalStage.REVIEW]
    if any(not flaw for _, flaw in flaws):
        return
    told = sorted({f"{shown(each.approver)}: {flaw}" for each, flaw in flaws})
    rows = min(policy.review.rows, sample.rows)
    aside = f"; {listed(told)}" if told else ""
    yield find(
        RuleId.REVIEW_PENDING, field, f"nobody has looked at the first {rows} rows of report {shown(sample.report_digest)}{aside}", policy
    )


def waived(case: Case, finding: Finding) -> bool:
    """Whether enough people have let this finding pass; only one that needs approval can be."""
    if finding.severity is not Severity.NEEDS_APPROVAL:
        return False
    people = {
        approval.approver for approval in case.facts.approvals if approval.stage is ApprovalStage.WAIVE and not _flaw(case, approval, None)
    }
    if not finding.policy:
        needed = max((LEAST_WAIVERS, *(policy.waiver_approvals for policy in case.policies if policy.enforced)))
    else:
        asking = (policy for policy in case.policies if (policy.name, policy.enforced) == (finding.policy, finding.enforced))
        needed = max(policy.waiver_approvals for policy in asking)
    return len(people) >= needed


def _shortage(case: Case, policy: Policy, rule: ApprovalRule) -> Iterator[Finding]:
    given = [approval for approval in case.facts.approvals if approval.stage is rule.stage]
    flaws = [(approval, _flaw(case, approval, rule.valid_for_seconds)) for approval in given]
    people = {approval.approver for approval, flaw in flaws if not flaw}
    if len(people) >= rule.count:
        return
    stale = any(flaw in _STALE for _, flaw in flaws)
    told = sorted({f"{shown(approval.approver)}: {flaw}" for approval, flaw in flaws if flaw})
    aside = f"; {listed(told)}" if told else ""
    which = RuleId.APPROVAL_STALE if stale else RuleId.APPROVAL_PENDING
    yield find(which, f"approvals.{rule.stage}", f"{len(people)} of {rule.count}{aside}", policy)


_EXPIRED, _OTHER, _FUTURE = "has expired", "is for another decision", "is dated in the future"
_STALE = frozenset({_EXPIRED, _OTHER})


def _flaw(case: Case, approval: ApprovalFacts, valid_for_seconds: int | None) -> str:
    """Why an approval does not count, or nothing."""
    if by_nobody_else := _person(case.facts.subject, approval.approver):
        return by_nobody_else
    if approval.subject_digest != case.digest:
        return _OTHER
    if approval.given_at > case.now:
        return _FUTURE
    too_old = valid_for_seconds is not None and case.now - approval.given_at >= timedelta(seconds=valid_for_seconds)
    if too_old or (approval.expires_at is not None and case.now >= approval.expires_at):
        return _EXPIRED
    return ""


def _person(subject: SubjectFacts, approver: str) -> str:
    """Why this is not known to be another person than who submitted, or nothing."""
    if not subject.submitter:
        return "nobody knows who submitted it, so nobody can be another"
    if not approver or approver == subject.submitter or approver in subject.authors:
        return "is submitter or author of the spec"
    return "is a service account, and nobody can tell who acts by it" if approver.startswith(SERVICE_ACCOUNTS) else ""
