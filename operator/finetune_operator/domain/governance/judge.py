"""The contract's decision about a job as it stands now, what of it goes into status, and what it holds up.

Before prepare only a refusal holds: what an approval could settle is asked for once the data are known, because approvals bind to the
sealed decision. What auditing policies find is told and holds nothing.
"""

from dataclasses import dataclass

from finetune_operator.api.governance.job import ClassificationStatus, DeclaredLabels, GovernanceFinding, GovernanceStatus, ObligationStatus
from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import Outcome
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.difference import changed_since, marks_of
from finetune_operator.domain.governance.facts import gather, sealed_run, speaking_run
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.results import gate_decision, prepared_message
from finetune_trainer.contract import Step
from finetune_trainer.contract.governance import Decision, Facts, Finding, RuleId, decide
from finetune_trainer.contract.governance import Outcome as Verdict
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.containment import contain
from finetune_trainer.contract.governance.facts import Stage
from finetune_trainer.contract.governance.findings import listed, shown
from finetune_trainer.contract.governance.licences import Obligation
from finetune_trainer.contract.governance.vocabulary import Level

_MESSAGE_LIMIT = 2000
_SHOWN, _OBLIGATIONS = 32, 16
MOST_POLICIES = 128
_JUSTIFICATION = 200
AUDIT_ONLY = "(audit only)"
NODE_FIELD = "node"
_ASKS_PEOPLE = frozenset({RuleId.APPROVAL_PENDING, RuleId.APPROVAL_STALE, RuleId.REVIEW_PENDING})


@dataclass(frozen=True)
class Judged:
    """One decision; ``blocks`` says that what comes next must not begin."""

    decision: Decision
    facts: Facts
    blocks: bool
    plan: str = ""
    """What would be run, for those who are asked to agree."""

    @property
    def denied(self) -> bool:
        return self.decision.outcome is Verdict.DENY

    @property
    def reason(self) -> Reason:
        """Of the first finding; where only people are missing, that."""
        if not self.blocks:
            return Reason.ALLOWED
        first = self.decision.findings[0].rule
        if self.decision.outcome is Verdict.NEEDS_APPROVAL or first in _ASKS_PEOPLE:
            return Reason.AWAITING_APPROVAL
        return Reason(first.value)

    @property
    def message(self) -> str:
        """All findings on one line, and where people are asked, which and for what."""
        told = self.decision.one_line()
        if self.reason is Reason.AWAITING_APPROVAL:
            told = f"{self._asked()} {told}"
        elif not self.blocks:
            policies = ", ".join(self.decision.policies) or "none"
            told = f"level {self.decision.classification.level}; policies: {policies}; {told}"
        return told if len(told) <= _MESSAGE_LIMIT else told[: _MESSAGE_LIMIT - 1] + "…"

    @property
    def stops(self) -> Reason | None:
        """Why a running pod is stopped: at the highest level for anything that would not let it begin, at any level for where it runs."""
        if not self.blocks:
            return None
        blocking = self._blocking()
        if any(finding.rule is RuleId.RESIDENCY_VIOLATION and finding.field == NODE_FIELD for finding in blocking):
            return Reason.RESIDENCY_VIOLATION
        if self.facts.egress is not None and any(finding.rule is RuleId.EGRESS_PROBE_INCONCLUSIVE for finding in blocking):
            return Reason.EGRESS_PROBE_INCONCLUSIVE
        return Reason.POLICY_DRIFT if self.decision.classification.level >= Level.RESTRICTED else None

    @property
    def recalls(self) -> bool:
        """Whether a pod that has not begun is taken back, at any level: for all but the lack of a node, for which it waits anyway."""
        others = any(finding.rule is not RuleId.NO_COMPLIANT_NODE for finding in self._blocking())
        return self.denied or (self.blocks and self.facts.stage is not Stage.ACCEPT and others)

    def _asked(self) -> str:
        """Who may, for what, and of which decision."""
        name = self.facts.subject.name
        stages = [finding.field.removeprefix("approvals.") for finding in self._blocking() if finding.rule in _ASKS_PEOPLE]
        if self.decision.outcome is Verdict.NEEDS_APPROVAL:
            stages.insert(0, "Waive")
        verbs = " and ".join(f"approve-{stage.lower()}" for stage in dict.fromkeys(stages))
        others = f", and did not submit it as {self.facts.subject.submitter}" if self.facts.subject.submitter else ""
        asked = f"Waits for an Approval by whoever may {verbs} finetunejobs/{name}{others}; subjectDigest: {self.decision.digest}."
        return f"{asked} {self.plan}" if self.plan else asked

    def _blocking(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.decision.findings if finding.blocks)


def judge(draft: Draft, spec: FineTuneJobSpec | None) -> Judged | None:
    """Decide about the job as the draft has it, and record that in the draft; None where governance has no say.

    ``spec`` is that of the run under way, else the present one. Where nothing governs the namespace, no policy matches and no registered
    data are used, nothing is recorded: not one write more than without governance.
    """
    view = draft.scene.observed.governance
    if view is None or spec is None or spec.dataset.inline is None:
        return None
    registered = spec.dataset.ref is not None
    if not (view.governed or view.policies or registered or draft.governance is not None):
        return None
    stage = _stage(draft, spec)
    facts = gather(draft, view, spec, stage)
    decision = decide(facts, view.policies, draft.scene.now)
    if not (view.governed or decision.policies or registered or draft.governance is not None):
        return None
    draft.governance = _record(draft, view, decision, spec)
    _hold_to_policies(draft, view, decision)
    draft.facts = facts
    draft.containment = contain(facts, view.policies, draft.scene.now)
    _wake_at_expiry(draft, facts)
    return Judged(decision, facts, decision.holds_up(stage), _plan(draft, spec))


