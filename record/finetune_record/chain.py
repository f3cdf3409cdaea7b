"""The chain: each record names its predecessor by digest, so that none can be taken out, put in or changed without a trace.

A chain that its writer may rewrite as a whole proves little: checkpoints name its head, and lie where that writer cannot reach.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field

from finetune_record.bounds import Hex, Moment, Number
from finetune_record.canonical import canonical
from finetune_record.outcome import ChainLink
from finetune_record.problems import Check, Problem
from finetune_trainer.contract import Digest
from finetune_trainer.contract.base import Named

NAMESPACE_LABEL: Final = "finetune.dev/record-namespace"
"""On every ConfigMap of a chain and on its checkpoints: whose chain it is."""


class Checkpoint(Named):
    """Somebody's word that a chain had this head."""

    kind: Literal["RecordCheckpoint"] = "RecordCheckpoint"
    namespace: Annotated[str, Field(min_length=1, max_length=63)]
    seq: Number = Field(description="Of the newest record.")
    head: Digest = Field(description="SHA-256 of its statement.")
    at: Moment
    key_id: Hex

    def to_payload(self) -> bytes:
        """What is signed: RFC 8785 JSON."""
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))


@dataclass(frozen=True)
class Entry:
    """A record's place in its chain; ``digest`` is of its statement, ``where`` is for people."""

    link: ChainLink
    digest: Digest
    where: str = ""


@dataclass(frozen=True)
class LoggedHead:
    """A head that a line of the operator's log tells; unsigned, and worth as much as the place that the log was shipped to."""

    namespace: str
    seq: int
    head: Digest


def entry_name(namespace: str, seq: int) -> str:
    """Name of the ConfigMap of a record, in order of names like in order of numbers."""
    return f"{namespace}-{seq:08d}"


def next_link(namespace: str, head: Entry | None, at: datetime, key_id: Hex) -> ChainLink:
    """The place after ``head``; the first where there is none."""
    return ChainLink(
        namespace=namespace, seq=head.link.seq + 1 if head else 1, prev=head.digest if head else None, recorded_at=at, key_id=key_id
    )


def checkpoint(head: Entry, at: datetime, key_id: Hex) -> Checkpoint:
    """What is anchored for this head."""
    return Checkpoint(namespace=head.link.namespace, seq=head.link.seq, head=head.digest, at=at, key_id=key_id)


def flaws(entries: Sequence[Entry]) -> list[Problem]:
    """What is wrong with a whole chain, in the order in which it was stored: gaps, forks, repetitions, other order, other predecessors."""
    return [*_doubled(entries), *_out_of_order(entries), *_unlinked(entries)]


def unmet(heads: Iterable[tuple[str, Checkpoint | LoggedHead]], entries: Sequence[Entry]) -> list[Problem]:
    """Heads that were anchored, each with where it was found, that this chain does not fulfil."""
    by_seq = {entry.link.seq: entry for entry in entries}
    last = max(by_seq, default=0)
    found = []
    for where, point in heads:
        entry = by_seq.get(point.seq)
        known = (
            f"record {point.seq} existed at {point.at:%Y-%m-%d %H:%M:%SZ}"
            if isinstance(point, Checkpoint)
            else f"record {point.seq} existed"
        )
        if entry is None and point.seq > last:
            message = f"{known}, and the chain ends at {last}: its end was removed"
        elif entry is None:
            message = f"{known}, and the chain has none of this number"
        elif entry.digest != point.head:
            message = f"record {point.seq} was {point.head}, and the chain has {entry.digest}: it was rewritten"
        else:
            continue
        found.append(Problem(Check.ANCHORS, where, message))
    return found


def _doubled(entries: Sequence[Entry]) -> Iterator[Problem]:
    together: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        together[entry.link.seq].append(entry)
    for seq, same in together.items():
        for entry in same[1:]:
            alike = entry.digest == same[0].digest
            what = "is there twice" if alike else "exists in two versions (a fork)"
            yield Problem(Check.CHAIN, entry.where, f"record {seq} {what}, also as {same[0].where}")


def _out_of_order(entries: Sequence[Entry]) -> Iterator[Problem]:
    for before, entry in pairwise(entries):
        if entry.link.seq < before.link.seq:
            message = f"record {entry.link.seq} comes after record {before.link.seq}: their order was changed"
            yield Problem(Check.CHAIN, entry.where, message)
        elif entry.link.seq > before.link.seq and entry.link.recorded_at < before.link.recorded_at:
            yield Problem(Check.CHAIN, entry.where, f"predicate.chain.recordedAt is before that of record {before.link.seq}")


def _unlinked(entries: Sequence[Entry]) -> Iterator[Problem]:
    ordered = sorted({entry.link.seq: entry for entry in entries}.values(), key=lambda entry: entry.link.seq)
    expected = 1
    before: Entry | None = None
    for entry in ordered:
        seq, prev = entry.link.seq, entry.link.prev
        if seq != expected:
            missing = f"record {expected} is" if seq == expected + 1 else f"records {expected} to {seq - 1} are"
            yield Problem(Check.CHAIN, entry.where, f"{missing} missing before record {seq}")
        elif prev != (before.digest if before else None):
            named = prev or "no predecessor"
            message = f"predicate.chain.prev of record {seq} is {named}, and record {seq - 1} is {before.digest if before else 'none'}"
            yield Problem(Check.CHAIN, entry.where, message)
        expected, before = seq + 1, entry
