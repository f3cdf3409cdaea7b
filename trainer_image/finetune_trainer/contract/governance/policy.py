"""What a platform team demands, as a value: which objects it concerns and what must hold for them.

Policies are never merged. Each that applies is judged by itself and every finding counts, which is what strictest wins means: an object
must satisfy all, so allow-lists intersect, deny-lists unite and thresholds take the stricter side. An allow-list or a demand that is unset
is open below ``confidential`` and closed from there on, in each policy: one that has nothing to say about it allows ``*`` and says so.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from finetune_trainer.contract.base import Digest, Document
from finetune_trainer.contract.governance.classification import Classification
from finetune_trainer.contract.governance.facts import ApprovalStage, Labels
from finetune_trainer.contract.governance.vocabulary import EVERYTHING, LabelWord, Level, ScanProfile
from finetune_trainer.contract.model import LicenceCategory
from finetune_trainer.contract.results import MOST_REVIEWED

Place = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$", max_length=48)]
Host = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?)$", max_length=253)]
SourcePrefix = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9]+://[^\s%\\]+)$", max_length=1024)]
NodeLabel = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9.]*\.)?node-restriction\.kubernetes\.io/[-A-Za-z0-9_.]+$", max_length=317)
]
LicenceTerm = Annotated[str, StringConstraints(min_length=1, max_length=128)]
"""A licence key, or the name of a category."""


def _network(text: str) -> str:
    """Raises ``ValueError`` for what is no address range in its plain form."""
    if str(ip_network(text)) != text:
        raise ValueError(f"write {ip_network(text)}")
    return text


Cidr = Annotated[str, StringConstraints(pattern=r"^[0-9a-f.:]+/[0-9]{1,3}$", max_length=43), AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Mode(StrEnum):
    """Audit judges and records, and never blocks."""

    ENFORCE = "Enforce"
    AUDIT = "Audit"


class Egress(StrEnum):
    CLOSED = "Closed"
    OPEN = "Open"


class Dns(StrEnum):
    """Where names may be asked for while egress is closed."""

    NONE = "None"
    CLUSTER_ONLY = "ClusterOnly"


class Destination(Document):
    """Addresses, and their TCP ports, that a pod may reach although egress is closed."""

    cidr: Cidr
    ports: tuple[Port, ...] = Field(min_length=1, max_length=16)


class Network(Document):
    """What stays open while egress is closed; of several policies, what all of them leave open."""

    allow: tuple[Destination, ...] = Field(default=(), max_length=32)
    dns: Dns = Dns.NONE


class Match(Document):
    """Which objects: in namespaces with all these labels, from this level on, and under any of these regimes if some are named."""

    namespace_labels: Labels = Field(default_factory=dict)
    min_level: Level = Level.PUBLIC
    regimes: tuple[LabelWord, ...] = Field(default=(), max_length=32)

    def applies(self, namespace_labels: dict[str, str], classification: Classification) -> bool:
        return (
            classification.level >= self.min_level
            and (not self.regimes or not classification.regimes.isdisjoint(self.regimes))
            and self.namespace_labels.items() <= namespace_labels.items()
        )


class NodeRequirement(Document):
    """A label that a node must have, with one of these values; of a domain in which a kubelet cannot write."""

    key: NodeLabel
    values: tuple[Annotated[str, StringConstraints(max_length=63)], ...] = Field(min_length=1, max_length=64)


class StatedLicence(Document):
    """What a model stands under by the word of whoever made the policy; with a digest, only while its files have it."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    digest: Digest | None = None
    licence: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    category: LicenceCategory | None = None


class LicenceTerms(Document):
    """``deny`` beats ``conditional``, which beats ``allow``; ``stated`` takes the place of what a model's files say, in this policy."""

    allow: tuple[LicenceTerm, ...] | None = Field(default=None, max_length=128)
    conditional: tuple[LicenceTerm, ...] = Field(default=(), max_length=128)
    deny: tuple[LicenceTerm, ...] = Field(default=(), max_length=128)
    stated: tuple[StatedLicence, ...] = Field(default=(), max_length=128)


