"""What would be decided about a job that nobody has submitted yet, from manifests alone: by the operator's own facts and decision.

Nodes, probes and what is in files are not known then. They count as not looked at, and the rules that will want an answer are named.
"""

from dataclasses import dataclass
from datetime import datetime

from finetune_operator.api.status import FineTuneJobStatus
from finetune_operator.domain.acceptance import accept
from finetune_operator.domain.draft import begin_draft, read_scene
from finetune_operator.domain.governance.facts import gather
from finetune_operator.domain.governance.view import GovernanceView
from finetune_operator.domain.observed import DomainSettings, Observed
from finetune_operator.domain.plan import JsonObject
from finetune_operator.domain.subject import read_subject
from finetune_trainer.contract.governance import Decision, Facts, RuleId, decide
from finetune_trainer.contract.governance.facts import ApprovalStage, Stage

_PEOPLE = frozenset({RuleId.APPROVAL_PENDING, RuleId.APPROVAL_STALE})


@dataclass(frozen=True)
class Asked:
    """So many people have to agree to a stage, because of these policies."""

    stage: ApprovalStage
    count: int
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """``problem`` says why nothing can be decided; then there is no decision."""

    name: str
    namespace: str
    problem: str = ""
    decision: Decision | None = None
    asked: tuple[Asked, ...] = ()
    later: tuple[str, ...] = ()
    """Rules that want an answer before training which nobody can give yet."""


def forecast(manifest: JsonObject, view: GovernanceView, now: datetime, *, image: str = "") -> Forecast:
    """Judge the job as the operator would when it is submitted; without ``image`` that of the trainer is not looked at."""
    metadata = {"namespace": "default", **(manifest.get("metadata") or {}), "uid": "not-submitted", "generation": 1}
    subject = read_subject({**manifest, "metadata": metadata})
    if subject is None:
        return Forecast("", "", "metadata.name is missing")
    name, namespace = subject.owner.name, subject.owner.namespace
    status = FineTuneJobStatus()
    accepted = accept(subject, status, view)
    if accepted.spec is None:
        unresolved = accepted.unresolved.message if accepted.unresolved is not None else ""
        return Forecast(name, namespace, accepted.problem or unresolved)
    observed = Observed(resource=manifest, settings=DomainSettings(image, b""), governance=view)
    draft = begin_draft(read_scene(observed, subject, status, accepted, now))
    known = gather(draft, view, accepted.spec, Stage.ACCEPT)
    facts = known.model_copy(update={"nodes": None, "egress": None, "images": (image,) if image else ()})
    decision = decide(facts, view.policies, now)
    return Forecast(name, namespace, "", decision, _asked(view, decision), _later(facts, view, decision, now))


def _asked(view: GovernanceView, decision: Decision) -> tuple[Asked, ...]:
    """By stage, the most that one of the policies that apply asks for."""
    applying = {named.partition("@")[0] for named in decision.policies}
    found = []
    for stage in (ApprovalStage.TRAIN, ApprovalStage.PROMOTE):
        counts = {
            policy.name: rule.count
            for policy in view.policies
            if policy.enforced and policy.name in applying
            for rule in policy.approvals
            if rule.stage is stage and rule.min_level <= decision.classification.level
        }
        if counts:
            found.append(Asked(stage, max(counts.values()), tuple(sorted(counts))))
    return tuple(found)


def _later(facts: Facts, view: GovernanceView, decision: Decision, now: datetime) -> tuple[str, ...]:
    """What is a finding before training only because nobody has looked yet."""
    start = decide(facts.model_copy(update={"stage": Stage.START}), view.policies, now)
    known = {(finding.rule, finding.field, finding.policy) for finding in decision.findings}
    new = {f.rule for f in start.findings if f.enforced and (f.rule, f.field, f.policy) not in known} - _PEOPLE
    return tuple(rule.value for rule in RuleId if rule in new)
