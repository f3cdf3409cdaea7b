"""What every document of the contract has in common.

The operator writes documents and the trainer reads them, or the other way round, and the two may be of different versions: so documents
are strict (an unknown key is an error, never silently ignored), immutable once parsed, and spelled in camelCase like everything else a
person meets in Kubernetes. This package needs pydantic and nothing else, so that the operator can import it without torch.
"""

import hashlib
import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""A content digest, always SHA-256, always with its algorithm named."""

Decimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$", max_length=32)]
"""A decimal number as text: documents that pass through Kubernetes hold no floats."""


class Document(BaseModel):
    """A frozen, strict, camelCase value object."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        validate_default=True,
        ser_json_inf_nan="null",
    )

    def to_json(self) -> str:
        """The document as canonical JSON: sorted keys, no spaces, nothing that is unset."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse a document; raises ``pydantic.ValidationError`` that names the offending field."""
        return cls.model_validate_json(text)

    def content_digest(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest_of(self.to_json().encode())


class Named(Document):
    """A document that says what it is, so that a stray file is never mistaken for another kind."""

    api_version: str = Field(default="finetune.dev/v1alpha1", pattern=r"^finetune\.dev/v1alpha1$")


def canonical_json(value: Any) -> str:
    """JSON with one spelling per value, so that equal values have equal digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(content: bytes) -> str:
    """``sha256:<hex>`` of the bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
