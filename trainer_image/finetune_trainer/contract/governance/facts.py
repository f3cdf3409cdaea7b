"""What is known of a job or a deployment when it is decided upon: declared, read from files, counted, measured.

Whoever asks gathers the facts; `decide` looks nothing up. What is not known yet is None, which is silent before the stage at which a rule
must have its answer and a finding from then on. Labels are raw texts, because judging them is the first rule; no fact holds text of a row.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from finetune_trainer.contract.base import Document
from finetune_trainer.contract.egress import Probe as Probe  # noqa: PLC0414 - a fact like the others
from finetune_trainer.contract.governance.classification import Classification
from finetune_trainer.contract.governance.licences import LicenceKey
from finetune_trainer.contract.governance.vocabulary import (
    LABEL_GOVERNED,
    YES,
    Entity,
    LabelWord,
    Regime,
    ScanProfile,
)
from finetune_trainer.contract.model import Licence, WeightsFormat
from finetune_trainer.contract.results import Verdict

Name = Annotated[str, StringConstraints(max_length=253)]
Address = Annotated[str, StringConstraints(max_length=2048)]
Labels = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=256)]], Field(max_length=256)
]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9_.\[\]]+$", max_length=128)]
Count = Annotated[int, Field(ge=0, le=10**15)]


class Stage(StrEnum):
    """Before what is decided, in order: taking the job on, sealing, mounting data, making the adapter the current one, loading it."""

    ACCEPT = "Accept"
    SEAL = "Seal"
    START = "Start"
    PROMOTE = "Promote"
    SERVE = "Serve"


class Site(Document):
    """What a site adds to the vocabulary."""

    residencies: tuple[LabelWord, ...] = Field(default=(), max_length=64)
    regimes: tuple[LabelWord, ...] = Field(default=(), max_length=32)

    @property
    def known_regimes(self) -> frozenset[str]:
        return frozenset(self.regimes) | frozenset(Regime)


class NamespaceFacts(Document):
    name: Name
    labels: Labels = Field(default_factory=dict)

    @property
    def governed(self) -> bool:
        return self.labels.get(LABEL_GOVERNED) == YES


class SubjectFacts(Document):
    """The object that is decided upon. ``submitter`` and ``authors`` of its spec are the API server's own names for them, else empty."""

    name: Name
    uid: str = Field(default="", max_length=63)
    labels: Labels = Field(default_factory=dict)
    labels_before: Labels | None = Field(default=None, description="Its labels before the change at hand; None for a new object.")
    submitter: Name = ""
    authors: tuple[Name, ...] = Field(default=(), max_length=64)
    spec_digest: str = Field(default="", max_length=71)
    purpose: str = Field(default="", max_length=48, description="What the job says that it is for.")
    justified: bool | None = Field(default=None, description="Whether it says why; None for what has no field to say so.")
    gated: bool | None = Field(
        default=None, description="Whether it names a gate; None where none can be named, or none is to decide any more."
    )


class Generator(Document):
    """A model that has written rows of a dataset."""

    name: Name
    licence: LicenceKey = Field(max_length=128)


class DatasetFacts(Document):
    """One source of rows, replayed and mixed-in ones included. ``classification`` is the record's; None for data without a record."""

    field: FieldPath = "spec.dataset"
    uri: Address
    digest: str | None = Field(default=None, max_length=256)
    classification: Classification | None = None
    withdrawn: str | None = Field(
        default=None, max_length=1024, description="Why nothing is to be made of them any more, in a steward's words."
    )
    owner: Name = Field(default="", description="Whom to ask about them.")
    purposes: tuple[LabelWord, ...] | None = Field(default=None, max_length=16, description="What they may be used for; None: anything.")
    retain_until: AwareDatetime | None = Field(default=None, description="From when on they may not be read any more.")
    claims_safe_harbor: bool = False
    generators: tuple[Generator, ...] = Field(default=(), max_length=16)


class ModelFacts(Document):
    """The base model. ``licences`` and ``formats`` are None until its files are read; all licences named hold together.

    ``digest`` is the declared one and ``found_digest`` that of the files. ``claimed`` is the licence that the job states, which is no
    evidence: it can be a reason to refuse, and never one to allow.
    """

    field: FieldPath = "spec.baseModel"
    uri: Address
    digest: str | None = Field(default=None, max_length=256)
    found_digest: str | None = Field(default=None, max_length=256)
    claimed: Licence | None = None
    licences: tuple[Licence, ...] | None = Field(default=None, max_length=16)
    formats: tuple[WeightsFormat, ...] | None = Field(default=None, max_length=8, description="Of the weights that would be loaded.")
    remote_code: bool = False


