r"""The stages of a rollout, one function each, and what interrupts them.

    Validating [<-> Checking] [-> Merging] -> Loading -> (Applying -> Baking) for every step -> Promoting
         \______________\______________\___________\__________\_______\___> RollingBack

A function moves the draft on as far as what is observed allows; the same observation leads to the same place, however often it is asked.
Traffic grows only where every router has acknowledged the route before.
"""

from collections.abc import Callable
from datetime import timedelta

from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.spec import CounterProvider, Step
from finetune_operator.api.adapterdeployment.status import MAX_ROUTERS, RolloutStatus, Stage, VersionStatus
from finetune_operator.domain.rollout import retention, undoing
from finetune_operator.domain.rollout.agreement import disagreement
from finetune_operator.domain.rollout.baking import ask_for_probes, bake
from finetune_operator.domain.rollout.checking import check, failure_of, is_due
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.governing import govern_what_was_read
from finetune_operator.domain.rollout.ledger import open_books
from finetune_operator.domain.rollout.loading import everywhere, in_the_way, lack_of_room, missing, pods_of, refusal, unmade
from finetune_operator.domain.rollout.merging import merge
from finetune_operator.domain.rollout.orders import ABORT, RETRY
from finetune_operator.domain.rollout.target import REFUSED, NoTarget, Target
from finetune_operator.domain.rollout.traffic import acknowledged, named, no_router, share_of, unacknowledged

_MOST_MOVES = 4
_LATE_SECONDS = 60.0
_PAUSED = "spec.paused holds the rollout. Set it to false to go on."
_NO_PODS = (
    "Look at the events of its Deployment's ReplicaSets: a quota or a policy may refuse such pods. Free quota, or ask for less in "
    "spec.server.managed.resources."
)
_NO_PODS_AT_ALL = "raise spec.server.managed.replicas, or look at the Deployment's events"
_NO_BOOKS = (
    "spec.analysis.provider: Prometheus has not told what every router has counted, so the bake cannot begin. It goes on by itself; "
    f"if not, see that each router is scraped, and that there are at most {MAX_ROUTERS}"
)
_SCRAPED_BY_THEN = timedelta(minutes=3)
"""Common scrape intervals are up to a minute; before that, the wait for the first numbers of a step is nothing to tell."""


def advance(draft: Draft) -> None:
    """Take the rollout under way as far as it goes now, and begin the one that is asked for."""
    _heed_retry(draft)
    for _ in range(_MOST_MOVES):
        before = draft.rollout
        if draft.rollout is not None:
            _interrupt(draft)
        if draft.rollout is not None:
            _STAGES[draft.rollout.stage](draft)
        if draft.rollout is None:
            _begin(draft)
        if draft.rollout == before:
            return
    draft.wake_in(0.0)


def _begin(draft: Draft) -> None:
    """The rollout of the version the spec asks for, unless it serves already, or failed before."""
    target = draft.scene.target
    if not isinstance(target, Target) or draft.is_stable(target.digest) or failure_of(draft, target) is not None:
        return
    draft.rollout = RolloutStatus(
        version=target.version,
        digest=target.digest,
        uri=target.uri,
        generation=draft.scene.subject.generation,
        stage=Stage.VALIDATING,
        started_at=draft.now,
        stage_since=draft.now,
    )
    draft.analysis = []
    draft.note(Reason.VALIDATING, "Start", f"{target.version} is being rolled out")


