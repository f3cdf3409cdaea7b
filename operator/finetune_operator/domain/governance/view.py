"""What of governance a decision may know: the namespace's labels, the policies, and the datasets and approvals of the namespace."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from finetune_operator.api.governance.approval import Approval
from finetune_operator.api.governance.dataset import TrainingDataset, TrainingDatasetSpec
from finetune_operator.api.governance.policy import GovernancePolicy
from finetune_operator.api.uris import overlap
from finetune_operator.domain import reading
from finetune_operator.domain.governance.serving import Withdrawal
from finetune_operator.domain.plan import JsonObject
from finetune_trainer.contract.governance import Policy
from finetune_trainer.contract.governance.facts import ApprovalFacts, Site
from finetune_trainer.contract.governance.vocabulary import LABEL_GOVERNED


@dataclass(frozen=True)
class GovernanceView:
    """A snapshot. ``datasets`` are those of the namespace by name, ``approvals`` those that name the job, or of which nobody can say."""

    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()
    datasets: Mapping[str, JsonObject] = field(default_factory=dict)
    approvals: tuple[JsonObject, ...] = ()
    site: Site = field(default_factory=Site)
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of each node by name the labels that no kubelet can write."""
    network_policies: Mapping[str, JsonObject] = field(default_factory=dict)
    """Those that the operator has made for the job, by name."""
    target_reached: bool = False
    """Whether the operator reaches the target outside that probes of egress try."""
    known: bool = True
    """False while the namespace itself has not been seen: a job can come sooner than the namespace that it is in."""

    @property
    def governed(self) -> bool:
        """Also where the label has no legal value: that is a finding, and no way out."""
        return LABEL_GOVERNED in self.namespace_labels

    def dataset(self, name: str) -> TrainingDatasetSpec | None:
        """None for one that is absent, on its way out, or written in a way that cannot be read."""
        manifest = self.datasets.get(name)
        if manifest is None or reading.at(manifest, "metadata", "deletionTimestamp") is not None:
            return None
        try:
            return TrainingDataset.model_validate(manifest).spec
        except ValidationError:
            return None

    def withdrawn(self, uri: str, digest: str | None) -> str | None:
        """Why these data are not to be used any more, in a steward's words; None for data of which nobody says so."""
        reasons = (reading.text(manifest, "spec", "withdrawn", "reason") for manifest in self._about(uri, digest))
        return next((reason for reason in reasons if reason), None)

    def records(self, uri: str, digest: str | None) -> tuple[TrainingDatasetSpec, ...]:
        """What is registered about these data, by whatever name."""
        found = (self.dataset(reading.text(manifest, "metadata", "name")) for manifest in self._about(uri, digest))
        return tuple(record for record in found if record is not None)

    def _about(self, uri: str, digest: str | None) -> Iterator[JsonObject]:
        """The same digest is the same data wherever they lie, and the same place is, unless both sides name digests that differ.

        A folder is what lies in it, and what lies in it is of the folder: a part has another digest than the whole, which says nothing.
        """
        for name in sorted(self.datasets):
            known, place = (reading.text(self.datasets[name], "spec", field) for field in ("digest", "uri"))
            others = place == uri and known and digest and known != digest
            if (known and known == digest) or (overlap(place, uri) and not others):
                yield self.datasets[name]


def read_withdrawal(manifest: JsonObject) -> Withdrawal | None:
    """What a TrainingDataset that was withdrawn says; None for any other."""
    reason = reading.text(manifest, "spec", "withdrawn", "reason")
    if not reason:
        return None
    namespace, name = reading.text(manifest, "metadata", "namespace"), reading.text(manifest, "metadata", "name")
    uri, digest = (reading.text(manifest, "spec", field) for field in ("uri", "digest"))
    return Withdrawal(namespace, name, uri, digest, reason)


def read_policy(manifest: JsonObject) -> Policy:
    """A policy that cannot be read, because another version of its definition stored it, lets nothing pass."""
    name, uid = reading.text(manifest, "metadata", "name"), reading.text(manifest, "metadata", "uid")
    generation = reading.integer(manifest, "metadata", "generation") or 0
    try:
        return GovernancePolicy.model_validate(manifest).spec.to_policy(name, uid, generation)
    except ValidationError:
        named = name[:253] or "unreadable"
        return Policy.model_construct(name=named, uid=uid[:63], generation=max(0, generation), data_sources=(), zones=())


def unreadable_approval(manifest: JsonObject, subject: str) -> str:
    """The name of an Approval that cannot be read and is about this object, or about nobody knows which; empty for any other."""
    if reading.at(manifest, "metadata", "deletionTimestamp") is not None:
        return ""
    if reading.text(manifest, "spec", "subjectRef", "name") not in {"", subject}:
        return ""
    try:
        Approval.model_validate(manifest)
    except ValidationError:
        return reading.text(manifest, "metadata", "name")
    return ""


def read_approval(manifest: JsonObject, subject: str) -> ApprovalFacts | None:
    """What an Approval says about this object; None for one about another, one being withdrawn, and one that cannot be read."""
    given_at = reading.moment(manifest, "metadata", "creationTimestamp")
    if given_at is None or reading.at(manifest, "metadata", "deletionTimestamp") is not None:
        return None
    try:
        spec = Approval.model_validate(manifest).spec
    except ValidationError:
        return None
    if spec.subject_ref.name != subject:
        return None
    return ApprovalFacts(
        stage=spec.stage,
        approver=spec.approver,
        subject_digest=spec.subject_digest,
        given_at=given_at,
        expires_at=spec.expires_at,
    )
