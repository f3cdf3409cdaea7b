"""Names of versions: ``<alias>--<first 12 hex of the digest>``, immutable.

A name never changes its meaning, so an update can be no silent no-op, and no engine can reuse the prefix cache of other weights.
"""

from typing import Annotated, Final

from pydantic import StringConstraints

from finetune_trainer.contract import Digest

DIGEST_PREFIX = 12
SEPARATOR = "--"
VERSION_PATTERN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?--[0-9a-f]{12}$"

BASE_NAME: Final = "base"
"""Under which name the engines of managed pods serve their base model; no version has such a name, and the router never asks for it."""

VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN, max_length=96)]


def version_name(alias: str, digest: Digest) -> str:
    """The name under which the engine knows this adapter; ``digest`` is ``sha256:<hex>``."""
    return f"{alias}{SEPARATOR}{digest.removeprefix('sha256:')[:DIGEST_PREFIX]}"


def digest_prefix_of(version: str) -> str:
    """The first hex digits of the digest that a version's name carries."""
    return version.rpartition(SEPARATOR)[2]