def _validate(draft: Draft) -> None:
    """Before any pod is touched: is it loaded still, so that it may serve again at once, and else, is there room?"""
    rollout = draft.rollout
    assert rollout is not None
    kept = next((version for version in draft.retained if version.version == rollout.version), None)
    if kept is not None and kept.served and everywhere(draft, rollout.version) and disagreement(draft, rollout.version) is None:
        if draft.scene.spec.paused and not rollout.restores:
            draft.blocked = Reason.PAUSED, _PAUSED
            return
        draft.retained.remove(kept)
        draft.enter(Stage.PROMOTING, merged=kept.merged)
        draft.note(Reason.REVERTED, "Revert", f"{rollout.version} answered before and is still loaded: it does so again at once")
        return
    if draft.scene.spec.merged:
        draft.retained = [version for version in draft.retained if version.version != rollout.version]
        retention.make_way(draft, draft.retained)
        if kept is not None and kept.merged is not None:
            draft.enter(Stage.LOADING, merged=kept.merged)
        else:
            draft.enter(Stage.MERGING)
        return
    unread, refusal = is_due(draft, rollout), draft.scene.observed.refusal
    made_later = unread and draft.scene.spec.server.managed is not None and not refusal
    if not draft.scene.observed.pods and not made_later:
        draft.blocked = (Reason.SERVERS_REFUSED, refusal) if refusal else (Reason.NO_PODS, _no_pods(draft))
        draft.wake_in(draft.scene.settings.look_seconds)
        return
    shortage = None if kept is not None else lack_of_room(draft)
    if unread and (shortage is None or shortage.goes):
        draft.enter(Stage.CHECKING)
        return
    if shortage is not None and not retention.make_room(draft, shortage):
        draft.wake_in(draft.scene.settings.look_seconds)
        return
    draft.retained = [version for version in draft.retained if version.version != rollout.version]
    draft.enter(Stage.LOADING)


def _no_pods(draft: Draft) -> str:
    external = draft.scene.spec.server.external
    if external is None:
        assert draft.rollout is not None
        why = unmade(draft, draft.rollout.version)
        return f"there is no server pod: {why or _NO_PODS_AT_ALL}"
    labels = ", ".join(f"{name}={value}" for name, value in sorted(external.match_labels.items()))[:512]
    return f"spec.server.external.matchLabels ({labels}) matches no running pod of this namespace: correct it, or start your server"


def _check(draft: Draft) -> None:
    """A Job reads the files of a typed uri; what it says in favour of them is remembered, so that they are validated on."""
    waits_for = check(draft)
    if draft.rollout is None:
        return
    if waits_for is not None:
        _out_of_time(draft, waits_for)
    else:
        govern_what_was_read(draft)


def _merge(draft: Draft) -> None:
    """In mode Merged: a Job makes one model of base and adapter before any server of it is made."""
    waits_for = merge(draft)
    if waits_for is not None and draft.rollout is not None:
        _out_of_time(draft, waits_for)


def _load(draft: Draft) -> None:
    rollout = draft.rollout
    assert rollout is not None
    refused = refusal(draft, rollout.version)
    if refused is not None:
        undoing.take_back(draft, *refused)
    elif (apart := disagreement(draft, rollout.version)) is not None:
        draft.blocked = Reason.FINGERPRINT_CHANGED, apart
        if not _out_of_time(draft, apart):
            draft.wake_in(draft.scene.settings.poll_seconds)
    elif not everywhere(draft, rollout.version):
        refused_objects, trouble = _refused_servers(draft, rollout.version), in_the_way(draft, rollout.version)
        if trouble is not None:
            draft.blocked = Reason.LOADING, trouble
        elif refused_objects:
            trouble = refused_objects
            draft.blocked = Reason.SERVERS_REFUSED, trouble
        elif not pods_of(draft, rollout.version) and _stood(draft).total_seconds() >= _LATE_SECONDS:
            trouble = f"{missing(draft, rollout.version)}. {_NO_PODS}"
            draft.blocked = Reason.LOADING, trouble
        if not _out_of_time(draft, trouble or missing(draft, rollout.version)):
            draft.wake_in(draft.scene.settings.poll_seconds)
    elif draft.scene.spec.paused and not rollout.restores:
        draft.blocked = Reason.PAUSED, _PAUSED
    else:
        _next_step(draft)


def _refused_servers(draft: Draft, version: str) -> str:
    """Why there are no servers of it: in mode Merged they are made only now."""
    refusal = draft.scene.observed.refusal
    return refusal if draft.scene.spec.merged or not pods_of(draft, version) else ""


