"""What the files of a base model say about it before it is loaded: licences, formats of its weights, code of its own."""

from enum import StrEnum

from pydantic import Field

from finetune_trainer.contract.base import Document


class LicenceCategory(StrEnum):
    """Kinds of licences, by the names of the ScanCode licence database."""

    PERMISSIVE = "Permissive"
    PUBLIC_DOMAIN = "Public Domain"
    COPYLEFT_LIMITED = "Copyleft Limited"
    COPYLEFT = "Copyleft"
    SOURCE_AVAILABLE = "Source-available"
    PROPRIETARY_FREE = "Proprietary Free"
    FREE_RESTRICTED = "Free Restricted"
    COMMERCIAL = "Commercial"
    PATENT = "Patent License"
    CONTRIBUTOR_AGREEMENT = "CLA"
    UNSTATED = "Unstated License"


class WeightsFormat(StrEnum):
    """How the files of a model hold its weights; only the first can be read without running what it holds."""

    SAFETENSORS = "Safetensors"
    PICKLE = "Pickle"
    OTHER = "Other"


class Licence(Document):
    """A licence under which a model stands; ``category`` is None for a name or a text that the licence database does not know."""

    key: str = Field(min_length=1, max_length=128)
    category: LicenceCategory | None = None


class BaseModelFindings(Document):
    """Read by the prepare step. ``licences`` are those that the files name, all of which hold; ``claimed`` is what the job says itself."""

    licences: tuple[Licence, ...] = Field(default=(), max_length=8)
    claimed: Licence | None = None
    formats: tuple[WeightsFormat, ...] = Field(default=(), max_length=3)
    remote_code: bool = False
