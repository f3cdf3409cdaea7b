"""Who agreed to the decision under which a job goes on, as its record tells it."""

from finetune_operator.api.governance.approval import Approval
from finetune_operator.api.governance.job import AgreementStatus
from finetune_operator.api.governance.vocabulary import SUBMITTER_ANNOTATION
from finetune_operator.api.run import CurrentRun
from finetune_operator.domain import reading
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.view import read_approval
from finetune_trainer.contract.governance.vocabulary import SERVICE_ACCOUNTS

MOST = 16
_REASON = 256


def counted(draft: Draft) -> list[AgreementStatus]:
    """Approvals and waivers for the sealed decision that count now, oldest first."""
    view, governance = draft.scene.observed.governance, draft.governance
    if view is None or governance is None or governance.digest is None:
        return []
    submitter, now = draft.scene.subject.annotations.get(SUBMITTER_ANNOTATION, ""), draft.scene.now
    found = []
    for manifest in view.approvals:
        given = read_approval(manifest, draft.scene.owner.name)
        if given is None or given.subject_digest != governance.digest or given.given_at > now:
            continue
        if given.approver == submitter or given.approver.startswith(SERVICE_ACCOUNTS):
            continue
        if given.expires_at is not None and given.expires_at <= now:
            continue
        found.append(
            AgreementStatus(
                name=reading.text(manifest, "metadata", "name")[:253],
                uid=reading.text(manifest, "metadata", "uid")[:63],
                stage=given.stage,
                approver=given.approver,
                subject_digest=given.subject_digest,
                reason=Approval.model_validate(manifest).spec.reason[:_REASON],
                given_at=given.given_at,
                expires_at=given.expires_at,
            )
        )
    return sorted(found, key=lambda each: (each.given_at, each.name))[:MOST]


def remembered(draft: Draft, run: CurrentRun) -> list[AgreementStatus]:
    """Those under which the training began, and those that count now: whoever takes an Approval away later does not unsay it."""
    known = {each.name: each for each in run.agreements}
    return [*known.values(), *(each for each in counted(draft) if each.name not in known)][:MOST]
