"""What an edited spec means for a run that it does not replace: fields that do not define the result, so that no new run begins."""

from finetune_operator.api.reasons import Reason
from finetune_operator.api.run import CurrentRun
from finetune_operator.domain.activity import ActivityKind
from finetune_operator.domain.draft import Draft
from finetune_operator.domain.subject import parse_spec

APPLIED_AT_ONCE = ("healthPolicy", "justification", "purpose", "queueName", "resources", "runPolicy", "suspend")
FROM_THE_NEXT_RUN = ("artifact", "baseModel", "checkpoint", "evaluation", "tracking", "workspace")
"""They stand in the documents and Jobs of a run; of ``baseModel`` and ``evaluation`` what does not define the result."""
_NAMES_OF_CLAIMS_AND_SECRETS = {"spec.artifact", "spec.baseModel", "spec.evaluation", "spec.workspace"}
_ABOUT_CLAIMS_AND_SECRETS = (Reason.CLAIM_MISSING, Reason.SECRET_MISSING, Reason.WAITING_FOR_VOLUME)


def newer_key(draft: Draft, run: CurrentRun) -> bool:
    """Whether the present spec asks for another result than ``run`` makes."""
    return draft.scene.spec is not None and draft.accepted is not None and draft.accepted.key != run.key


def held_back(draft: Draft, run: CurrentRun) -> tuple[str, ...]:
    """Fields of the present spec that the run under way does not see: it goes on with the spec it was accepted with."""
    present, accepted = draft.scene.spec, draft.accepted
    if present is None or accepted is None or accepted.key != run.key or accepted.generation == run.generation or not run.declared_spec:
        return ()
    declared = parse_spec(run.declared_spec)
    if declared is None:
        return ()
    before, now = declared.to_manifest(), present.to_manifest()
    return tuple(f"spec.{name}" for name in FROM_THE_NEXT_RUN if before.get(name) != now.get(name))


def gives_way(draft: Draft, run: CurrentRun) -> bool:
    """Whether nothing runs because of something the present spec has corrected, or made pointless.

    What waits for its turn in a queue goes on waiting, and so does a run with a sealed checkpoint that waits for a node to resume on.
    """
    activity = draft.activity
    if activity is None or activity.kind is not ActivityKind.BLOCKED or activity.reason is Reason.QUEUED:
        return False
    if newer_key(draft, run):
        return activity.reason is not Reason.WAITING_FOR_NODE or not run.last_sealed_step
    return activity.reason in _ABOUT_CLAIMS_AND_SECRETS and not _NAMES_OF_CLAIMS_AND_SECRETS.isdisjoint(held_back(draft, run))


def remark(draft: Draft) -> str:
    """What to add about an edit when telling what is going on; empty where there is none."""
    run, accepted = draft.active_run, draft.accepted
    if run is None or accepted is None:
        return ""
    if newer_key(draft, run):
        waits = f"generation {accepted.generation} waits"
        return f"{waits} until run {run.number} has ended; set spec.runPolicy.cancel: {run.number} to end it now"
    fields = held_back(draft, run)
    if not fields:
        return ""
    applies = "applies" if len(fields) == 1 else "apply"
    return f"the changed {' and '.join(fields)} {applies} from the next run"


def asked_elsewhere(draft: Draft, run: CurrentRun) -> str:
    """What to add about a published artifact when the spec now names another place for it."""
    spec, accepted = draft.scene.spec, draft.accepted
    if spec is None or accepted is None or accepted.key != run.key or run.artifact_uri is None:
        return ""
    if run.artifact_uri.rpartition("/")[0] == spec.artifact.uri:
        return ""
    return f"spec.artifact.uri now asks for {spec.artifact.uri}: set spec.rerun to a new value to publish there"
