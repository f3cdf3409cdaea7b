"""Why the FineTuneJob that is followed has no artifact to serve: in its own words, and what helps.

What passes by itself waits; what needs a person stalls, here as there.
"""

from typing import Final

from finetune_operator.api.adapterdeployment.reasons import Reason
from finetune_operator.api.reasons import EXPLANATIONS
from finetune_operator.api.reasons import Reason as JobReason
from finetune_operator.domain.rollout.observed import JobStanding

_FIELD: Final = "spec.adapter.fineTuneJobRef.name"
_GATE: Final = (JobReason.GATE_REJECTED.value, JobReason.GATE_INCONCLUSIVE.value)
_WORDS: Final = 1024
"""Characters that are kept of the job's message."""


def why_no_artifact(job: str, standing: JobStanding | None) -> tuple[Reason, str]:
    """``standing`` is None where no FineTuneJob ``job`` exists."""
    if standing is None:
        return Reason.JOB_NOT_FOUND, f"{_FIELD}: there is no FineTuneJob {job} in this namespace. Create it, or correct the name."
    if not standing.stalled:
        phase = f"it is {standing.phase}" if standing.phase else "it has not begun"
        text = f"FineTuneJob {job} has no artifact yet whose gate passed: {phase}. Wait for it; its condition Ready says what it waits for."
        return Reason.WAITING_FOR_ARTIFACT, text
    said = ": ".join(part for part in (standing.reason, standing.message.strip().rstrip(".")[:_WORDS]) if part)
    if standing.reason in _GATE:
        return Reason.GATE_NOT_PASSED, f"{_FIELD}: the run of FineTuneJob {job} did not pass its gate: {said}. Another run is needed."
    text = f"{_FIELD}: FineTuneJob {job} has no artifact, and goes on only once somebody changes it: {said}. {_action(standing.reason)}"
    return Reason.JOB_FAILED, text


def _action(reason: str) -> str:
    """In the words of the job's own page; of a reason that another version wrote, where to look."""
    known = next((each.next_action for name, each in EXPLANATIONS.items() if name.value == reason), "look at its condition Stalled.")
    return f"In the job: {known}"
