"""Between training and publishing: the record of a governed run is asked for, and the publish step waits until it is in its chain."""

from pydantic import ValidationError

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun, Outcome
from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.domain.activity import Activity, ActivityKind, starting
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.governance.judge import judge
from finetune_operator.domain.governance.sections import sections_of
from finetune_operator.domain.governance.signing import Recorded, RecordRequest
from finetune_operator.domain.observed import REJECTION_SECONDS
from finetune_operator.domain.results import gate_decision
from finetune_operator.domain.subject import mistakes_of
from finetune_operator.manifests.names import run_hash


def record_of(draft: Draft, run: CurrentRun, spec: FineTuneJobSpec) -> Recorded | Activity | None:
    """The run's record, what is waited for instead, or None for a run that has none.

    None where nothing governs, where the installation does not sign, and for a result that is not to be used: that is put away unsigned.
    """
    signing = draft.scene.observed.signing
    judged = judge(draft, spec) if signing is not None else None
    usable = gate_decision(draft.evaluation, spec).outcome is Outcome.SUCCEEDED
    if signing is None or judged is None or run.adapter_digest is None or not usable:
        return None
    known = signing.recorded
    if known is not None and (known.run_key, known.artifact) == (run.key, run.adapter_digest):
        return known
    if signing.refusal is not None:
        left = REJECTION_SECONDS - (draft.scene.now - signing.refusal.at).total_seconds()
        if left > 0:
            draft.wake_in(left)
            return _blocked(signing.refusal.message)
    owner = draft.scene.owner
    try:
        sections = sections_of(draft, run, spec, judged, signing)
    except ValidationError as error:
        return _blocked(f"the record cannot be written: {mistakes_of(error, 'record').text}")
    draft.record = RecordRequest(
        namespace=owner.namespace,
        uid=owner.uid,
        run_key=run.key,
        mark=run_hash(owner.uid, run.key),
        artifact=run.adapter_digest,
        sections=sections,
        files={file.name: file.digest for file in run.files},
    )
    return Activity(ActivityKind.STARTING, *starting(run.model_copy(update={"attempt": run.attempt + 1})))


def _blocked(message: str) -> Activity:
    return Activity(ActivityKind.BLOCKED, Reason.RECORD_REFUSED, message[:2000])