class Quality(Document):
    """What the data must be; ``waivable`` leaves a shortfall to a waiver. Fewer examples than the task's minimum is always one."""

    min_examples: int = Field(default=0, ge=0, le=10**9)
    max_duplicate_percent: int = Field(default=100, ge=0, le=100)
    max_evaluation_overlap: int = Field(default=0, ge=0, le=10**9)
    waivable: bool = False


class ApprovalRule(Document):
    """So many people who are neither submitter nor author of the spec, from this level on."""

    stage: Literal[ApprovalStage.TRAIN, ApprovalStage.PROMOTE]
    min_level: Level = Level.PUBLIC
    count: int = Field(default=1, ge=1, le=8)
    valid_for_seconds: int | None = Field(default=None, ge=60, le=10 * 366 * 86_400)


class Review(Document):
    """Somebody looks at so many rows, the first ones of those drawn, before anything is trained."""

    rows: int = Field(ge=1, le=MOST_REVIEWED)


class Policy(Document):
    """One policy at one generation."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
    uid: str = Field(default="", max_length=63)
    generation: int = Field(default=1, ge=0)
    mode: Mode = Mode.ENFORCE
    match: Match = Match()
    zones: tuple[Place, ...] | None = Field(default=None, max_length=64, description="Where data and the nodes that read them may be.")
    node_labels: tuple[NodeRequirement, ...] = Field(default=(), max_length=16)
    data_sources: tuple[SourcePrefix, ...] | None = Field(default=None, max_length=64, description="pvc://CLAIM/PATH prefixes of data.")
    purposes: tuple[LabelWord, ...] | None = Field(default=None, max_length=64, description="What jobs may be for; None: anything.")
    require_digests: bool | None = None
    licences: LicenceTerms = LicenceTerms()
    scan: ScanProfile | None = Field(default=None, description="What a scan of all rows must at least be able to see.")
    quality: Quality | None = None
    tracker_hosts: tuple[Host, ...] | None = Field(default=None, max_length=64)
    judge_hosts: tuple[Host, ...] | None = Field(default=None, max_length=64)
    egress: Egress | None = None
    network: Network = Network()
    runtime_class_name: str | None = Field(default=None, min_length=1, max_length=253, description="RuntimeClass of the pods.")
    approvals: tuple[ApprovalRule, ...] = Field(default=(), max_length=16)
    require_justification: bool = False
    review: Review | None = None
    waiver_approvals: int = Field(
        default=2, ge=1, le=8, description="How many waivers let a finding of this policy pass that can be waived."
    )
    require_evaluation: bool | None = None
    require_proofs: bool | None = Field(default=None, description="Signature and record of an adapter.")

    @property
    def enforced(self) -> bool:
        return self.mode is Mode.ENFORCE

    @cached_property
    def content(self) -> Digest:
        """Digest of all of it: another content is another policy, whatever its generation says."""
        return self.content_digest()

    @property
    def identity(self) -> dict[str, str | int]:
        """What a sealed decision names it by."""
        return {"name": self.name, "uid": self.uid, "generation": self.generation, "content": self.content}


def allowed(entries: tuple[str, ...] | None, level: Level) -> tuple[str, ...]:
    """An allow-list as it counts at this level: unset is everything below confidential and nothing from there on."""
    if entries is None:
        return () if level >= Level.CONFIDENTIAL else (EVERYTHING,)
    return entries


def demanded(demand: bool | None, level: Level) -> bool:
    """A demand as it counts at this level: unset is one from confidential on."""
    return level >= Level.CONFIDENTIAL if demand is None else demand


def closes_egress(policy: Policy, level: Level) -> bool:
    """Whether the policy keeps pods from the outside at this level; unset it does from confidential on."""
    return (policy.egress or (Egress.CLOSED if level >= Level.CONFIDENTIAL else Egress.OPEN)) is Egress.CLOSED


def runtime_classes(policies: Iterable[Policy]) -> frozenset[str]:
    """Those asked for; more than one can be satisfied by no pod."""
    return frozenset(policy.runtime_class_name for policy in policies if policy.runtime_class_name is not None)
