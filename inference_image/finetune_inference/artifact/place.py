"""From an artifact's URI to a folder on a mounted volume. Pure: nothing is opened here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_inference.artifact.errors import IntakeError

_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SEGMENT = re.compile(r"[^/\s?#%\\\x00]+")


@dataclass(frozen=True)
class Place:
    """``parts`` are plain folder names below ``mount``."""

    mount: Path
    parts: tuple[str, ...]


def place_of(uri: str, claims: Mapping[str, Path]) -> Place:
    """Where ``pvc://CLAIM/PATH`` is mounted; raises ``IntakeError`` for any other form or a claim that is not mounted."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme != "pvc":
        message = f"{scheme}:// is not supported" if separator else "a path without a scheme is not supported"
        raise IntakeError("SchemeUnsupported", "uri", message, "Publish to a claim and write pvc://CLAIM/PATH.")
    claim, _, path = rest.partition("/")
    segments = tuple(path.split("/"))
    plain = all(_SEGMENT.fullmatch(segment) and segment not in {".", ".."} for segment in segments)
    if not _CLAIM.fullmatch(claim) or not plain:
        way_out = "Write pvc://CLAIM/PATH with the path as it is on the volume."
        raise IntakeError("UriInvalid", "uri", "the path is absolute, leaves the volume or holds empty segments", way_out)
    if claim not in claims:
        known = ", ".join(sorted(claims)) or "none"
        way_out = "Mount the claim into the server's pod, or publish to one that is mounted."
        raise IntakeError("ClaimNotMounted", "uri", f"claim {claim} is not mounted here (mounted: {known})", way_out)
    return Place(claims[claim], segments)