def _hold_to_policies(draft: Draft, view: GovernanceView, decision: Decision) -> None:
    """The run under way answers to each enforced policy under which it was let pass, as long as it lasts; refused, to no other one."""
    run = draft.active_run
    if run is None or decision.outcome is Verdict.DENY:
        return
    enforced = {policy.name for policy in view.policies if policy.enforced}
    applying = {named.partition("@")[0] for named in decision.policies} & enforced
    draft.run = run.model_copy(update={"policies": sorted({*run.policies, *applying})[:MOST_POLICIES]})


def _stage(draft: Draft, spec: FineTuneJobSpec) -> Stage:
    """What is about to happen, or happens. A result that is not promotable is put away, which nobody has to approve."""
    run = draft.active_run
    if run is None or run.active_step is Step.PREPARE:
        return Stage.ACCEPT
    if run.active_step is Step.TRAIN:
        return Stage.START
    return Stage.PROMOTE if gate_decision(draft.evaluation, spec).outcome is Outcome.SUCCEEDED else Stage.ACCEPT


def _plan(draft: Draft, spec: FineTuneJobSpec) -> str:
    """What an approver agrees to, in one line: data, need, what is new in it, and why it is run in the submitter's words."""
    known, parts = draft.governance, []
    if (told := prepared_message(draft.dataset, draft.estimate)) and sealed_run(draft) is not None:
        parts.append(told)
        if draft.estimate is not None:
            parts.append(f"about {max(1, round(draft.estimate.seconds / 60))} min and {draft.estimate.memory_bytes / 2**30:.1f} GiB")
    if known is not None and known.last_run is not None:
        parts.append(f"changed since run {known.last_run.run}: {listed(known.changed)}")
    if spec.justification.strip():
        parts.append(f"justification: {shown(' '.join(spec.justification.split()), _JUSTIFICATION)}")
    return f"Plan: {'; '.join(parts)}." if parts else ""


def _record(draft: Draft, view: GovernanceView, decision: Decision, spec: FineTuneJobSpec) -> GovernanceStatus:
    known, run = draft.governance, speaking_run(draft)
    last = known.last_run if known is not None else None
    changed = changed_since(last, spec, run)
    if run is not None and run.outcome is not None and run.outcome is not Outcome.REPLACED:
        last, changed = marks_of(spec, run), []
    denied = decision.outcome is Verdict.DENY
    return GovernanceStatus(
        decision=decision.outcome,
        digest=decision.digest if sealed_run(draft) is not None else None,
        passed=(known is not None and known.passed) or not denied,
        classification=_classification(decision, known),
        declared=(known.declared if known is not None else None) if denied else _declared(draft, view),
        licence=known.licence if known is not None else None,
        policies=list(decision.policies)[:128],
        changed=changed,
        last_run=last,
        obligations=[_obligation(each) for each in decision.obligations[:_OBLIGATIONS]],
        findings=[finding_status(each) for each in decision.findings[:_SHOWN]],
    )


def _classification(decision: Decision, known: GovernanceStatus | None) -> ClassificationStatus:
    """Never below what it was when it was let pass; what is refused does not count, and is shown only while nothing else is known."""
    found = decision.classification
    before = known.classification if known is not None and known.passed else None
    if before is not None and decision.outcome is Verdict.DENY:
        return before
    before = before or ClassificationStatus(level=Level.PUBLIC)
    return ClassificationStatus(
        level=max(found.level, before.level),
        regimes=sorted(found.regimes | set(before.regimes))[:64],
        residencies=sorted(found.residencies | set(before.residencies))[:96],
    )


def _declared(draft: Draft, view: GovernanceView) -> DeclaredLabels:
    labels = draft.scene.subject.labels
    regimes = [key.removeprefix(words.REGIME_LABELS) for key in labels if key.startswith(words.REGIME_LABELS)]
    return DeclaredLabels(
        level=labels.get(words.LABEL_LEVEL),
        residency=labels.get(words.LABEL_RESIDENCY),
        regimes=sorted(set(regimes) & view.site.known_regimes)[:64],
    )


def _obligation(obligation: Obligation) -> ObligationStatus:
    return ObligationStatus(
        licence=obligation.licence,
        name_prefix=obligation.name_prefix or None,
        notice=obligation.notice or None,
        attribution=obligation.attribution or None,
        licence_text=obligation.licence_text,
    )


def finding_status(finding: Finding) -> GovernanceFinding:
    """A finding as status shows it."""
    aside = " (waived)" if finding.waived else "" if finding.enforced else f" {AUDIT_ONLY}"
    return GovernanceFinding(
        rule=finding.rule.value,
        severity=finding.severity.value,
        field=finding.field,
        message=f"{finding.reason}{aside}. {finding.remedy}",
        policy=f"{finding.policy}@{finding.generation}" if finding.policy else None,
        blocks=finding.blocks,
    )


def _wake_at_expiry(draft: Draft, facts: Facts) -> None:
    """Time alone changes a decision only where an approval runs out, or the time that data may be kept."""
    if draft.active_run is None:
        return
    for dataset in facts.datasets:
        if dataset.retain_until is not None and dataset.retain_until > draft.scene.now:
            draft.wake_in((dataset.retain_until - draft.scene.now).total_seconds() + 0.1)
    view = draft.scene.observed.governance
    terms = {rule.valid_for_seconds for policy in (view.policies if view else ()) for rule in policy.approvals}
    for approval in facts.approvals:
        age = (draft.scene.now - approval.given_at).total_seconds()
        left = [seconds - age for seconds in terms if seconds is not None]
        if approval.expires_at is not None:
            left.append((approval.expires_at - draft.scene.now).total_seconds())
        for seconds in left:
            if seconds > 0:
                draft.wake_in(seconds + 0.1)
