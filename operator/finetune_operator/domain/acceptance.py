"""Is the spec one that can be run, and which run does it ask for?

Nearly everything a person can get wrong in one object is refused by the API server already. What is left here are objects stored under an
older definition, and figures only the trainer's contract bounds.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from finetune_operator.api.spec import FineTuneJobSpec
from finetune_operator.api.status import Accepted, FineTuneJobStatus
from finetune_operator.domain.governance.datasets import Unresolved, follow, unusable
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.runkey import run_key, same_run_keys
from finetune_operator.domain.subject import Mistakes, Subject, mistakes_of
from finetune_operator.manifests.names import Owner
from finetune_operator.manifests.runspec import build_run_spec
from finetune_trainer.contract import digest_of


@dataclass(frozen=True)
class Acceptance:
    """The accepted run key of this generation, or what to correct; ``spec`` is the valid spec of this generation, its reference followed.

    ``unresolved`` says why a reference leads nowhere: then there is no spec, and nothing is wrong with the object.
    """

    accepted: Accepted | None
    spec: FineTuneJobSpec | None
    problem: str = ""
    unresolved: Unresolved | None = None


def accept(subject: Subject, status: FineTuneJobStatus, view: GovernanceView | None = None) -> Acceptance:
    """Computes the key once per generation; a spec that was recorded under an older form of the key keeps that key."""
    if isinstance(subject.spec, Mistakes):
        return Acceptance(status.accepted, None, f"{subject.spec.text}. Correct the field and apply the manifest again.")
    spec = follow(subject.spec, view)
    if isinstance(spec, Unresolved):
        return Acceptance(status.accepted, None, unresolved=spec)
    if status.accepted is not None and status.accepted.generation == subject.generation:
        return Acceptance(status.accepted, spec)
    problem = unusable(spec) or _refused_by_contract(subject.owner, spec)
    if problem:
        return Acceptance(status.accepted, None, f"{problem}. Correct the field and apply the manifest again.")
    return Acceptance(Accepted(generation=subject.generation, key=_key(subject.spec, status)), spec)


def _key(spec: FineTuneJobSpec, status: FineTuneJobStatus) -> str:
    recorded = {entry.key for entry in status.history}
    if status.current_run is not None:
        recorded.add(status.current_run.key)
    if status.accepted is not None:
        recorded.add(status.accepted.key)
    return next((key for key in same_run_keys(spec) if key in recorded), run_key(spec))


def _refused_by_contract(owner: Owner, spec: FineTuneJobSpec) -> str:
    """The trainer's own bounds, tried on a document that is thrown away."""
    try:
        build_run_spec(owner, spec, key="0" * 64, name="x", number=1, token_digest=digest_of(b""))
    except ValidationError as error:
        return mistakes_of(error, "spec").text
    except ValueError as error:
        return f"spec.resources: {error}"
    return ""