class Proof(StrEnum):
    VALID = "Valid"
    INVALID = "Invalid"
    ABSENT = "Absent"


class AdapterFacts(Document):
    """The adapter that a job goes on from, or that a deployment serves. Proofs are None until they are looked at."""

    field: FieldPath = "spec.adapter"
    digest: str | None = Field(default=None, max_length=256)
    classification: Classification | None = Field(default=None, description="As its record says; None without one.")
    signature: Proof | None = None
    record: Proof | None = None
    revoked: bool = False
    revocation: str = Field(default="", max_length=400, description="Why it is revoked, in words that follow a colon.")
    licences: tuple[LicenceKey, ...] = Field(default=(), max_length=16, description="Keys of the licences whose obligations it carries.")


class DataReport(Document):
    """Counts of the prepare step; ``task_minimum`` is the least that is useful for the task.

    ``duplicates`` are those of the examples that repeat another one, ``evaluation_overlap`` the items that also occur among the examples.
    """

    examples: Count
    task_minimum: Count = 0
    duplicates: Count = 0
    evaluation_overlap: Count = 0


class ReviewFacts(Document):
    """The rows that were drawn for people to look at: so many, by the report with this digest."""

    rows: Count
    report_digest: str = Field(max_length=71)


class EntityHits(Document):
    """Rows with an identifier: those that match its pattern, and of them those whose checksum is right."""

    entity: Entity
    rows: Count
    validated_rows: Count = 0


class ScanReport(Document):
    profile: ScanProfile
    entire: bool = Field(default=True, description="Every row was looked at.")
    hits: tuple[EntityHits, ...] = Field(default=(), max_length=32)


class ReadDigest(Document):
    """A digest that was sealed, and that of the bytes which were read later."""

    field: FieldPath
    sealed: str = Field(max_length=256)
    read: str = Field(max_length=256)


class GateResult(Document):
    name: str = Field(min_length=1, max_length=64)
    verdict: Verdict
    items_to_decide: Count | None = None


class ApprovalStage(StrEnum):
    TRAIN = "Train"
    REVIEW = "Review"
    PROMOTE = "Promote"
    WAIVE = "Waive"


class ApprovalFacts(Document):
    """An approval that was given, bound to the digest of the decision that the approver saw."""

    stage: ApprovalStage
    approver: Name
    subject_digest: str = Field(max_length=71)
    given_at: AwareDatetime
    expires_at: AwareDatetime | None = None


class Facts(Document):
    """Everything that `decide` may look at."""

    stage: Stage
    namespace: NamespaceFacts
    subject: SubjectFacts
    site: Site = Site()
    datasets: tuple[DatasetFacts, ...] = Field(default=(), max_length=32)
    base_model: ModelFacts | None = None
    adapter: AdapterFacts | None = None
    images: tuple[Address, ...] = Field(default=(), max_length=16)
    trackers: tuple[Address, ...] = Field(default=(), max_length=16)
    judges: tuple[Address, ...] = Field(default=(), max_length=16)
    data_report: DataReport | None = None
    review: ReviewFacts | None = None
    scan: ScanReport | None = None
    nodes: tuple[Labels, ...] | None = Field(default=None, max_length=512, description="Distinct labels of the nodes that there are.")
    bound_node: Labels | None = Field(default=None, description="Labels of the node that the pod runs on, read after it was bound.")
    egress: Probe | None = None
    api_token: bool | None = Field(default=None, description="Whether the pod has a token of a service account.")
    reads: tuple[ReadDigest, ...] = Field(default=(), max_length=64)
    gates: tuple[GateResult, ...] = Field(default=(), max_length=32)
    model_server: Labels | None = Field(default=None, description="Labels of the server that is to load the adapter.")
    served_as: Name | None = Field(default=None, description="The model name under which callers ask for it.")
    recorded: Classification | None = Field(default=None, description="Of an earlier object of this name that was let pass.")
    approvals: tuple[ApprovalFacts, ...] = Field(default=(), max_length=64)
    unreadable_approvals: tuple[Name, ...] = Field(
        default=(), max_length=64, description="Names of those that nobody can read; none counts."
    )
    accepted_under: tuple[Name, ...] = Field(
        default=(), max_length=128, description="Names of enforced policies under which what is under way was let pass before."
    )
