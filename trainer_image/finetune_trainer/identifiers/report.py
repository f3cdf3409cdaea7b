"""The report of a scan: counts with their intervals, what was looked for and how it was checked, what cannot be seen. Never a value.

Not even a hash of one: nine digits are tried through in minutes by whoever holds the salt, and the number of a row finds it as well.
"""

from collections.abc import Iterable

from pydantic import Field

from finetune_trainer.contract.base import Decimal, Digest, Document, Named
from finetune_trainer.contract.governance.vocabulary import HIPAA_TYPES, Entity, ScanProfile
from finetune_trainer.contract.results import NameModel, ScanSummary
from finetune_trainer.identifiers.coverage import STATEMENT, coverage
from finetune_trainer.identifiers.names import NameModelReport
from finetune_trainer.identifiers.scanner import FIRST_ROWS, RECOGNIZERS, SCANNER_VERSION, EntityCount, Scanner, pattern_digest
from finetune_trainer.shares import wilson


class EntityReport(Document):
    """``rate`` is the share of rows that hold it, ``low`` and ``high`` its 95 % interval (Wilson): of data like these, not of these."""

    entity: Entity
    safe_harbor_type: str
    rows: int
    validated_rows: int
    rate: Decimal
    low: Decimal
    high: Decimal
    validators: list[str]
    first_rows: list[int] = Field(max_length=FIRST_ROWS)


class SourceScan(Document):
    """``role`` is dataset, validation or evaluation; ``cut_rows`` were too long, or had too many candidates, to be scanned whole."""

    role: str
    rows: int
    cut_rows: int
    entities: list[EntityReport]


class ScanReport(Named):
    kind: str = Field(default="ScanReport", pattern="^ScanReport$")
    profile: str
    scanner_version: int
    patterns_digest: Digest
    name_model: NameModelReport | None = None
    entire: bool
    sources: list[SourceScan]
    looked_for: list[Entity]
    coverage: dict[str, str]
    statement: str

    @classmethod
    def of(cls, scanners: Iterable[Scanner]) -> "ScanReport":
        """What the scanners have counted; all of them look for names, with the same model, or none does."""
        counted = list(scanners)
        sources = [_source(scanner) for scanner in counted]
        finder = counted[0].names if counted else None
        names = finder.report if finder is not None else None
        return cls(
            profile=(names.profile() if names is not None else ScanProfile.IDENTIFIERS).value,
            scanner_version=SCANNER_VERSION,
            patterns_digest=pattern_digest(),
            name_model=names,
            entire=not any(source.cut_rows for source in sources),
            sources=sources,
            looked_for=sorted(_looked_for(names)),
            coverage=coverage(names),
            statement=STATEMENT,
        )

    def summary(self) -> ScanSummary:
        """What fits into a status: all sources together."""
        totals: dict[str, tuple[int, int]] = {}
        for found in (entity for source in self.sources for entity in source.entities):
            rows, validated = totals.get(found.entity.value, (0, 0))
            totals[found.entity.value] = rows + found.rows, validated + found.validated_rows
        return ScanSummary(
            profile=self.profile,
            entire=self.entire,
            rows=sum(source.rows for source in self.sources),
            report_digest=self.content_digest(),
            found=totals,
            name_model=NameModel(name=model.name, version=model.version, digest=model.digest) if (model := self.name_model) else None,
        )


def _looked_for(names: NameModelReport | None) -> set[Entity]:
    named = {each.entity for each in names.planted} if names is not None else set()
    return {recognizer.entity for recognizer in RECOGNIZERS} | named


def _source(scanner: Scanner) -> SourceScan:
    return SourceScan(
        role=scanner.role,
        rows=scanner.rows,
        cut_rows=scanner.cut_rows,
        entities=[_entity(entity, scanner.counts[entity], scanner.rows) for entity in sorted(scanner.counts)],
    )


def _entity(entity: Entity, count: EntityCount, rows: int) -> EntityReport:
    interval = wilson(count.rows, rows)
    return EntityReport(
        entity=entity,
        safe_harbor_type=HIPAA_TYPES[entity].value if entity in HIPAA_TYPES else "none",
        rows=count.rows,
        validated_rows=count.validated_rows,
        rate=_share(count.rows / rows),
        low=_share(interval.low),
        high=_share(interval.high),
        validators=_validators(entity),
        first_rows=count.first,
    )


def _validators(entity: Entity) -> list[str]:
    return [f"{each.name}: {each.validator}" for each in RECOGNIZERS if each.entity is entity] or ["name model: never validated"]


def _share(value: float) -> str:
    return f"{value:.6f}"
