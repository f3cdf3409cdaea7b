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
SERVICE_ACCOUNTS: Final = "system:serviceaccount:"
"""How the API server's names of service accounts begin; whoever can have a token of one acts by it, and nobody can tell who did."""
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
    IBAN = "iban"
    SSN = "ssn"
    AADHAAR = "aadhaar"
    NHS_NUMBER = "nhs-number"
    NPI = "npi"
    VEHICLE = "vehicle"
    DEVICE = "device"
    MEDICAL_RECORD = "medical-record"
    HEALTH_PLAN = "health-plan"
    ACCOUNT = "account"
    LICENCE = "licence"
    EMAIL = "email"
    PHONE = "phone"
    IP_ADDRESS = "ip-address"
    BIRTH_DATE = "birth-date"
    DATE = "date"
    URL = "url"
    SECRET = "secret"  # noqa: S105
    PERSON = "person"
    PLACE = "place"
    ORGANISATION = "organisation"


_PERSONAL = (Regime.PII, Regime.PHI)
_HEALTH = (Regime.PHI,)
REGIMES_OF: Final = {
    Entity.CARD: (Regime.PCI,),
    Entity.IBAN: _PERSONAL,
    Entity.SSN: _PERSONAL,
    Entity.AADHAAR: _PERSONAL,
    Entity.NHS_NUMBER: _HEALTH,
    Entity.NPI: _PERSONAL,
    Entity.VEHICLE: _PERSONAL,
    Entity.DEVICE: _PERSONAL,
    Entity.MEDICAL_RECORD: _HEALTH,
    Entity.HEALTH_PLAN: _HEALTH,
    Entity.ACCOUNT: _PERSONAL,
    Entity.LICENCE: _PERSONAL,
    Entity.EMAIL: _PERSONAL,
    Entity.PHONE: _PERSONAL,
    Entity.IP_ADDRESS: _PERSONAL,
    Entity.BIRTH_DATE: _PERSONAL,
    Entity.PERSON: _PERSONAL,
}
"""Under which regimes data may be declared that hold such an identifier; the first is the one that is raised where none is declared.

A date, a place, an organisation or an address of a page points at nobody by itself, and no regime makes a secret harmless.
"""


class SafeHarborType(StrEnum):
    """The eighteen types of identifiers of 45 CFR 164.514(b)(2)(i), in its order, whose absence Safe Harbor asks for."""

    NAMES = "names"
    GEOGRAPHY = "places smaller than a state"
    DATES = "dates of a person's life"
    PHONE = "telephone numbers"
    FAX = "fax numbers"
    EMAIL = "e-mail addresses"
    SSN = "social security numbers"
    MEDICAL_RECORD = "medical record numbers"
    HEALTH_PLAN = "health plan beneficiary numbers"
    ACCOUNT = "account numbers"
    LICENCE = "certificate and license numbers"
    VEHICLE = "vehicle identifiers"
    DEVICE = "device identifiers"
    URL = "web addresses"
    IP_ADDRESS = "IP addresses"
    BIOMETRIC = "biometric identifiers"
    PHOTO = "full-face photographs"
    OTHER = "other unique numbers and codes"


HIPAA_TYPES: Final = {
    Entity.CARD: SafeHarborType.ACCOUNT,
    Entity.IBAN: SafeHarborType.ACCOUNT,
    Entity.SSN: SafeHarborType.SSN,
    Entity.AADHAAR: SafeHarborType.OTHER,
    Entity.NHS_NUMBER: SafeHarborType.HEALTH_PLAN,
    Entity.NPI: SafeHarborType.LICENCE,
    Entity.VEHICLE: SafeHarborType.VEHICLE,
    Entity.DEVICE: SafeHarborType.DEVICE,
    Entity.MEDICAL_RECORD: SafeHarborType.MEDICAL_RECORD,
    Entity.HEALTH_PLAN: SafeHarborType.HEALTH_PLAN,
    Entity.ACCOUNT: SafeHarborType.ACCOUNT,
    Entity.LICENCE: SafeHarborType.LICENCE,
    Entity.EMAIL: SafeHarborType.EMAIL,
    Entity.PHONE: SafeHarborType.PHONE,
    Entity.IP_ADDRESS: SafeHarborType.IP_ADDRESS,
    Entity.BIRTH_DATE: SafeHarborType.DATES,
    Entity.DATE: SafeHarborType.DATES,
    Entity.URL: SafeHarborType.URL,
    Entity.PERSON: SafeHarborType.NAMES,
    Entity.PLACE: SafeHarborType.GEOGRAPHY,
    Entity.ORGANISATION: SafeHarborType.NAMES,
}
"""Each as one of the types of Safe Harbor; fax numbers are found as telephone numbers, and a secret is no identifier of a person.

Names of organisations are among them because those of employers are.
"""


@total_ordering
class ScanProfile(Enum):
    """What a scan can see, from least to most."""

    IDENTIFIERS = "Identifiers"
    IDENTIFIERS_AND_NAMES = "IdentifiersAndNames"

    def __lt__(self, other: object) -> bool:
        return self is ScanProfile.IDENTIFIERS and other is not self if isinstance(other, ScanProfile) else NotImplemented

    def __str__(self) -> str:
        return self.value
