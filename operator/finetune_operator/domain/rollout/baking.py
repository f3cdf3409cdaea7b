"""The bake of one step: look at the canary, and end the step, wait, hold, or take it back.

The bake clock runs from the moment when every router had applied the weight, and stands still while the rollout is paused, server
pods come and go or answer unlike each other, or the schema of answers cannot be used. A check that fails counts even then: the canary
has traffic.
"""

from datetime import timedelta

from finetune_operator.api.adapterdeployment.defaults import checks_of
from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.adapterdeployment.spec import CheckKind, ErrorCheck, LatencyCheck, SchemaShareCheck, Step
from finetune_operator.api.adapterdeployment.status import CheckStatus, RolloutStatus
from finetune_operator.domain.analysis.checks import CheckResult, Finding
from finetune_operator.domain.analysis.criteria import CheckName, Criteria, Evidence, LatencyLimits, LowTraffic, ShareLimits
from finetune_operator.domain.analysis.verdict import Bake, Insufficient, KeepBaking, Promote, Rollback, Verdict, judge
from finetune_operator.domain.rollout import ledger
from finetune_operator.domain.rollout.agreement import disagreement
from finetune_operator.domain.rollout.draft import Draft
from finetune_operator.domain.rollout.loading import everywhere, in_the_way
from finetune_operator.domain.rollout.orders import PROMOTE
from finetune_operator.domain.rollout.plan import Probes
from finetune_operator.domain.rollout.schema import unusable_schema
from finetune_operator.domain.rollout.traffic import acknowledged, breaker_open, named
from finetune_operator.domain.rollout.undoing import take_back

_MESSAGE_LIMIT = 2048
UNSENDABLE = (
    "spec.analysis.onInsufficientData is Probe, and the operator has no token by which routers would know requests of its own: "
    "name a Secret in the chart's serving.pinSecret (flags --router-pin-secret and --rollout-pin-token-file), or choose Pause or Fail"
)
_NO_ANSWERS = (
    "Requests of the operator's own are not held against analysis.checks.schema, because nobody's question is behind them: this check "
    "needs traffic, or leave Schema out of the step's analysis"
)


def bake(draft: Draft, step: Step) -> bool:
    """One look; True when the step has ended and the next one may begin."""
    rollout = draft.rollout
    assert rollout is not None
    seen = ledger.evidence_of(draft, rollout)
    criteria = criteria_of(draft, step)
    verdict = judge(seen, criteria, _clock(draft, rollout, step), draft.now)
    draft.wake_in(draft.scene.settings.look_seconds)
    if _ended_by_harm(draft, verdict):
        return False
    if draft.order == PROMOTE and acknowledged(draft):
        draft.order = ""
        return _end(draft, rollout, seen, verdict)
    if rollout.hold == Reason.ANALYSIS_FAILED.value or _stand_still(draft):
        return False
    match verdict:
        case Promote():
            return _passed(draft, step, seen, verdict)
        case KeepBaking(until=until):
            _go_on(draft)
            draft.wake_at(until)
            if draft.scene.observed.unread:
                draft.blocked = Reason.METRICS_UNAVAILABLE, draft.scene.observed.unread
        case Insufficient():
            _insufficient(draft, verdict)
        case Rollback():
            pass  # seen to above
    return False