def _stood(draft: Draft) -> timedelta:
    assert draft.rollout is not None
    return draft.now - draft.rollout.stage_since


def _next_step(draft: Draft) -> None:
    """The first version of all has nobody to be compared with: it skips the steps."""
    rollout = draft.rollout
    assert rollout is not None
    number = rollout.step + 1
    if draft.stable is None or number > len(draft.scene.steps):
        draft.enter(Stage.PROMOTING)
    else:
        draft.enter(Stage.APPLYING, step=number)


def _apply(draft: Draft) -> None:
    draft.wake_in(draft.scene.settings.poll_seconds)
    if not acknowledged(draft):
        _out_of_time(draft, _silent(draft))
        return
    if draft.step is None:
        draft.enter(Stage.PROMOTING)  # a strategy with fewer steps came, and those have passed
        return
    books = open_books(draft)
    if books is None and draft.scene.spec.analysis.provider is CounterProvider.PROMETHEUS:
        unread = draft.scene.observed.unread or (_NO_BOOKS if _stood(draft) > _SCRAPED_BY_THEN else "")
        draft.blocked = (Reason.METRICS_UNAVAILABLE, unread) if unread else None
        return  # Prometheus' silence is not the canary's fault, so no deadline counts
    if books is None:
        _out_of_time(draft, "a router's metrics cannot be read, so the bake cannot begin")
        return
    draft.enter(Stage.BAKING, baseline=books)


def _bake(draft: Draft) -> None:
    step = draft.step
    if step is None or _share_changed(draft, step):
        draft.enter(Stage.APPLYING)  # with the numbers of another share, the bake begins anew
    elif bake(draft, step):
        _next_step(draft)
    elif draft.rollout is not None and draft.rollout.stage is Stage.BAKING:
        ask_for_probes(draft, step)


def _share_changed(draft: Draft, step: Step) -> bool:
    """Whether a person has changed the step under way."""
    return draft.route is None or (draft.route.weight, draft.route.shadow) != share_of(step)


def _promote(draft: Draft) -> None:
    """The route names the new version for everybody already; once every router has it, it is stable, and the former one is kept."""
    rollout = draft.rollout
    assert rollout is not None
    draft.wake_in(draft.scene.settings.poll_seconds)
    if not acknowledged(draft):
        waited = (draft.now - rollout.stage_since).total_seconds()
        none = not draft.scene.observed.routers and draft.scene.observed.router_trouble
        late = f"; {_silent(draft)}" if none or waited >= _LATE_SECONDS else ""
        draft.blocked = Reason.PROMOTING, f"all callers get {rollout.version} once every router has acknowledged it{late}"
        if draft.stable is not None:
            _out_of_time(draft, _silent(draft))
        return
    former, keep = draft.stable, draft.scene.spec.rollback
    if former is not None:
        undoing.retain(draft, former, max(keep.keep_stable_loaded_seconds, keep.drain_timeout_seconds), served=True)
    draft.stable = VersionStatus(version=rollout.version, digest=rollout.digest, uri=rollout.uri, since=draft.now, merged=rollout.merged)
    draft.rollout = None
    undoing.remember(draft, rollout, Reason.PROMOTED, f"{rollout.version} answers all callers")
    draft.note(Reason.PROMOTED, "Promote", f"{rollout.version} answers all callers of {draft.scene.spec.model_name}")


def _roll_back(draft: Draft) -> None:
    undoing.conclude(draft)


_STAGES: dict[Stage, Callable[[Draft], None]] = {
    Stage.VALIDATING: _validate,
    Stage.CHECKING: _check,
    Stage.MERGING: _merge,
    Stage.LOADING: _load,
    Stage.APPLYING: _apply,
    Stage.BAKING: _bake,
    Stage.PROMOTING: _promote,
    Stage.ROLLING_BACK: _roll_back,
}


