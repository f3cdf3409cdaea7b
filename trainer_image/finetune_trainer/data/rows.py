"""Tokenised rows on disk, as the train step reads them, and what their lengths look like."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from finetune_trainer.data.tokenization import TokenizedRow

SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("loss_mask", pa.list_(pa.int8())), ("row", pa.int64())])
_BATCH = 1024


@dataclass
class Lengths:
    """Tokens per row, learned tokens per row, and how many rows were cut."""

    tokens: list[int] = field(default_factory=list)
    learned: list[int] = field(default_factory=list)
    truncated: int = 0

    def add(self, row: TokenizedRow) -> None:
        self.tokens.append(len(row.input_ids))
        self.learned.append(row.learned)
        self.truncated += row.truncated


def write_rows(path: Path, rows: Iterable[TokenizedRow]) -> Lengths:
    """Write ``rows`` as Parquet and return their lengths; the rows are never all in memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = Lengths()
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        pending = iter(rows)
        while batch := list(islice(pending, _BATCH)):
            for row in batch:
                lengths.add(row)
            columns = [
                _lists([row.input_ids for row in batch], pa.int32()),
                _lists([row.loss_mask for row in batch], pa.int8()),
                pa.array([row.row for row in batch], pa.int64()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
    return lengths


def _lists(values: list[NDArray[np.int32]] | list[NDArray[np.int8]], kind: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values), kind))
