"""What is to be said in the status of a GovernancePolicy and of a TrainingDataset, from what jobs' statuses say of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from finetune_operator.api.conditions import ConditionStatus
from finetune_operator.api.governance.dataset import TrainingDataset
from finetune_operator.api.governance.policy import GovernancePolicy
from finetune_operator.api.governance.status import (
    SHOWN_NAMESPACES,
    STANDINGS,
    GovernancePolicyStatus,
    OutcomeCounts,
    StandingCondition,
    StandingConditionType,
    StandingReason,
    TrainingDatasetStatus,
)
from finetune_operator.api.reasons import Reason
from finetune_operator.domain import reading
from finetune_operator.domain.governance.conflicts import closed_above, conflicts_of
from finetune_operator.domain.governance.judge import AUDIT_ONLY
from finetune_operator.domain.plan import JsonObject
from finetune_trainer.contract.governance import Outcome, Policy
from finetune_trainer.contract.governance.facts import Site
from finetune_trainer.contract.governance.findings import listed
from finetune_trainer.contract.governance.vocabulary import LABEL_GOVERNED

_MESSAGE_LIMIT = 2048
_COUNTED = {Outcome.ALLOW: "allowed", Outcome.HOLD: "held", Outcome.NEEDS_APPROVAL: "need_approval", Outcome.DENY: "denied"}


@dataclass(frozen=True)
class JobStanding:
    """What one FineTuneJob, or AdapterDeployment, that exists now says of governance."""

    namespace: str
    dataset: str = ""
    outcome: Outcome | None = None
    policies: frozenset[str] = frozenset()
    waits: bool = False
    """For people to approve or to waive."""
    audited: int = 0
    """Findings of auditing policies."""
    published: bool = False
    begun_at: datetime | None = None

    @property
    def concerns(self) -> bool:
        return bool(self.dataset) or self.outcome is not None


def read_job(manifest: JsonObject) -> JobStanding:
    """From a stored object; what another version wrote and cannot be read counts as absent."""
    stored = reading.at(manifest, "status", "governance")
    governance: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    policies, decision = governance.get("policies") or [], governance.get("decision")
    conditions = reading.objects(manifest, "status", "conditions")
    return JobStanding(
        namespace=reading.text(manifest, "metadata", "namespace"),
        dataset=reading.text(manifest, "spec", "dataset", "ref", "name"),
        outcome=Outcome(decision) if decision in set(Outcome) else None,
        policies=frozenset(str(named).partition("@")[0] for named in policies),
        waits=any(c.get("type") == "Governed" and c.get("reason") == Reason.AWAITING_APPROVAL for c in conditions),
        audited=sum(AUDIT_ONLY in reading.text(finding, "message") for finding in reading.objects(governance, "findings")),
        published=reading.at(manifest, "status", "artifact") is not None,
        begun_at=reading.moment(manifest, "status", "currentRun", "startedAt"),
    )


@dataclass(frozen=True)
class Surroundings:
    """What a policy's status is about, beside the policy: every policy as it is judged, labels of namespaces, jobs, the site's words."""

    policies: tuple[Policy, ...]
    namespaces: Mapping[str, Mapping[str, str]]
    jobs: tuple[JobStanding, ...]
    site: Site
    deployments: tuple[JobStanding, ...] = ()

    @cached_property
    def matched(self) -> dict[str, frozenset[str]]:
        """Namespaces that have the labels, by policy."""
        return {policy.name: self._matched(policy) for policy in self.policies}

    def _matched(self, policy: Policy) -> frozenset[str]:
        wanted = policy.match.namespace_labels.items()
        return frozenset(name for name, labels in self.namespaces.items() if wanted <= labels.items())

    @cached_property
    def job_outcomes(self) -> "Outcomes":
        return _outcomes(self.jobs)

    @cached_property
    def deployment_outcomes(self) -> "Outcomes":
        return _outcomes(self.deployments)

    def meeting(self, policy: Policy) -> list[str]:
        """Policies that a job can come under together with this one: they share a namespace, or could."""
        own = self.matched[policy.name]
        return [other.name for other in self.policies if not own.isdisjoint(self.matched[other.name]) or _could_share(policy, other, own)]


Outcomes = Counter[tuple[str, Outcome]]
"""How many objects by policy and outcome."""


def _outcomes(objects: Iterable[JobStanding]) -> Outcomes:
    return Counter((name, each.outcome) for each in objects if each.outcome is not None for name in each.policies)


def _counts(outcomes: Outcomes, policy: Policy) -> OutcomeCounts:
    return OutcomeCounts(**{field: outcomes[policy.name, outcome] for outcome, field in _COUNTED.items()})


def policy_status(manifest: JsonObject, policy: Policy, around: Surroundings, now: datetime) -> GovernancePolicyStatus:
    """The whole status; a transition time moves only when the condition's status does."""
    generation = reading.integer(manifest, "metadata", "generation") or 0
    matched = around.matched[policy.name]
    conflicts = conflicts_of(policy, around.policies, around.site, around.meeting(policy))
    status, reason, message = _stands(manifest, policy, conflicts, around)
    return GovernancePolicyStatus(
        observed_generation=generation,
        conditions=[_condition(manifest, status, reason, message, now)],
        matched_namespaces=sorted(matched)[:SHOWN_NAMESPACES],
        matched_namespace_count=len(matched),
        jobs=_counts(around.job_outcomes, policy),
        deployments=_counts(around.deployment_outcomes, policy),
        conflicts=conflicts,
    )