def _interrupt(draft: Draft) -> None:
    """A person aborts, or the spec asks for something else. Neither touches a rollback under way, nor the promotion of a first version.

    A promotion under way goes back to stable when that is what is asked for; before anything newer it is finished. The way back that
    governance takes is nobody's to end.
    """
    rollout, target = draft.rollout, draft.scene.target
    assert rollout is not None
    promoting = rollout.stage is Stage.PROMOTING
    if rollout.restores or rollout.stage is Stage.ROLLING_BACK or (promoting and draft.stable is None):
        return
    if draft.order == ABORT:
        draft.order = ""
        undoing.take_back(draft, Reason.ABORTED, "a person ended the rollout")
    elif isinstance(target, Target) and target.digest != rollout.digest:
        if draft.is_stable(target.digest):
            undoing.take_back(draft, Reason.REVERTED, f"the spec asks for {target.version} again, which is stable")
        elif not promoting:
            undoing.take_back(draft, Reason.SUPERSEDED, f"the spec asks for {target.version} now")
    elif _approval_withdrawn(draft, rollout):
        undoing.take_back(draft, Reason.REVERTED, f"spec.approvedVersion does not name {rollout.digest} any more")
    elif isinstance(target, NoTarget) and _edited_away(draft, rollout, target):
        undoing.take_back(draft, Reason.REVERTED, f"the spec does not ask for {rollout.version} any more: {target.message}")


def _approval_withdrawn(draft: Draft, rollout: RolloutStatus) -> bool:
    """A newer artifact that waits for its approval takes none away from the one under way."""
    spec, target = draft.scene.spec, draft.scene.target
    waits = isinstance(target, NoTarget) and target.reason is Reason.WAITING_FOR_APPROVAL
    return waits and spec.approved_version != rollout.digest


def _edited_away(draft: Draft, rollout: RolloutStatus, target: NoTarget) -> bool:
    """Whether an edit since the rollout began leaves nothing to roll out.

    A newer artifact that may not be rolled out takes none away from the one under way, nor does a job that is gone while a pin names its
    version.
    """
    pinned, offered = draft.scene.spec.adapter.digest, draft.scene.observed.job
    if pinned is not None and pinned != rollout.digest:
        return True
    if draft.scene.subject.generation == rollout.generation or target.reason is Reason.WAITING_FOR_APPROVAL:
        return False
    if pinned is None:
        return offered is None or offered.digest == rollout.digest
    return target.reason in REFUSED


def _heed_retry(draft: Draft) -> None:
    """A new value of spec.retry, or the order, forgives the version that is asked for; the first value ever seen forgives nothing."""
    wanted, target = draft.scene.spec.retry, draft.scene.target
    renewed = draft.scene.status.observed_generation is not None and wanted not in ("", draft.retry)
    draft.retry = wanted or None
    if not isinstance(target, Target) or not (renewed or draft.order == RETRY):
        return
    pardoned = [failed for failed in draft.failed if failed.digest != target.digest]
    if draft.order == RETRY and pardoned != draft.failed:
        draft.order = ""
    draft.failed = pardoned


def _out_of_time(draft: Draft, why: str) -> bool:
    """Past the progress deadline, which stands still while a person has paused the rollout."""
    rollout, limit = draft.rollout, draft.scene.spec.progress_deadline_seconds
    assert rollout is not None
    waited = (draft.now - rollout.stage_since).total_seconds()
    if waited < limit or draft.scene.spec.paused:
        draft.wake_in(limit - waited)
        return False
    undoing.take_back(draft, Reason.DEADLINE_EXCEEDED, f"after {limit} s (spec.progressDeadlineSeconds): {why}")
    return True


def _silent(draft: Draft) -> str:
    waiting, routers = unacknowledged(draft), draft.scene.observed.routers
    if not routers:
        return no_router(draft)
    return f"{len(waiting)} of {len(routers)} routers have yet to acknowledge it: {named(waiting)}"
