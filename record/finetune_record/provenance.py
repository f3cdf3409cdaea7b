"""The core of a record in the shape of SLSA Provenance v1, a second spelling of what its sections say.

A generic verifier finds materials, builder and times where it looks for them. Source: SLSA specification, Build Provenance v1.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from finetune_record.bounds import Hex, Moment, Name, Uri, hex_of
from finetune_record.sections import Sections
from finetune_trainer.contract import Digest, Document

BUILD_TYPE: Final = "https://finetune.dev/finetune/v1"
_PINNED: Final = re.compile(r"@sha256:[0-9a-f]{64}\Z")
BUILDER: Final = "https://finetune.dev/operator"


class DigestSet(Document):
    sha256: Hex


class Material(Document):
    """Something that went in, and is known by its digest."""

    name: Name
    uri: Uri
    digest: DigestSet


class BuildDefinition(Document):
    build_type: Literal["https://finetune.dev/finetune/v1"] = BUILD_TYPE
    external_parameters: Annotated[dict[Name, Uri], Field(max_length=8)]
    resolved_dependencies: list[Material] = Field(max_length=64)


class Builder(Document):
    id: Uri = BUILDER
    version: Annotated[dict[Name, Name], Field(max_length=4)] = Field(default_factory=dict)


class BuildMetadata(Document):
    invocation_id: Uri
    started_on: Moment | None = None
    finished_on: Moment | None = None


class RunDetails(Document):
    builder: Builder
    metadata: BuildMetadata


def build_definition(sections: Sections) -> BuildDefinition:
    """What was asked for, and everything that went in."""
    identity = sections.identity
    asked = {"job": f"{identity.namespace}/{identity.job}", "generation": str(identity.generation), "runKey": identity.run_key}
    if identity.spec_digest is not None:
        asked["specDigest"] = identity.spec_digest
    return BuildDefinition(external_parameters=asked, resolved_dependencies=list(_materials(sections)))


def run_details(sections: Sections) -> RunDetails:
    """Who ran it, and when."""
    identity, run = sections.identity, sections.run
    return RunDetails(
        builder=Builder(version={"finetune-operator": identity.operator.version} if identity.operator else {}),
        metadata=BuildMetadata(
            invocation_id=f"{identity.namespace}/{identity.job}/{identity.uid}/{identity.run_number}",
            started_on=run.started_at,
            finished_on=run.finished_at,
        ),
    )


def _materials(sections: Sections) -> Iterator[Material]:
    base, image = sections.base, sections.code.trainer_image
    if base.digest is not None:
        yield _material("base", base.uri, base.digest)
    if base.adapter_digest is not None:
        yield _material("adapter", base.uri, base.adapter_digest)
    for source in sections.data.sources:
        if source.digest is not None:
            yield _material(source.field, source.uri, source.digest)
    if image is not None and _PINNED.search(image):
        yield _material("image", image, image[-71:])


def _material(name: str, uri: str, digest: Digest) -> Material:
    return Material(name=name, uri=uri, digest=DigestSet(sha256=hex_of(digest)))
