"""Texts and numbers of a record with their bounds.

A record outlives the program that wrote it, so words of vocabularies that grow (rules, reasons, formats, licences) are bounded texts here
and never enumerations: what was written once can always be read.
"""

from datetime import UTC
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, StringConstraints

from finetune_trainer.contract import Digest

LARGEST_INTEGER = 2**53 - 1
"""RFC 8785 knows no whole number above."""

Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
Text = Annotated[str, StringConstraints(max_length=1024)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Number = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
Decimal = Annotated[str, StringConstraints(pattern=r"^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$", max_length=32)]
"""A measured number as text, so that one value has one spelling on every machine."""
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as in-toto spells it: without the name of the algorithm."""


def _spelled(value: AwareDatetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(_spelled, return_type=str, when_used="json")]
"""A time with its zone, written to the second in UTC."""


def _plain(name: str) -> str:
    if name in {"", ".", ".."} or name.startswith("/") or any(part in {"", ".", ".."} for part in name.split("/")):
        raise ValueError("must be a plain path below the folder")
    return name


FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain)]
"""A file's path below its folder, with slashes."""


def hex_of(digest: Digest) -> str:
    """The hexadecimal digits of ``sha256:<hex>``."""
    return digest.removeprefix("sha256:")
