"""Events of governance, each once: what an auditing policy would refuse, a running step that drifted, a result that is refused now."""

from finetune_operator.api.conditions import Condition, ConditionType
from finetune_operator.api.governance.job import GovernanceFinding, GovernanceStatus
from finetune_operator.api.reasons import Reason
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.judge import AUDIT_ONLY, Judged


def note_news(draft: Draft, conditions: list[Condition], judged: Judged | None) -> None:
    """Compare what is known now with what status said before; equal findings are no news, whatever their message."""
    if judged is None:
        return
    before = {_identity(finding) for finding in _audited(draft.scene.status.governance)}
    for finding in _audited(draft.governance):
        if _identity(finding) not in before:
            text = f"policy {finding.policy} would hold this job, and only audits: {finding.rule}: {finding.field}: {finding.message}"
            draft.note(Reason.AUDIT_FINDING, "Audit", text, warning=True)
    _note_unreadable(draft)
    was, now = _reason(draft.scene.status.conditions, ConditionType.GOVERNED), _reason(conditions, ConditionType.GOVERNED)
    if now == was or not was:
        return
    if now == Reason.POLICY_DRIFT.value and not any(note.reason == now for note in draft.events):
        draft.note(
            Reason.POLICY_DRIFT, "Govern", f"the step under way goes on, and the next one would not begin: {judged.message}", warning=True
        )
    elif judged.denied and draft.active_run is None and draft.activity is None and draft.run is not None:
        draft.note(judged.reason, "Govern", f"the result of run {draft.run.number} is refused now: {judged.message}", warning=True)


def _note_unreadable(draft: Draft) -> None:
    known = draft.scene.status.governance
    before = {finding.message for finding in known.findings} if known is not None else set()
    for finding in draft.governance.findings if draft.governance is not None else []:
        if finding.rule == Reason.APPROVAL_UNREADABLE.value and finding.message not in before:
            draft.note(Reason.APPROVAL_UNREADABLE, "Govern", finding.message, warning=True)


def _audited(status: GovernanceStatus | None) -> list[GovernanceFinding]:
    return [finding for finding in status.findings if not finding.blocks and AUDIT_ONLY in finding.message] if status is not None else []


def _identity(finding: GovernanceFinding) -> tuple[str, str, str]:
    """Whose finding it is: an edit of the policy that finds the same again is no news."""
    return finding.rule, finding.field, (finding.policy or "").partition("@")[0]


def _reason(conditions: list[Condition], kind: ConditionType) -> str:
    return next((condition.reason for condition in conditions if condition.type is kind), "")