def dataset_status(manifest: JsonObject, users: Sequence[JobStanding], now: datetime) -> TrainingDatasetStatus:
    """The whole status, by the jobs that refer to the data; the last use is remembered beyond the job."""
    moments = [job.begun_at for job in users if job.begun_at is not None]
    known = reading.moment(manifest, "status", "lastUsedAt")
    reason = _stands_registered(manifest)
    status = ConditionStatus.TRUE if reason is StandingReason.REGISTERED else ConditionStatus.FALSE
    return TrainingDatasetStatus(
        conditions=[_condition(manifest, status, reason, _told(reason), now)],
        jobs=len(users),
        artifacts=sum(job.published for job in users),
        last_used_at=max([*moments, *([known] if known is not None else [])], default=None),
    )


def _stands_registered(manifest: JsonObject) -> StandingReason:
    try:
        record = TrainingDataset.model_validate({**manifest, "status": {}})
    except ValidationError:
        return StandingReason.UNREADABLE
    return StandingReason.REGISTERED if record.spec.withdrawn is None else StandingReason.WITHDRAWN


def _could_share(policy: Policy, other: Policy, own: frozenset[str]) -> bool:
    """Where no namespace is labelled yet: whether one could have the labels of both."""
    theirs = other.match.namespace_labels
    return not own and all(theirs.get(key, value) == value for key, value in policy.match.namespace_labels.items())


def _stands(
    manifest: JsonObject, policy: Policy, conflicts: list[str], around: Surroundings
) -> tuple[ConditionStatus, StandingReason, str]:
    matched = around.matched[policy.name]
    try:
        GovernancePolicy.model_validate({**manifest, "status": {}})
    except ValidationError:
        return ConditionStatus.FALSE, StandingReason.UNREADABLE, _told(StandingReason.UNREADABLE)
    if conflicts:
        told = f"{_told(StandingReason.POLICY_CONFLICT)} {' '.join(conflicts)}"
        return ConditionStatus.FALSE, StandingReason.POLICY_CONFLICT, told
    reason = StandingReason.IN_FORCE if matched else StandingReason.MATCHES_NOTHING
    unwatched = sum(LABEL_GOVERNED not in around.namespaces[name] for name in matched) if policy.approvals else 0
    closed = closed_above(policy)
    aside = f" From confidential on it allows nothing, since it does not say {listed(closed)}." if closed else ""
    if unwatched:
        aside += f" In {unwatched} of the namespaces that it asks for approvals nobody checks who submits: label them {LABEL_GOVERNED}."
    return ConditionStatus.TRUE, reason, _told(reason) + aside


def _told(reason: StandingReason) -> str:
    standing = STANDINGS[reason]
    return standing.meaning if standing.next_action == "Nothing." else f"{standing.meaning} {standing.next_action}"


def _condition(manifest: JsonObject, status: ConditionStatus, reason: StandingReason, message: str, now: datetime) -> StandingCondition:
    stored = reading.objects(manifest, "status", "conditions")
    before: JsonObject = next((c for c in stored if c.get("type") == StandingConditionType.READY), {})
    since = reading.moment(before, "lastTransitionTime") if before.get("status") == status.value else None
    return StandingCondition(
        type=StandingConditionType.READY,
        status=status,
        reason=reason.value,
        message=message[:_MESSAGE_LIMIT],
        observed_generation=reading.integer(manifest, "metadata", "generation") or 0,
        last_transition_time=since or now,
    )
