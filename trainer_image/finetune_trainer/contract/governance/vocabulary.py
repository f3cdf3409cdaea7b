"""The words of governance: levels, regimes, residency, licence categories, and the labels that carry them with their legal values.

Levels are ordered, regimes are a set, residency is a place: three dimensions and never one, so that health records are not a level. What a
site adds (its places, its regimes) is a fact, see `facts.Site`.
"""

import re
from enum import Enum, StrEnum
from functools import total_ordering
from typing import Annotated, Final

from pydantic import StringConstraints

LABEL_PREFIX: Final = "finetune.dev/"
LABEL_LEVEL: Final = f"{LABEL_PREFIX}level"
"""On datasets, jobs and whatever comes of them; on a Namespace, the floor below which nothing in it is classified."""
LABEL_RESIDENCY: Final = f"{LABEL_PREFIX}residency"
REGIME_LABELS: Final = f"{LABEL_PREFIX}regime."
"""``finetune.dev/regime.<name>: "true"``, on the same objects as the level."""
LABEL_CLEARANCE_LEVEL: Final = f"{LABEL_PREFIX}clearance-level"
"""On a Namespace or a model server: the highest level that it may hold; absent means public."""
CLEARANCE_LABELS: Final = f"{LABEL_PREFIX}clearance."
"""``finetune.dev/clearance.<regime>: "true"``, on a Namespace or a model server."""
LABEL_GOVERNED: Final = f"{LABEL_PREFIX}governed"
NODE_DOMAIN: Final = re.compile(r"(^|\.)node-restriction\.kubernetes\.io/")
"""In the name of a Node's label: the domain in which a kubelet cannot write."""
LABEL_ZONE: Final = "zone.node-restriction.kubernetes.io/name"
"""On a Node: the place where it stands. A kubelet cannot write labels of this domain."""

ANNOTATION_SUBMITTED_BY: Final = f"{LABEL_PREFIX}submitted-by"
"""On a job: the API server's own name of who made it."""
POD_SECURITY_LABELS: Final = "pod-security.kubernetes.io/"
"""On a Namespace: what its pods may do to their node."""

YES: Final = "true"
"""The only legal value of a label that is either there or not."""
ANY: Final = "any"
"""The residency of what may lie anywhere."""
EVERYTHING: Final = "*"
"""The entry of an allow-list that allows everything, and says so."""

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""Always matched in full: ``$`` would let a newline follow."""
PINNED_IMAGE: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")

LabelWord = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=48)]
"""A name that a site gives to a place or a regime; it fits into a label."""


@total_ordering
class Level(Enum):
    """How sensitive something is. The level of a whole is the highest of its parts and never falls: the high-water mark."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    RESTRICTED = "restricted"

    def __lt__(self, other: object) -> bool:
        return _RANKS[self._value_] < _RANKS[other._value_] if isinstance(other, Level) else NotImplemented

    def __str__(self) -> str:
        return self.value

    @classmethod
    def read(cls, text: str) -> "Level | None":
        """The level of this name; None for what is not in the vocabulary."""
        return cls(text) if text in _RANKS else None


_RANKS = {level.value: rank for rank, level in enumerate(Level)}


class Regime(StrEnum):
    """The regimes that every site knows."""

    PII = "pii"
    PHI = "phi"
    PCI = "pci"
    EXPORT = "export"
    MINORS = "minors"


class Entity(StrEnum):
    """Identifiers that a scan of the data can find."""

    CARD = "card"
    SSN = "ssn"
    IBAN = "iban"
    NHS_NUMBER = "nhs-number"
    MEDICAL_RECORD = "medical-record"
    EMAIL = "email"
    PHONE = "phone"
    IP_ADDRESS = "ip-address"
    DATE = "date"
    URL = "url"


REGIMES_OF: Final = {
    Entity.CARD: (Regime.PCI,),
    Entity.SSN: (Regime.PII, Regime.PHI),
    Entity.IBAN: (Regime.PII, Regime.PHI),
    Entity.NHS_NUMBER: (Regime.PHI,),
    Entity.MEDICAL_RECORD: (Regime.PHI,),
    Entity.EMAIL: (Regime.PII, Regime.PHI),
    Entity.PHONE: (Regime.PII, Regime.PHI),
    Entity.IP_ADDRESS: (Regime.PII, Regime.PHI),
}
"""Under which regimes data may be declared that hold such an identifier; the first is the one that is raised where none is declared.

A date or an address of a page points at nobody by itself.
"""

HIPAA_TYPES: Final = {
    Entity.CARD: "account numbers",
    Entity.SSN: "social security numbers",
    Entity.IBAN: "account numbers",
    Entity.NHS_NUMBER: "health plan beneficiary numbers",
    Entity.MEDICAL_RECORD: "medical record numbers",
    Entity.EMAIL: "e-mail addresses",
    Entity.PHONE: "telephone numbers",
    Entity.IP_ADDRESS: "IP addresses",
    Entity.DATE: "dates of a person's life",
    Entity.URL: "web addresses",
}
"""Each as one of the eighteen types of 45 CFR 164.514(b)(2), whose absence Safe Harbor asks for."""


@total_ordering
class ScanProfile(Enum):
    """What a scan can see, from least to most."""

    IDENTIFIERS = "Identifiers"
    IDENTIFIERS_AND_NAMES = "IdentifiersAndNames"

    def __lt__(self, other: object) -> bool:
        return self is ScanProfile.IDENTIFIERS and other is not self if isinstance(other, ScanProfile) else NotImplemented

    def __str__(self) -> str:
        return self.value
