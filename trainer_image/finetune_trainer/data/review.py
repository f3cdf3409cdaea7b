"""The rows that somebody is to look at before training: drawn by the digest of the data, so that nobody can choose them.

The report holds row numbers and hashes and no text. Whoever may read the data finds the rows by their numbers, and whoever checks later
sees by the hashes that they were these.
"""

from collections.abc import Sequence
from hashlib import sha256
from heapq import nsmallest

from pydantic import Field

from finetune_trainer.contract import Digest, Document, ReviewSample, digest_of
from finetune_trainer.contract.base import Named
from finetune_trainer.contract.results import MOST_REVIEWED
from finetune_trainer.data.examples import Example


class DrawnRow(Document):
    """``number`` counts from 1 over the files of the dataset, ``hash`` is of the row's content with the seed before it."""

    number: int = Field(ge=1)
    hash: Digest


class ReviewReport(Named):
    """``rows`` in the order in which they were drawn: a policy that asks for fewer means the first ones."""

    kind: str = Field(default="ReviewReport", pattern="^ReviewReport$")
    seed: Digest
    of: int = Field(ge=0, description="Rows that they were drawn from.")
    rows: list[DrawnRow]

    def summary(self) -> ReviewSample:
        return ReviewSample(rows=len(self.rows), of=self.of, report_digest=self.content_digest())


def draw_rows(examples: Sequence[Example], seed: Digest, most: int = MOST_REVIEWED) -> ReviewReport:
    """At most ``most`` rows, those first whose number with the seed has the smallest hash."""
    drawn = nsmallest(most, examples, key=lambda example: sha256(f"{seed} {example.row}".encode()).digest())
    rows = [DrawnRow(number=example.row, hash=digest_of(f"{seed} {example.content_hash()}".encode())) for example in drawn]
    return ReviewReport(seed=seed, of=len(examples), rows=rows)
