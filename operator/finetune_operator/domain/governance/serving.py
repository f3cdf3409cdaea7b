"""Whether one version of an adapter may be served: facts from the object, its namespace and the adapter's record, judged by the contract.

Serving asks nobody for approval: what needs one got it where the adapter was made, so only a refusal holds here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from finetune_operator.api.adapterdeployment.reasons import OF_GOVERNANCE, Reason
from finetune_operator.api.adapterdeployment.spec import AdapterDeploymentSpec
from finetune_operator.api.adapterdeployment.status import AdapterRecordStatus
from finetune_operator.api.governance.job import ClassificationStatus
from finetune_operator.api.inputs import TrainedOn
from finetune_operator.api.uris import overlap
from finetune_operator.manifests.labels import classification_labels
from finetune_operator.manifests.names import Owner
from finetune_trainer.contract.governance import Classification, Decision, Facts, Policy, decide, strictest
from finetune_trainer.contract.governance import Outcome as Verdict
from finetune_trainer.contract.governance import vocabulary as words
from finetune_trainer.contract.governance.facts import AdapterFacts, ModelFacts, NamespaceFacts, Proof, Site, Stage, SubjectFacts
from finetune_trainer.contract.governance.findings import shown
from finetune_trainer.contract.model import Licence

_AT_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Only approvals expire, and serving has none."""
_MOST_LABELS: Final = 256
_MESSAGE_LIMIT: Final = 1600
_MOST_DATA: Final = 16


@dataclass(frozen=True)
class Withdrawal:
    """Data that nothing is to be made of any more; ``reason`` is a steward's."""

    namespace: str
    name: str
    uri: str
    digest: str
    reason: str

    def reaches(self, data: TrainedOn, namespace: str) -> bool:
        """Whether these are the data, or a part or the whole of them.

        The same digest is, wherever it lies; the same place is, unless two digests are named that differ.
        """
        if self.digest and self.digest == data.digest:
            return True
        if self.namespace != (data.namespace or namespace):
            return False
        differ = self.uri == data.uri and bool(self.digest and data.digest)
        return self.name == data.name or (data.uri is not None and overlap(self.uri, data.uri) and not differ)


@dataclass(frozen=True)
class ServingView:
    """What a decision about one AdapterDeployment may know.

    ``adapters`` are what FineTuneJobs say of the digests in question. ``server_labels`` are of the servers that a user runs himself, each
    kind of them once; what the operator runs may hold what its namespace may. ``grace_seconds``: how long a version that answers may go on
    once it may not be served.
    """

    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()
    site: Site = field(default_factory=Site)
    withdrawals: tuple[Withdrawal, ...] = ()
    adapters: Mapping[str, AdapterRecordStatus] = field(default_factory=dict)
    server_labels: tuple[Mapping[str, str], ...] = ()
    grace_seconds: float = 3600.0
    known: bool = True
    """False while the namespace itself has not been seen."""

    @property
    def governed(self) -> bool:
        """Also where the label has no legal value: that is a finding, and no way out."""
        return words.LABEL_GOVERNED in self.namespace_labels


@dataclass(frozen=True)
class Question:
    """One version, as it is to be judged.

    ``adapter`` is None where nothing is known of it, ``unread`` where that is for a Job to find out first. ``labels`` are the object's own
    if it asks for this version, None for another one, which is judged by what it is.
    """

    owner: Owner
    spec: AdapterDeploymentSpec
    digest: str
    adapter: AdapterRecordStatus | None
    unread: bool = False
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Ruling:
    """``concerned``: whether governance has a say at all."""

    decision: Decision
    concerned: bool
    revoked: bool

    @property
    def denied(self) -> bool:
        return self.decision.outcome is Verdict.DENY

    @property
    def reason(self) -> Reason:
        """Of the first finding that refuses; a withdrawal before everything else, since nothing helps against it."""
        if not self.denied:
            return Reason.ALLOWED
        rules = [finding.rule.value for finding in self.decision.findings if finding.blocks]
        named = [Reason.REVOKED.value] * self.revoked + [rule for rule in rules if rule in OF_GOVERNANCE]
        return Reason(named[0]) if named else Reason.ADAPTER_NOT_CLEARED

    @property
    def message(self) -> str:
        told = self.decision.one_line()
        if not self.denied:
            policies = ", ".join(self.decision.policies) or "none"
            told = f"level {self.decision.classification.level}; policies: {policies}; {told}"
        return told if len(told) <= _MESSAGE_LIMIT else told[: _MESSAGE_LIMIT - 1] + "…"


