"""``decide``: from what is observed of an AdapterDeployment, and the time, to what is to be done. Total and pure.

Read it top to bottom: find out which version is asked for, take the rollout under way forward or begin it, forget what has been kept long
enough, derive route and desired set, and say how things stand.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from finetune_inference.contract import digest_prefix_of
from finetune_operator.api.adapterdeployment.conditions import ConditionType
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.status import AdapterDeploymentStatus, Phase, Stage, StepStatus
from finetune_operator.api.base import LABEL_VERSION
from finetune_operator.domain import reading
from finetune_operator.domain.plan import EventNote
from finetune_operator.domain.rollout import orders, retention, stages
from finetune_operator.domain.rollout.checking import surplus_checks
from finetune_operator.domain.rollout.conditions import FALSE, UNKNOWN, Judgement, assembled, build_conditions, of_summary, wanted_versions
from finetune_operator.domain.rollout.draft import Draft, Scene, begin_draft
from finetune_operator.domain.rollout.draining import drain
from finetune_operator.domain.rollout.governing import govern, govern_status
from finetune_operator.domain.rollout.loading import concerns, holds, pods_of
from finetune_operator.domain.rollout.merging import surplus_merges
from finetune_operator.domain.rollout.observed import RolloutObserved, ServerPod
from finetune_operator.domain.rollout.plan import RolloutPlan
from finetune_operator.domain.rollout.state import State, answering, state_of
from finetune_operator.domain.rollout.subject import Subject, read_subject
from finetune_operator.domain.rollout.target import NoTarget, find_target
from finetune_operator.domain.rollout.traffic import route_for
from finetune_operator.domain.subject import Mistakes

_UNREADABLE_RETRY_SECONDS = 600.0
_FOR_SOME = {ConditionType.EXPOSED, ConditionType.GOVERNED}
"""Conditions that are not there for all."""
_FIGURES = ("loaded", "replicas", "readyReplicas", "figuresAt")


def decide(observed: RolloutObserved, now: datetime) -> RolloutPlan:
    """The plan for one AdapterDeployment at ``now`` (with a time zone); never raises, whatever a cluster or a person put into it."""
    subject = read_subject(observed.resource)
    if subject is None:
        return RolloutPlan()
    status = subject.status
    if isinstance(status, Mistakes):
        return _unreadable(subject, status)
    if subject.deleting:
        return _drain(subject, status, observed, now)
    if isinstance(subject.spec, Mistakes):
        return _invalid(subject, status, subject.spec, now)
    if observed.governance is not None and not observed.governance.known:
        return RolloutPlan(requeue_after=observed.settings.poll_seconds)  # the namespace is about to be seen
    target = find_target(subject, subject.spec, observed)
    draft = begin_draft(Scene(observed, subject, subject.spec, status, target, now))
    draft.order = orders.order_of(subject, status)
    if isinstance(target, NoTarget) and target.reason is Reason.ALIAS_TAKEN:
        draft.rollout = None  # two routes for one alias would answer nobody
    retention.expire(draft)
    govern(draft)
    stages.advance(draft)
    orders.tell_unheeded(draft)
    return _conclude(draft)


def _unreadable(subject: Subject, mistakes: Mistakes) -> RolloutPlan:
    """Without its memory nothing is changed: routers and agents keep what they have. A deletion is let go."""
    if subject.deleting:
        return RolloutPlan(release=True)
    text = f"{mistakes.text}: nothing is changed; routers and pods keep what they have. Restore the status, or upgrade the operator."
    return RolloutPlan(events=(EventNote("Warning", Reason.INTERNAL.value, "Read", text[:1000]),), requeue_after=_UNREADABLE_RETRY_SECONDS)


def _drain(subject: Subject, status: AdapterDeploymentStatus, observed: RolloutObserved, now: datetime) -> RolloutPlan:
    changed, release = drain(subject, status, observed, now)
    written = _difference(subject, changed) if changed is not None else None
    return RolloutPlan(status=written, release=release, requeue_after=None if release else observed.settings.poll_seconds)


def _invalid(subject: Subject, status: AdapterDeploymentStatus, mistakes: Mistakes, now: datetime) -> RolloutPlan:
    """What serves goes on serving; nothing else happens until the spec can be read."""
    text = f"{mistakes.text}. Correct the field and apply the manifest again."
    state = State(Phase.DEGRADED, Reason.INVALID_SPEC, text, stalled=True)
    judgements = {ConditionType.ACCEPTED: Judgement(FALSE, Reason.INVALID_SPEC, text), **of_summary(state)}
    kept = [condition for condition in status.conditions if condition.type not in judgements]
    told = {condition.type for condition in kept} | judgements.keys() | _FOR_SOME
    judgements |= {kind: Judgement(UNKNOWN, Reason.INVALID_SPEC) for kind in ConditionType if kind not in told}
    conditions = sorted([*kept, *assembled(judgements, status, subject.generation, now)], key=lambda condition: condition.type.value)
    changed = status.replacing(observed_generation=subject.generation, phase=state.phase, conditions=conditions)
    written = _difference(subject, changed)
    fresh = status.observed_generation != subject.generation
    events = (EventNote("Warning", Reason.INVALID_SPEC.value, "Accept", text[:1000]),) if fresh else ()
    return RolloutPlan(status=written, events=events)


def _conclude(draft: Draft) -> RolloutPlan:
    subject, settings = draft.scene.subject, draft.scene.settings
    written = _difference(subject, _build_status(draft))
    if written is not None and _same_but_figures(subject.stored_status, written):
        wait = _until_next_figures(draft, settings.figures_seconds)
        if wait > 0:
            written = None
            draft.wake_in(wait)
    return RolloutPlan(
        status=written,
        events=tuple(draft.events),
        probes=draft.probes,
        check=draft.check,
        merge=draft.merge,
        ends=(*surplus_checks(draft), *surplus_merges(draft)),
        requeue_after=min(draft.wakes, default=None),
    )


def _build_status(draft: Draft) -> AdapterDeploymentStatus:
    scene, rollout = draft.scene, draft.rollout
    taken = isinstance(scene.target, NoTarget) and scene.target.reason is Reason.ALIAS_TAKEN
    state = state_of(draft)
    status = AdapterDeploymentStatus(
        observed_generation=scene.subject.generation,
        conditions=build_conditions(draft, state),
        phase=state.phase,
        stable=draft.stable,
        rollout=rollout,
        retained=draft.retained,
        canary_version=rollout.version if rollout is not None else None,
        step=_step_of(draft),
        analysis=draft.analysis,
        failed_versions=draft.failed,
        checked=draft.checked,
        history=draft.history[: scene.spec.revision_history_limit],
        route=None if taken else route_for(draft),
        desired=retention.desired_set(draft),
        loaded=_loaded(draft),
        replicas=len(_answering_pods(draft)),
        ready_replicas=answering(draft),
        selector=_selector(draft),
        retry=draft.retry,
        governance=govern_status(draft),
        action=draft.action if orders.waits(draft) else scene.subject.action or None,
    )
    return status.replacing(figures_at=_figures_at(scene.status, status, draft.now))


def _step_of(draft: Draft) -> StepStatus | None:
    rollout, step = draft.rollout, draft.step
    if rollout is None or rollout.step == 0:
        return None
    weight = step.weight or 0 if step is not None and rollout.stage in (Stage.APPLYING, Stage.BAKING) else 0
    return StepStatus(text=f"{rollout.step}/{len(draft.scene.steps)}", weight=100 if rollout.stage is Stage.PROMOTING else weight)


def _loaded(draft: Draft) -> str:
    wanted, pods = wanted_versions(draft), draft.scene.observed.pods
    own = [(pod, [version for version in wanted if concerns(pod, version)]) for pod in pods]
    return f"{sum(bool(mine) and all(holds(pod, version) for version in mine) for pod, mine in own)}/{len(pods)}"


def _answering_pods(draft: Draft) -> tuple[ServerPod, ...]:
    """What an autoscaler counts: in mode Merged the servers of a canary, or of a version without traffic, are none of its business."""
    stable = draft.stable
    return pods_of(draft, stable.version) if stable is not None else draft.scene.observed.pods


def _selector(draft: Draft) -> str | None:
    text, stable = draft.scene.observed.selector, draft.stable
    if text and stable is not None and stable.merged is not None:
        text = f"{text},{LABEL_VERSION}={digest_prefix_of(stable.version)}"
    return text[:1024] or None


def _figures_at(before: AdapterDeploymentStatus, after: AdapterDeploymentStatus, now: datetime) -> datetime:
    same = (before.loaded, before.replicas, before.ready_replicas) == (after.loaded, after.replicas, after.ready_replicas)
    return before.figures_at if same and before.figures_at is not None else now


def _until_next_figures(draft: Draft, every: float) -> float:
    written = draft.scene.status.figures_at
    return every - (draft.now - written) / timedelta(seconds=1) if written is not None else 0.0


def _same_but_figures(stored: Mapping[str, Any], desired: Mapping[str, Any]) -> bool:
    def rest(status: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in reading.without_empty(status).items() if name not in _FIGURES}

    return rest(stored) == rest(desired)


def _difference(subject: Subject, status: AdapterDeploymentStatus) -> Mapping[str, Any] | None:
    """The status to write, or None where it lies there as it should; of the route even what is empty is meant."""
    manifest = status.to_manifest()
    desired: dict[str, Any] = reading.without_empty(manifest)
    if desired == reading.without_empty(subject.stored_status):
        return None
    return {**desired, "route": manifest["route"]} if "route" in manifest else desired
