"""What the probes of egress have said: into status as a pod is heard, and out of it as a fact that decisions judge.

The operator reaches the target outside itself, all the time: a probe that nothing answers says something only while that holds.
"""

from finetune_operator.api.run import CurrentRun, EgressStatus
from finetune_operator.domain.children import Pod
from finetune_operator.domain.failure import last_words, preflight_words
from finetune_operator.domain.governance.view import GovernanceView
from finetune_trainer.contract import EgressReport, Probe, Step


def heard(run: CurrentRun, pod: Pod | None, view: GovernanceView | None) -> CurrentRun:
    """The run with what the pod of its active attempt says; what was heard of this attempt before is never made better."""
    before = preflight_words(pod)
    if before is None or before.egress is None:
        return run
    words = last_words(pod, run.key, run.active_step.value)
    watched = words.egress if words is not None else None
    known = next((each for each in run.egress if each.step is run.active_step and each.attempt == run.attempt), None)
    said = EgressStatus(
        step=run.active_step,
        attempt=run.attempt,
        result=_result(before.egress, watched, known, reached=view is not None and view.target_reached),
        digest=before.egress.content_digest(),
        rounds=watched.rounds if watched is not None else 0,
        watch_digest=watched.content_digest() if watched is not None else None,
    )
    if said == known:
        return run
    others = [each for each in run.egress if each.step is not run.active_step]
    return run.model_copy(update={"egress": [*others, said]})


def worth_a_write(run: CurrentRun, pod: Pod, view: GovernanceView | None) -> CurrentRun:
    """What is heard of a pod that runs, where it costs no write: of one that trains, because the same write says so, or what holds it up.

    Of the others it is heard at their end, for which the target has to answer until then.
    """
    after = heard(run, pod, view)
    closed = all(each.result is Probe.CLOSED for each in after.egress)
    return run if closed and run.active_step is not Step.TRAIN else after


def probed(run: CurrentRun | None, view: GovernanceView) -> Probe | None:
    """The fact. Before a pod is made the operator must reach the target; from then on the pod's own probe counts.

    None is for prepare, which has not been probed yet, and for what began before its egress had to be closed.
    """
    if run is None:
        return None if view.target_reached else Probe.INCONCLUSIVE
    found = {each.step: each for each in run.egress}
    if any(each.result is Probe.OPEN for each in found.values()):
        return Probe.OPEN
    if run.outcome is None:
        begins = run.attempt == 0 or (run.interruption is not None and run.interruption.attempt == run.attempt)
        if begins and not view.target_reached:
            return Probe.INCONCLUSIVE
        now = found.get(run.active_step)
        if not begins and now is not None and now.attempt == run.attempt:
            return now.result
    return Probe.CLOSED if Step.PREPARE in found else None


def _result(before: EgressReport, watched: EgressReport | None, known: EgressStatus | None, *, reached: bool) -> Probe:
    if Probe.OPEN in (before.result, watched.result if watched is not None else None):
        return Probe.OPEN
    if known is not None:
        return known.result
    return Probe.CLOSED if reached else Probe.INCONCLUSIVE
