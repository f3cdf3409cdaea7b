"""What a person orders once, by the annotation ``finetune.dev/rollout``, and why an order changes nothing."""

from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus, Stage
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.subject import ACTION, Subject

PROMOTE, ABORT, RETRY = "promote", "abort", "retry"
_SHOWN = 32


def order_of(subject: Subject, status: AdapterDeploymentStatus) -> str:
    """The word before the colon, if nobody has heeded it; without one all that is there."""
    if not subject.action or subject.action == status.action:
        return ""
    return subject.action.partition(":")[0] or subject.action


def waits(draft: Draft) -> bool:
    """Whether the order is kept: the end of a step waits for every router's acknowledgement."""
    return draft.order == PROMOTE and draft.rollout is not None and draft.rollout.stage is Stage.BAKING


def tell_unheeded(draft: Draft) -> None:
    """Say once of an order that nobody has heeded why nothing comes of it: with this decision it is over."""
    if draft.order and not waits(draft):
        text = f"{ACTION}: {draft.scene.subject.action[:_SHOWN]!r} changes nothing: {_why_not(draft)}"
        draft.note(Reason.ORDER_IGNORED, "Order", text, warning=True)


def _why_not(draft: Draft) -> str:
    rollout = draft.rollout
    if draft.order not in (PROMOTE, ABORT, RETRY):
        return f"the orders are {PROMOTE}, {ABORT} and {RETRY}, each with a colon and a number that was not there before, as {PROMOTE}:1"
    if draft.order == RETRY:
        return "it gives a version that was taken back another try, and the one that the spec asks for was not"
    if rollout is None:
        return "no rollout is under way"
    if rollout.stage is Stage.ROLLING_BACK:
        return f"{rollout.version} is being taken back"
    if draft.order == PROMOTE:
        return f"it ends a step that bakes, and {rollout.version} is in the stage {rollout.stage.value}"
    return f"{rollout.version} is the first version, and there is none to go back to. Name another one in the spec, or delete the object"
