"""The statement: an in-toto Statement v1 about an adapter, with the record as its predicate.

Source: in-toto Attestation Framework, Statement v1.
"""

from collections.abc import Iterable
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from finetune_record.bounds import Uri, hex_of
from finetune_record.canonical import canonical
from finetune_record.materials import File
from finetune_record.outcome import ChainLink
from finetune_record.provenance import BuildDefinition, DigestSet, RunDetails, build_definition, run_details
from finetune_record.sections import Sections
from finetune_trainer.contract import Digest, Document, canonical_json, digest_of

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://finetune.dev/record/v1"
MOST_FILES: Final = 512


class Subject(Document):
    """A thing that the statement is about."""

    name: Uri
    digest: DigestSet


class Predicate(Sections):
    """The sections, the record's place in the chain, and the core of SLSA Provenance v1."""

    chain: ChainLink = Field(description="Its place among the records of the namespace.")
    build_definition: BuildDefinition = Field(description="What was asked for and went in, as SLSA spells it.")
    run_details: RunDetails = Field(description="Who ran it and when, as SLSA spells it.")


class Statement(Document):
    """``subject`` is the adapter by its content digest first, then every file of it in order of names, where they are known."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: list[Subject] = Field(min_length=1, max_length=MOST_FILES + 1)
    predicate_type: Literal["https://finetune.dev/record/v1"] = PREDICATE_TYPE
    predicate: Predicate

    @classmethod
    def of(cls, sections: Sections, files: Iterable[File], chain: ChainLink) -> Self:
        """The statement about the adapter of these files; without files, about its digest alone.

        Raises ``ValueError`` if the files do not make the digest of the outputs.
        """
        listed = sorted(files, key=lambda file: file.name)
        digest = content_digest((file.name, file.digest) for file in listed) if listed else sections.outputs.digest
        if digest != sections.outputs.digest:
            raise ValueError(f"outputs.digest is {sections.outputs.digest}, and the files make {digest}")
        subjects = [(sections.outputs.uri, digest), *((file.name, file.digest) for file in listed)]
        known = {name: getattr(sections, name) for name in Sections.model_fields}
        return cls(
            subject=[Subject(name=name, digest=DigestSet(sha256=hex_of(digest))) for name, digest in subjects],
            predicate=Predicate(**known, chain=chain, build_definition=build_definition(sections), run_details=run_details(sections)),
        )

    @model_validator(mode="after")
    def _subjects_have_names_of_their_own(self) -> Self:
        names = [subject.name for subject in self.subject]
        if len(set(names)) != len(names):
            raise ValueError("two subjects have the same name")
        return self

    @property
    def artifact(self) -> Digest:
        """Content digest of the adapter."""
        return f"sha256:{self.subject[0].digest.sha256}"

    @property
    def files(self) -> dict[str, Digest]:
        """Digest of every file of the adapter, by name; empty where the record does not know them one by one."""
        return {subject.name: f"sha256:{subject.digest.sha256}" for subject in self.subject[1:]}

    def to_payload(self) -> bytes:
        """What is signed and chained: RFC 8785 JSON of everything that is set."""
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))


def content_digest(files: Iterable[tuple[str, Digest]]) -> Digest:
    """The name of an adapter: SHA-256 over its sorted ``[name, digest]`` pairs as canonical JSON, as at publishing and at serving."""
    return digest_of(canonical_json(sorted([name, digest] for name, digest in files)).encode())