def rule_on(view: ServingView, question: Question) -> Ruling:
    """Judge one version. With several kinds of servers, the first that it may not be loaded into decides."""
    servers = view.server_labels or (None,)
    decisions = [decide(_facts(view, question, server), view.policies, _AT_ANY_TIME) for server in servers]
    decision = next((each for each in decisions if each.outcome is Verdict.DENY), decisions[0])
    adapter = question.adapter
    classified = adapter is not None and (adapter.classification is not None or _revocation(view, question) is not None)
    concerned = view.governed or classified or bool(decision.policies)
    return Ruling(decision, concerned, _revocation(view, question) is not None)


def united(first: AdapterRecordStatus, second: AdapterRecordStatus) -> AdapterRecordStatus:
    """What two sources say of one adapter: the stricter classification, all the data and licences, the worse proof."""
    parts = [each for each in (first.classification, second.classification) if each is not None]
    data = list(dict.fromkeys([*first.data, *second.data]))[:_MOST_DATA]
    return AdapterRecordStatus(
        digest=first.digest,
        classification=classification_status(strictest(contract_classification(each) for each in parts)) if parts else None,
        data=data,
        licences=list({each.key: each for each in (*first.licences, *second.licences)}.values())[:8],
        obligations=list(dict.fromkeys([*first.obligations, *second.obligations]))[:16],
        signature=_worse(first.signature, second.signature),
        record=_worse(first.record, second.record),
    )


def _worse(first: Proof | None, second: Proof | None) -> Proof | None:
    """What is wrong stays wrong whoever says otherwise; what somebody has seen beats what another one has not."""
    return next((proof for proof in (Proof.INVALID, Proof.VALID, Proof.ABSENT) if proof in (first, second)), None)


def contract_classification(status: ClassificationStatus) -> Classification:
    return Classification(level=status.level, regimes=frozenset(status.regimes), residencies=frozenset(status.residencies))


def classification_status(found: Classification) -> ClassificationStatus:
    return ClassificationStatus(level=found.level, regimes=sorted(found.regimes)[:64], residencies=sorted(found.residencies)[:96])


def highest(parts: Iterable[ClassificationStatus | None]) -> ClassificationStatus:
    """Of all parts together."""
    return classification_status(strictest(contract_classification(part) for part in parts if part is not None))


def _facts(view: ServingView, question: Question, server: Mapping[str, str] | None) -> Facts:
    spec, owner = question.spec, question.owner
    managed = spec.server.managed
    return Facts(
        stage=Stage.SERVE,
        namespace=NamespaceFacts(name=owner.namespace, labels=_bounded(view.namespace_labels)),
        subject=SubjectFacts(name=owner.name, uid=owner.uid, labels=_bounded(_labels(question))),
        site=view.site,
        base_model=_base_model(question),
        adapter=None if question.unread and question.adapter is None else _adapter(view, question),
        images=(managed.image,) if managed is not None and managed.image else (),
        model_server=_bounded(server) if server is not None else None,
        served_as=spec.model_name,
    )


def _labels(question: Question) -> Mapping[str, str]:
    if question.labels is not None:
        return question.labels
    found = question.adapter.classification if question.adapter is not None else None
    own = classification_labels(found or ClassificationStatus(level=words.Level.RESTRICTED))
    return {words.LABEL_RESIDENCY: words.ANY, **own}


def _base_model(question: Question) -> ModelFacts | None:
    """Of a licence that nobody knows nothing is said here: it was judged where the adapter was made."""
    model, adapter = question.spec.base_model, question.adapter
    if adapter is None or not adapter.licences:
        return None
    licences = tuple(Licence(key=each.key, category=each.category) for each in adapter.licences)
    return ModelFacts(uri=model.uri, digest=model.digest, licences=licences)


def _adapter(view: ServingView, question: Question) -> AdapterFacts:
    known = question.adapter or AdapterRecordStatus(digest=question.digest)
    revoked = _revocation(view, question)
    return AdapterFacts(
        digest=question.digest,
        classification=contract_classification(known.classification) if known.classification is not None else None,
        signature=known.signature or Proof.ABSENT,
        record=known.record or Proof.ABSENT,
        revoked=revoked is not None,
        revocation=_in_words(revoked) if revoked is not None else "",
        licences=tuple(known.obligations),
    )


def _revocation(view: ServingView, question: Question) -> Withdrawal | None:
    data = question.adapter.data if question.adapter is not None else ()
    return next((each for each in view.withdrawals if any(each.reaches(used, question.owner.namespace) for used in data)), None)


def _in_words(withdrawal: Withdrawal) -> str:
    return f"it was trained on TrainingDataset {withdrawal.namespace}/{withdrawal.name}, which was withdrawn: {shown(withdrawal.reason)}"


def _bounded(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(list(labels.items())[:_MOST_LABELS])