def criteria_of(draft: Draft, step: Step) -> Criteria:
    """The limits of the checks that the step makes."""
    analysis, on = draft.scene.spec.analysis, checks_of(draft.scene.spec, step)
    checks = analysis.checks
    sample = checks.schema_.sample_percent if checks.schema_ is not None else 100
    return Criteria(
        min_requests=analysis.min_requests if on else 0,
        min_answers=max(1, analysis.min_requests * sample // 100),
        errors=_share(checks.errors) if CheckKind.ERRORS in on else None,
        schema=_share(checks.schema_) if CheckKind.SCHEMA in on else None,
        ttft=_latency(checks.ttft) if CheckKind.TTFT in on else None,
        itl=_latency(checks.itl) if CheckKind.ITL in on else None,
    )


def _ended_by_harm(draft: Draft, verdict: Verdict) -> bool:
    """A failed check, or a router whose own breaker has opened: back at once, or, where that is not wanted, stop and say so."""
    opened = breaker_open(draft)
    if isinstance(verdict, Rollback):
        reason, message = Reason.ROLLED_BACK, verdict.message
    elif opened:
        share = f"{len(opened)} of {len(draft.scene.observed.routers)} routers ({named(opened)})"
        reason, message = Reason.BREAKER_OPEN, f"{share} took the canary's traffic away: too many of its requests failed"
    else:
        return False
    rollout = draft.rollout
    assert rollout is not None
    if rollout.hold != Reason.ANALYSIS_FAILED.value:
        _show(draft, verdict)
    if draft.scene.spec.rollback.automatic:
        take_back(draft, reason, message)
        return True
    draft.hold(Reason.ANALYSIS_FAILED, message)
    return False


def _stand_still(draft: Draft) -> bool:
    """Stops the bake clock while nothing can be learnt, and lets it run again."""
    rollout, spec = draft.rollout, draft.scene.spec
    assert rollout is not None
    schemaless = unusable_schema(draft)
    if spec.paused:
        reason, message = Reason.PAUSED, "spec.paused holds the rollout. Set it to false to go on."
    elif not everywhere(draft, rollout.version):
        reason, message = Reason.LOADING, _unsettled(draft, rollout)
    elif (apart := disagreement(draft, rollout.version)) is not None:
        reason, message = Reason.FINGERPRINT_CHANGED, apart
    elif schemaless is not None:
        reason, message = Reason.SCHEMA_UNUSABLE, schemaless
    else:
        if rollout.held_since is not None:
            lost = max(0, int((draft.now - rollout.held_since).total_seconds()))
            draft.change(held_since=None, held_seconds=rollout.held_seconds + lost, hold=None, message="")
        return False
    draft.hold(reason, message)
    if reason in (Reason.LOADING, Reason.FINGERPRINT_CHANGED, Reason.SCHEMA_UNUSABLE):
        draft.change(message=message[:_MESSAGE_LIMIT])  # what is in the way shows only later, and changes
    if rollout.held_since is None:
        draft.change(held_since=draft.now)
    return True


def _unsettled(draft: Draft, rollout: RolloutStatus) -> str:
    """Without an end of its own: replicas that do not settle say nothing against the canary, whose checks go on meanwhile."""
    versions = [rollout.version, *([draft.stable.version] if draft.stable is not None else [])]
    trouble = next((found for found in (in_the_way(draft, version) for version in versions) if found), None)
    text = "server pods come and go; the bake goes on when all of them hold both versions"
    return text if trouble is None else f"{text}. Now {trouble}"


def _clock(draft: Draft, rollout: RolloutStatus, step: Step) -> Bake:
    """Shifted by the time for which it stood still; a step that sends probes may wait as long once more."""
    analysis, now = draft.scene.spec.analysis, draft.now
    standing = max(0.0, (now - rollout.held_since).total_seconds()) if rollout.held_since is not None else 0.0
    run = max(0.0, (now - rollout.stage_since).total_seconds() - rollout.held_seconds - standing)
    rounds = 2 if rollout.probing else 1
    since = now - timedelta(seconds=run)
    return Bake(since, step.bake_seconds, rounds * analysis.max_wait_seconds, LowTraffic(analysis.on_insufficient_data))


def _passed(draft: Draft, step: Step, seen: Evidence, verdict: Promote) -> bool:
    rollout, spec = draft.rollout, draft.scene.spec
    assert rollout is not None
    if step.approval and spec.approved_version != rollout.digest:
        draft.hold(Reason.WAITING_FOR_APPROVAL, f"step {rollout.step} has passed. To go on, set spec.approvedVersion to {rollout.digest}")
        return False
    return _end(draft, rollout, seen, verdict)


def _end(draft: Draft, rollout: RolloutStatus, seen: Evidence, verdict: Verdict) -> bool:
    """Reached only with every router's acknowledgement: one without it counts as unread, and lets nothing pass."""
    _show(draft, verdict)
    draft.change(**ledger.close_step(rollout, seen))
    return True


def _insufficient(draft: Draft, verdict: Insufficient) -> None:
    rollout = draft.rollout
    assert rollout is not None
    if draft.scene.observed.unread:
        draft.hold(Reason.METRICS_UNAVAILABLE, draft.scene.observed.unread, latest=True)
        return
    if verdict.policy is LowTraffic.FAIL:
        _show(draft, verdict)
        take_back(draft, Reason.INSUFFICIENT_DATA, verdict.message)
    elif verdict.policy is LowTraffic.PROBE and not draft.scene.observed.may_probe:
        if rollout.hold != Reason.INSUFFICIENT_DATA.value:
            _show(draft, verdict)
        draft.hold(Reason.INSUFFICIENT_DATA, f"{verdict.message}. {UNSENDABLE}")
    elif verdict.policy is LowTraffic.PROBE and not rollout.probing:
        draft.change(probing=True, hold=None, message="")
        draft.note(Reason.PROBING, "Probe", f"{rollout.version}: {verdict.message}")
    else:
        if rollout.hold != Reason.INSUFFICIENT_DATA.value:
            _show(draft, verdict)
        draft.hold(Reason.INSUFFICIENT_DATA, f"{verdict.message}. {_NO_ANSWERS}" if _lacks_answers(rollout, verdict) else verdict.message)


def _lacks_answers(rollout: RolloutStatus, verdict: Insufficient) -> bool:
    """Whether probes were sent and a check is left that they cannot complete."""
    return rollout.probing and any(each.check is CheckName.SCHEMA and each.finding is Finding.UNDECIDED for each in verdict.results)


def ask_for_probes(draft: Draft, step: Step) -> None:
    """As many requests as each arm lacks."""
    rollout, stable = draft.rollout, draft.stable
    if rollout is None or not rollout.probing or draft.scene.observed.unread:
        return  # what cannot be counted would be sent for ever
    seen, enough = ledger.evidence_of(draft, rollout), criteria_of(draft, step).min_requests
    arms = [(rollout.version, seen.canary.requests), *([(stable.version, seen.stable.requests)] if stable is not None else [])]
    wanted = tuple((version, enough - requests) for version, requests in arms if requests < enough)
    draft.probes = Probes(wanted) if wanted else None


def _go_on(draft: Draft) -> None:
    """Nothing is held any more; a pause that was ended has been seen to before."""
    rollout = draft.rollout
    assert rollout is not None
    if rollout.hold is not None:
        draft.change(hold=None, message="")


def _show(draft: Draft, verdict: Verdict) -> None:
    draft.analysis = [_check_status(result) for result in verdict.results]


def _check_status(result: CheckResult) -> CheckStatus:
    return CheckStatus(
        check=CheckKind(result.check.value),
        finding=result.finding.value,
        canary=None if result.canary is None else f"{result.canary:.4g}",
        stable=None if result.stable is None else f"{result.stable:.4g}",
        canary_samples=result.canary_samples,
        stable_samples=result.stable_samples,
        bound=result.bound[:64],
        message=result.message[:512],
    )


def _share(check: ErrorCheck | SchemaShareCheck | None) -> ShareLimits | None:
    return None if check is None else ShareLimits(_decimal(check.max_rate), _decimal(check.max_delta_vs_stable))


def _latency(check: LatencyCheck | None) -> LatencyLimits | None:
    if check is None:
        return None
    return LatencyLimits(float(check.quantile), _decimal(check.max_seconds), _decimal(check.max_ratio_vs_stable))


def _decimal(text: str | None) -> float | None:
    return None if text is None else float(text)
