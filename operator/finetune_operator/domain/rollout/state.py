"""The one state that phase, events and all summary conditions tell in their own words.

Words stay the same while the state does: a figure that moves in a message would be a status write at every look.
"""

from dataclasses import dataclass

from finetune_operator.api.adapterdeployment.reasons import Reason, explanation_of
from finetune_operator.api.adapterdeployment.status import BEFORE_SERVERS, Phase, RolloutStatus, Stage
from finetune_operator.api.conditions import ConditionStatus
from finetune_operator.domain.analysis.criteria import LowTraffic
from finetune_operator.domain.rollout.baking import UNSENDABLE
from finetune_operator.domain.rollout.checking import failure_of
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.exposure import exposed
from finetune_operator.domain.rollout.governing import in_grace
from finetune_operator.domain.rollout.loading import holds, in_the_way
from finetune_operator.domain.rollout.target import NoTarget
from finetune_operator.domain.rollout.traffic import no_router


@dataclass(frozen=True)
class State:
    """``ready``: the version that the spec asks for answers all callers. Neither ready nor stalled: work is under way."""

    phase: Phase
    reason: Reason
    message: str
    ready: bool = False
    stalled: bool = False


def state_of(draft: Draft) -> State:
    if draft.rollout is not None:
        return _under_way(draft, draft.rollout)
    target = draft.scene.target
    if isinstance(target, NoTarget):
        return _resting(target.reason, target.message, draft)
    failed = failure_of(draft, target)
    if failed is not None and not draft.is_stable(target.digest):
        return State(Phase.DEGRADED, reason_named(failed.reason), _once_taken_back(failed.message, failed.reason), stalled=True)
    if not draft.is_stable(target.digest):
        return State(Phase.PENDING, Reason.VALIDATING, f"{target.version} is about to be rolled out")
    return _serving(draft)


def answering(draft: Draft) -> int:
    """Server pods that hold the version that answers callers who are not the canary's."""
    version = draft.stable.version if draft.stable is not None else None
    if draft.rollout is not None and draft.rollout.stage is Stage.PROMOTING:
        version = draft.rollout.version
    return 0 if version is None else sum(holds(pod, version) for pod in draft.scene.observed.pods)


def reason_named(text: str) -> Reason:
    """A reason from status; one that another version wrote reads as rolled back."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.ROLLED_BACK


def _serving(draft: Draft) -> State:
    assert draft.stable is not None
    version = draft.stable.version
    retaining = any(kept.served for kept in draft.retained)
    phase = Phase.RETAINING if retaining else Phase.HEALTHY
    refusal = draft.scene.observed.refusal
    if not answering(draft):
        text = f"no server pod holds {version}; clients get 503 until one does"
        if refusal:
            return State(Phase.DEGRADED, Reason.SERVERS_REFUSED, f"{text}. {refusal}", stalled=True)
        trouble = in_the_way(draft, version)
        return State(Phase.DEGRADED, Reason.NOT_SERVING, f"{text}: {trouble}" if trouble else text)
    if not draft.scene.observed.routers:
        return State(Phase.DEGRADED, Reason.NOT_SERVING, f"nobody answers for the alias: {no_router(draft)}")
    if refusal:
        text = f"{version} answers all callers, but a change of its servers is refused: {refusal}"
        return State(phase, Reason.SERVERS_REFUSED, text, ready=True, stalled=True)
    if retaining:
        text = f"{version} answers all callers; the version before it stays loaded for a while{_outside(draft)}"
        return State(phase, Reason.PROMOTED, text, ready=True)
    return State(phase, Reason.HEALTHY, f"{version} answers all callers{_outside(draft)}", ready=True)


def _outside(draft: Draft) -> str:
    """Readiness is about the router; a Gateway in front of it has a condition of its own, which this points to."""
    found = exposed(draft)
    closed = found is not None and found[0] is ConditionStatus.FALSE
    return ", but not every Gateway passes requests to it: see the condition Exposed" if closed else ""


def _resting(reason: Reason, message: str, draft: Draft) -> State:
    stalled = explanation_of(reason).stalls
    if draft.grace is not None:
        message = f"{message.rstrip('. ')}. {in_grace(draft.grace)}."
    elif draft.stable is not None:
        message = f"{message.rstrip('. ')}. Until then {draft.stable.version} answers."
    return State(Phase.DEGRADED if stalled else Phase.PENDING, reason, message, stalled=stalled)


def _under_way(draft: Draft, rollout: RolloutStatus) -> State:
    if rollout.stage is Stage.ROLLING_BACK:
        return State(Phase.ROLLING_BACK, Reason.ROLLING_BACK, rollout.message)
    if rollout.hold is not None:
        reason = reason_named(rollout.hold)
        return State(Phase.PAUSED, reason, _with_action(rollout.message, rollout.hold), stalled=explanation_of(reason).stalls)
    phase, reason, message = _of_stage(draft, rollout)
    if rollout.stage in BEFORE_SERVERS and draft.scene.observed.refusal:
        message = f"{message}. Its servers cannot be made so far: {draft.scene.observed.refusal}"
    if draft.blocked is not None:
        reason, message = draft.blocked
        phase = Phase.PAUSED if reason is Reason.PAUSED else phase
    return State(phase, reason, message, stalled=reason is Reason.SERVERS_REFUSED)


def _of_stage(draft: Draft, rollout: RolloutStatus) -> tuple[Phase, Reason, str]:
    version, of = rollout.version, f"step {rollout.step} of {len(draft.scene.steps)}"
    match rollout.stage:
        case Stage.VALIDATING | Stage.CHECKING | Stage.MERGING:
            return _before_servers(rollout.stage, version)
        case Stage.LOADING:
            return Phase.LOADING, Reason.LOADING, f"server pods fetch, verify and load {version}"
        case Stage.APPLYING:
            return Phase.PROGRESSING, Reason.APPLYING, f"{of}: the bake begins once every router has acknowledged the weight of {version}"
        case Stage.PROMOTING:
            return Phase.PROMOTING, Reason.PROMOTING, f"all callers get {version}"
        case _:
            reason = Reason.PROBING if rollout.probing else Reason.BAKING
            return Phase.PROGRESSING, reason, f"{of}: {version} answers its share, and the checks look at it{_no_probes(draft)}"


def _before_servers(stage: Stage, version: str) -> tuple[Phase, Reason, str]:
    match stage:
        case Stage.CHECKING:
            return Phase.CHECKING, Reason.CHECKING, f"a Job reads the files of {version}; no server hears of it before"
        case Stage.MERGING:
            return Phase.MERGING, Reason.MERGING, f"a Job makes one model of the base model and {version}"
        case _:
            return Phase.VALIDATING, Reason.VALIDATING, f"{version} is being checked"


def _no_probes(draft: Draft) -> str:
    """Said while there is time to do something about it: should requests be too few, the rollout stops."""
    wanted = draft.scene.spec.analysis.on_insufficient_data == LowTraffic.PROBE.value
    return f". {UNSENDABLE}" if wanted and not draft.scene.observed.may_probe else ""


def _once_taken_back(message: str, reason: str) -> str:
    explained = explanation_of(reason_named(reason))
    return _ending_with(message, explained.once_taken_back or explained.next_action)


def _with_action(message: str, reason: str) -> str:
    explained = explanation_of(reason_named(reason))
    return message if explained.told else _ending_with(message, explained.next_action)


def _ending_with(message: str, action: str) -> str:
    return message if action in ("Nothing.", "") or message.rstrip().endswith(action) else f"{message.rstrip('. ')}. {action}"
