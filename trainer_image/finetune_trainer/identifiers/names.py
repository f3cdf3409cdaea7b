"""Names of people, places and organisations: what the scan asks of whoever can see them, and what is said of how well that is.

No pattern tells a name from another word. A model can, now and then wrongly, so a name is found and never validated, and the report says
which model looked and how many of some planted names it finds.
"""

from collections.abc import Set as AbstractSet
from typing import Final, Protocol

from pydantic import Field

from finetune_trainer.contract.base import Digest, Document
from finetune_trainer.contract.governance.vocabulary import Entity, SafeHarborType, ScanProfile
from finetune_trainer.shares import wilson

NAMES: Final = (Entity.PERSON, Entity.PLACE, Entity.ORGANISATION)
LEAST_FOUND: Final = 0.5
"""Of the planted names of people: a model that finds fewer does not make a scan that sees names."""


class PlantedNames(Document):
    """Of ``planted`` sentences with one name of this kind, those whose name was found."""

    entity: Entity
    planted: int = Field(ge=1)
    found: int = Field(ge=0)


class NameModelReport(Document):
    """Who looked: a model that the site put into the image, known by the digest of its files, and the libraries that ran it.

    ``alarms`` counts the ``plain`` sentences, which hold no name, in which one was seen. All sentences are ours and English: other texts
    are another matter.
    """

    name: str = Field(max_length=64)
    version: str = Field(max_length=32)
    digest: Digest
    language: str = Field(max_length=8)
    libraries: dict[str, str]
    left_out: list[str] = Field(description="Parts of the pipeline that names do not need.")
    planted: list[PlantedNames]
    plain: int = Field(ge=0)
    alarms: int = Field(ge=0)

    def profile(self) -> ScanProfile:
        people = next((each for each in self.planted if each.entity is Entity.PERSON), None)
        sees = people is not None and people.found >= LEAST_FOUND * people.planted
        return ScanProfile.IDENTIFIERS_AND_NAMES if sees else ScanProfile.IDENTIFIERS

    def seen(self) -> dict[SafeHarborType, str]:
        """The types of Safe Harbor that are looked for because of it, each with how much of it is seen."""
        by_kind = {each.entity: each for each in self.planted}
        told = {}
        for kind, entity, missed in (
            (SafeHarborType.NAMES, Entity.PERSON, "names unlike those that it learned, initials, user names"),
            (SafeHarborType.GEOGRAPHY, Entity.PLACE, "streets and postal codes; countries and states count as places"),
        ):
            if (measured := by_kind.get(entity)) is not None:
                low = wilson(measured.found, measured.planted).low
                share = f"{measured.found} of {measured.planted} planted in English sentences found, at least {low:.0%} of names like these"
                told[kind] = f"by model {self.name} {self.version}: {share}; it may miss {missed}"
        return told


class NameFinder(Protocol):
    """Looks for names in the text of one row."""

    @property
    def report(self) -> NameModelReport: ...

    def find(self, text: str) -> tuple[AbstractSet[Entity], bool]:
        """The kinds of names in it, and whether all of it was read."""
